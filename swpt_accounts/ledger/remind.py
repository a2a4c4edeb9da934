"""SendAccountUpdate and RemindOfTransfer: say again what the peers should know."""

from datetime import datetime

from swpt_accounts.ledger.chores import RemindOfTransfer, SendAccountUpdate
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.upkeep import is_reminder_due, is_update_due
from swpt_accounts.ledger.working_set import WorkingSet


def send_account_update(
    command: SendAccountUpdate, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Have the account announced at the end of the batch (protocol.rst, AccountUpdate)."""
    account = working_set.live_account((command.debtor_id, command.creditor_id))
    if account is not None and is_update_due(account, policy, now):
        account.require_update()


def remind_of_transfer(
    command: RemindOfTransfer, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Send the PreparedTransfer message again, with a new `ts` (protocol.rst, Reminders)."""
    key = command.debtor_id, command.creditor_id, command.transfer_id
    transfer = working_set.transfer(key)
    if transfer is not None and is_reminder_due(transfer, policy, now):
        working_set.events.append(transfer.announcement(now))
        working_set.note_reminder(transfer, now)
