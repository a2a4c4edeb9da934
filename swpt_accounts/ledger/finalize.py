"""FinalizeTransfer: unlock, and move the money unless something stands against it."""

from datetime import datetime

from swpt_accounts.ledger.commands import FinalizeTransfer
from swpt_accounts.ledger.events import FinalizedTransfer
from swpt_accounts.ledger.movement import move
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.posting import Posting
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import Status
from swpt_accounts.ledger.working_set import WorkingSet


def finalize(
    command: FinalizeTransfer, working_set: WorkingSet, _policy: Policy, now: datetime
) -> None:
    """Commit or dismiss a prepared transfer; ignore the message when nothing matches."""
    transfer = working_set.transfer((command.debtor_id, command.creditor_id, command.transfer_id))
    if transfer is None or not _is_for(command, transfer):
        return
    sender = working_set.live_account((command.debtor_id, command.creditor_id))
    if sender is None:
        return
    # Clocks may go back, the moments told about one transfer may not.
    committed_at = max(now, transfer.prepared_at)
    status_code = transfer.verdict(sender, command.committed_amount, now)
    sender.unlock(transfer.locked_amount)
    working_set.remove_transfer(transfer)
    committed_amount = command.committed_amount if status_code == Status.OK else 0
    working_set.events.append(
        FinalizedTransfer(
            debtor_id=transfer.debtor_id,
            creditor_id=transfer.creditor_id,
            transfer_id=transfer.transfer_id,
            coordinator_type=transfer.coordinator_type,
            coordinator_id=transfer.coordinator_id,
            coordinator_request_id=transfer.coordinator_request_id,
            committed_amount=committed_amount,
            status_code=status_code,
            total_locked_amount=sender.total_locked_amount,
            prepared_at=transfer.prepared_at,
            ts=committed_at,
        )
    )
    if committed_amount:
        recipient = transfer.debtor_id, transfer.recipient_creditor_id
        is_local = working_set.is_local(recipient)
        move(
            working_set,
            sender,
            amount=-committed_amount,
            other_creditor_id=transfer.recipient_creditor_id,
            posting=Posting(
                coordinator_type=transfer.coordinator_type,
                transfer_note_format=command.transfer_note_format,
                transfer_note=command.transfer_note,
                committed_at=committed_at,
                transfer_id=transfer.transfer_id,
                change_id=None if is_local else working_set.next_change_id(),
            ),
            now=now,
        )


def _is_for(command: FinalizeTransfer, transfer: PreparedTransfer) -> bool:
    return (
        command.coordinator_type == transfer.coordinator_type
        and command.coordinator_id == transfer.coordinator_id
        and command.coordinator_request_id == transfer.coordinator_request_id
    )
