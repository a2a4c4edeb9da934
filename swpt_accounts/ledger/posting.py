"""One change of one principal: the account, its journal, and its AccountTransfer."""

from datetime import datetime

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import AccountTransfer
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.values import Coordinator, account_id
from swpt_accounts.ledger.working_set import WorkingSet


class Posting(msgspec.Struct, frozen=True, gc=False):
    """What the two sides of a transfer have in common."""

    coordinator_type: str
    transfer_note_format: str
    transfer_note: str
    committed_at: datetime
    transfer_id: int | None
    change_id: int | None


def post(
    working_set: WorkingSet,
    account: Account,
    *,
    amount: int,
    other_creditor_id: int,
    posting: Posting,
    now: datetime,
) -> None:
    """Add `amount` (not zero, below zero for the sender) to the account's principal.

    Interest is brought up to date first, with what is due when the transfer
    was committed earlier. The owner is told by an AccountTransfer, unless this
    is the root account, or the amount received is negligible.
    """
    due = account.due_interest(amount, posting.committed_at, now)
    account.accrue(now, due)
    clipped_amount = account.add_to_principal(amount)
    account.last_journal_number += 1
    working_set.journal.append(
        JournalEntry(
            debtor_id=account.debtor_id,
            creditor_id=account.creditor_id,
            creation_date=account.creation_date,
            journal_number=account.last_journal_number,
            applied_at=now,
            committed_at=posting.committed_at,
            amount=amount,
            clipped_amount=clipped_amount,
            principal=account.principal,
            coordinator_type=posting.coordinator_type,
            other_creditor_id=other_creditor_id,
            transfer_id=posting.transfer_id,
            change_id=posting.change_id,
            transfer_note_format=posting.transfer_note_format,
            transfer_note=posting.transfer_note,
        )
    )
    if not (account.is_root or _is_negligible(account, amount, posting.coordinator_type)):
        _announce(working_set, account, amount, other_creditor_id, posting, now)


def _is_negligible(account: Account, amount: int, coordinator_type: str) -> bool:
    """See protocol.rst, Negligible transfers."""
    return 0 < amount <= account.negligible_amount and coordinator_type != Coordinator.AGENT


def _announce(
    working_set: WorkingSet,
    account: Account,
    amount: int,
    other_creditor_id: int,
    posting: Posting,
    now: datetime,
) -> None:
    previous_transfer_number = account.last_transfer_number
    account.last_transfer_number += 1
    account.last_transfer_committed_at = posting.committed_at
    own_id, other_id = account.account_id, account_id(other_creditor_id)
    working_set.events.append(
        AccountTransfer(
            debtor_id=account.debtor_id,
            creditor_id=account.creditor_id,
            creation_date=account.creation_date,
            transfer_number=account.last_transfer_number,
            coordinator_type=posting.coordinator_type,
            sender=other_id if amount > 0 else own_id,
            recipient=own_id if amount > 0 else other_id,
            acquired_amount=amount,
            transfer_note=posting.transfer_note,
            transfer_note_format=posting.transfer_note_format,
            committed_at=posting.committed_at,
            principal=account.principal,
            previous_transfer_number=previous_transfer_number,
            ts=now,
        )
    )
