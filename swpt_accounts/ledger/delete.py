"""TryToDeleteAccount and PurgeAccount: the two steps by which an account ends."""

from datetime import datetime
from fractions import Fraction
from typing import Final

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import PurgeAccount, TryToDeleteAccount
from swpt_accounts.ledger.events import AccountPurge
from swpt_accounts.ledger.movement import move_from_root
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.upkeep import is_deletion_attempt_due, is_purge_due
from swpt_accounts.ledger.values import Coordinator
from swpt_accounts.ledger.working_set import WorkingSet

ALWAYS_NEGLIGIBLE: Final = 2.0
"""So little is written off even if the owner has not said that it may be."""


def try_to_delete(
    command: TryToDeleteAccount, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Delete the account unless something stands against it (protocol.rst, Deletion)."""
    account = working_set.live_account((command.debtor_id, command.creditor_id))
    if account is None or not is_deletion_attempt_due(account, policy, now):
        return
    account.note_deletion_attempt(now)
    if not _can_be_deleted(account, now):
        return
    if account.principal != 0:
        move_from_root(working_set, account, -account.principal, Coordinator.DELETE, now)
    account.delete(now)


def _can_be_deleted(account: Account, now: datetime) -> bool:
    if account.pending_transfers_count != 0:
        return False
    if account.is_root:
        return account.principal == 0
    # A float would lose the units of a large principal.
    balance = account.principal + Fraction(account.interest_at(now))
    return balance <= max(account.negligible_amount, ALWAYS_NEGLIGIBLE)


def purge(command: PurgeAccount, working_set: WorkingSet, policy: Policy, now: datetime) -> None:
    """Forget a deleted account, and let its owner forget it too (protocol.rst, Purge)."""
    account = working_set.account((command.debtor_id, command.creditor_id))
    if account is None or not is_purge_due(account, policy, now):
        return
    working_set.purge_account(account)
    working_set.events.append(
        AccountPurge(
            debtor_id=account.debtor_id,
            creditor_id=account.creditor_id,
            creation_date=account.creation_date,
            ts=now,
        )
    )
