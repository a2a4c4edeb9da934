"""PrepareTransfer: the checks in the protocol's order, then the lock."""

from datetime import datetime

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PrepareTransfer
from swpt_accounts.ledger.events import RejectedTransfer
from swpt_accounts.ledger.interest import DEMURRAGE_RATE
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.transfer import PreparedTransfer, deadline_of
from swpt_accounts.ledger.values import (
    ROOT_CREDITOR_ID,
    AccountKey,
    Coordinator,
    Status,
    creditors_agent,
    parse_account_id,
)
from swpt_accounts.ledger.working_set import WorkingSet


def recipient_to_verify(command: PrepareTransfer) -> AccountKey | None:
    """Return the recipient's account, if it has to be known whether it can be reached.

    The protocol's exceptions are the root account, which always can, and
    transfers of type "agent", which a creditors agent makes between its own
    creditors (protocol.rst, PrepareTransfer).
    """
    if command.coordinator_type == Coordinator.AGENT:
        return None
    creditor_id = parse_account_id(command.recipient)
    if creditor_id is None or creditor_id == ROOT_CREDITOR_ID:
        return None
    return command.debtor_id, creditor_id


def prepare(
    command: PrepareTransfer, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Lock an amount or reject the transfer; a repeated request gets the same answer again."""
    repeated = working_set.transfer_of_coordinator(
        (
            command.debtor_id,
            command.creditor_id,
            command.coordinator_type,
            command.coordinator_id,
            command.coordinator_request_id,
        )
    )
    if repeated is not None:
        working_set.events.append(repeated.announcement(now))
        return

    recipient_creditor_id = parse_account_id(command.recipient)
    sender = working_set.live_account((command.debtor_id, command.creditor_id))
    if recipient_creditor_id is None or not _can_be_reached(command, working_set):
        _reject(command, working_set, Status.RECIPIENT_IS_UNREACHABLE, 0, now)
        return
    if sender is None:
        _reject(command, working_set, Status.SENDER_IS_UNREACHABLE, 0, now)
        return
    if not _is_within_agent(command, recipient_creditor_id):
        _reject(command, working_set, Status.RECIPIENT_IS_UNREACHABLE, 0, now)
        return
    amount = max(0, min(command.max_locked_amount, sender.available_amount(now)))
    status_code = _refusal(command, sender, recipient_creditor_id, amount)
    if status_code is not None:
        _reject(command, working_set, status_code, sender.total_locked_amount, now)
        return

    # Nothing can fail below this line.
    transfer = PreparedTransfer(
        debtor_id=command.debtor_id,
        creditor_id=command.creditor_id,
        transfer_id=sender.lock(amount),
        coordinator_type=command.coordinator_type,
        coordinator_id=command.coordinator_id,
        coordinator_request_id=command.coordinator_request_id,
        locked_amount=amount,
        recipient_creditor_id=recipient_creditor_id,
        prepared_at=now,
        final_interest_rate_ts=command.final_interest_rate_ts,
        demurrage_rate=DEMURRAGE_RATE,
        deadline=deadline_of(command.ts, command.max_commit_delay, now, policy.commit_period),
    )
    working_set.add_transfer(transfer)
    working_set.events.append(transfer.announcement(now))


def _can_be_reached(command: PrepareTransfer, working_set: WorkingSet) -> bool:
    recipient = recipient_to_verify(command)
    return recipient is None or working_set.accepts_transfers(recipient)


def _is_within_agent(command: PrepareTransfer, recipient_creditor_id: int) -> bool:
    """Transfers of type "agent" stay among the creditors of one creditors agent."""
    if command.coordinator_type != Coordinator.AGENT:
        return True
    agent = creditors_agent(command.creditor_id)
    return agent != 0 and agent == creditors_agent(recipient_creditor_id)


def _refusal(
    command: PrepareTransfer, sender: Account, recipient_creditor_id: int, amount: int
) -> str | None:
    """Return why the transfer cannot be prepared, if it cannot.

    The available amount must be judged last: a coordinator that is told about
    it knows that there is no other impediment.
    """
    if sender.has_too_many_transfers:
        return Status.TOO_MANY_TRANSFERS
    if recipient_creditor_id == command.creditor_id:
        return Status.RECIPIENT_SAME_AS_SENDER
    if sender.last_interest_rate_change_ts > command.final_interest_rate_ts:
        return Status.NEWER_INTEREST_RATE
    if amount < command.min_locked_amount:
        return Status.INSUFFICIENT_AVAILABLE_AMOUNT
    return None


def _reject(
    command: PrepareTransfer,
    working_set: WorkingSet,
    status_code: str,
    total_locked_amount: int,
    now: datetime,
) -> None:
    working_set.events.append(
        RejectedTransfer(
            debtor_id=command.debtor_id,
            creditor_id=command.creditor_id,
            coordinator_type=command.coordinator_type,
            coordinator_id=command.coordinator_id,
            coordinator_request_id=command.coordinator_request_id,
            status_code=status_code,
            total_locked_amount=total_locked_amount,
            ts=now,
        )
    )
