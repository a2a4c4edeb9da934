"""PendingBalanceChange: apply what another shard has committed, once."""

from datetime import datetime

from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.posting import Posting, post
from swpt_accounts.ledger.working_set import WorkingSet


def is_forgotten(command: PendingBalanceChange, policy: Policy) -> bool:
    """Tell whether the change is so old that its registration may have been removed."""
    return command.committed_at < policy.archive_threshold


def receive(
    command: PendingBalanceChange, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Add the change to the account, which comes into being, or back to life, if need be.

    The money has left the other account already, so nothing here may refuse
    it (protocol.rst, PendingBalanceChange).
    """
    if is_forgotten(command, policy) or not working_set.take_change(command):
        return
    post(
        working_set,
        working_set.live_or_new_account((command.debtor_id, command.creditor_id), now),
        amount=command.principal_delta,
        other_creditor_id=command.other_creditor_id,
        posting=Posting(
            coordinator_type=command.coordinator_type,
            transfer_note_format=command.transfer_note_format,
            transfer_note=command.transfer_note,
            committed_at=command.committed_at,
            transfer_id=None,
            change_id=command.change_id,
        ),
        now=now,
    )
