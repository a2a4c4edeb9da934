"""CapitalizeInterest: add the accumulated interest to the principal."""

from datetime import datetime

from swpt_accounts.ledger.chores import CapitalizeInterest
from swpt_accounts.ledger.movement import move_from_root
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.upkeep import is_capitalization_due
from swpt_accounts.ledger.values import Coordinator, clamp
from swpt_accounts.ledger.working_set import WorkingSet


def capitalize(
    command: CapitalizeInterest, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Pay the interest from the root account, or to it (protocol.rst, Interest payments)."""
    account = working_set.live_account((command.debtor_id, command.creditor_id))
    if account is None or not is_capitalization_due(account, policy, now):
        return
    # The principal may have room for twice as much as one movement can carry.
    amount = clamp(account.payable_interest(now))
    move_from_root(working_set, account, amount, Coordinator.INTEREST, now)
    account.note_interest_paid(amount, now)
