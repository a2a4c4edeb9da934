"""Money that goes from one account to another: both ends, or one end and a message."""

from datetime import datetime

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.posting import Posting, post
from swpt_accounts.ledger.values import ROOT_CREDITOR_ID
from swpt_accounts.ledger.working_set import WorkingSet


def move(
    working_set: WorkingSet,
    account: Account,
    *,
    amount: int,
    other_creditor_id: int,
    posting: Posting,
    now: datetime,
) -> None:
    """Change the account's principal by `amount`, and the other party's by the opposite.

    An account of another shard is changed by a PendingBalanceChange, for which
    the posting must have a change id (protocol.rst, Movements).
    """
    post(
        working_set,
        account,
        amount=amount,
        other_creditor_id=other_creditor_id,
        posting=posting,
        now=now,
    )
    other_key = account.debtor_id, other_creditor_id
    if working_set.is_local(other_key):
        post(
            working_set,
            working_set.live_or_new_account(other_key, now),
            amount=-amount,
            other_creditor_id=account.creditor_id,
            posting=posting,
            now=now,
        )
        return
    assert posting.change_id is not None, "a change to another shard is recognized by its id"
    working_set.send_change(
        PendingBalanceChange(
            debtor_id=account.debtor_id,
            creditor_id=other_creditor_id,
            change_id=posting.change_id,
            coordinator_type=posting.coordinator_type,
            transfer_note_format=posting.transfer_note_format,
            transfer_note=posting.transfer_note,
            committed_at=posting.committed_at,
            principal_delta=-amount,
            other_creditor_id=account.creditor_id,
        )
    )


def move_from_root(
    working_set: WorkingSet, account: Account, amount: int, coordinator_type: str, now: datetime
) -> None:
    """Make a transfer that nobody has asked for: to the account, or below zero, from it."""
    move(
        working_set,
        account,
        amount=amount,
        other_creditor_id=ROOT_CREDITOR_ID,
        posting=Posting(
            coordinator_type=coordinator_type,
            transfer_note_format="",
            transfer_note="",
            # Clocks may go back, the moments told about one account may not.
            committed_at=max(now, account.last_change_ts),
            transfer_id=None,
            change_id=working_set.next_change_id(),
        ),
        now=now,
    )
