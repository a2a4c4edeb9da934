"""What follows from commands and books, written as the events that must announce it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from swpt_accounts.ledger.commands import (
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.events import (
    AccountTransfer,
    AccountUpdate,
    FinalizedTransfer,
    PreparedTransfer,
    RejectedConfig,
    RejectedTransfer,
)
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import TransferKey
from tests.simulation.books import AccountBook, Posting

END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)

Coordination = PrepareTransfer | FinalizeTransfer | PreparedTransfer | FinalizedTransfer


def key_of(message: FinalizeTransfer | PreparedTransfer | FinalizedTransfer) -> TransferKey:
    """Return which prepared transfer a message is about."""
    return message.debtor_id, message.creditor_id, message.transfer_id


def coordinator_of(message: Coordination | RejectedTransfer) -> tuple[str, int, int]:
    """Return what a coordinator calls its transfer."""
    return message.coordinator_type, message.coordinator_id, message.coordinator_request_id


def creditor_of(account_id: str) -> int | None:
    """Return the signed id that an account's public identifier stands for, if for any."""
    if not re.fullmatch("0|[1-9][0-9]*", account_id, re.ASCII) or int(account_id) >= 2**64:
        return None
    return (int(account_id) + 2**63) % 2**64 - 2**63


def have_one_agent(creditor_id: int, other_creditor_id: int) -> bool:
    """Tell whether two creditors share their highest 24 bits, not all of them zero."""
    agent, other = creditor_id >> 40, other_creditor_id >> 40
    return agent == other != 0


def is_later(command: ConfigureAccount, book: AccountBook) -> bool:
    """Tell whether a configuration follows the one that the account has."""
    if command.ts == book.last_config_ts:
        return 1 <= (command.seqnum - book.last_config_seqnum) % 2**32 <= 2**31 - 1
    return command.ts > book.last_config_ts


def after(moment: datetime, period: timedelta) -> datetime:
    """Return a moment's sum with a period, or else the end of time."""
    try:
        return moment + period
    except OverflowError:
        return END_OF_TIME


def rejection(command: ConfigureAccount, now: datetime) -> RejectedConfig:
    """Return the answer to a configuration that is not valid."""
    return RejectedConfig(
        debtor_id=command.debtor_id,
        creditor_id=command.creditor_id,
        config_ts=command.ts,
        config_seqnum=command.seqnum,
        config_flags=command.config_flags,
        negligible_amount=command.negligible_amount,
        config_data=command.config_data,
        rejection_code="INVALID_CONFIGURATION",
        ts=now,
    )


def refusal(command: PrepareTransfer, status: str, locked: int, now: datetime) -> RejectedTransfer:
    """Return the answer to a request that cannot be fulfilled."""
    return RejectedTransfer(
        command.debtor_id,
        command.creditor_id,
        *coordinator_of(command),
        status_code=status,
        total_locked_amount=locked,
        ts=now,
    )


def preparation(
    command: PrepareTransfer, transfer_id: int, amount: int, policy: Policy, now: datetime
) -> PreparedTransfer:
    """Return the answer to a request that is fulfilled."""
    delay = timedelta(seconds=command.max_commit_delay)
    return PreparedTransfer(
        command.debtor_id,
        command.creditor_id,
        transfer_id,
        *coordinator_of(command),
        locked_amount=amount,
        recipient=command.recipient,
        prepared_at=now,
        demurrage_rate=-50.0,
        deadline=min(after(now, policy.commit_period), after(command.ts, delay)),
        final_interest_rate_ts=command.final_interest_rate_ts,
        ts=now,
    )


def reminder(transfer: PreparedTransfer, now: datetime) -> PreparedTransfer:
    """Return the answer to a request that has been fulfilled before."""
    return msgspec.structs.replace(transfer, ts=max(now, transfer.prepared_at))


def finalization(
    transfer: PreparedTransfer, amount: int, status: str, locked: int, moment: datetime
) -> FinalizedTransfer:
    """Return what the coordinator is told in the end."""
    return FinalizedTransfer(
        *key_of(transfer),
        *coordinator_of(transfer),
        committed_amount=amount,
        status_code=status,
        total_locked_amount=locked,
        prepared_at=transfer.prepared_at,
        ts=moment,
    )


def account_transfer(book: AccountBook, posting: Posting) -> AccountTransfer:
    """Return what the owner is told about the latest change of the account's principal."""
    own, other = str(book.creditor_id % 2**64), str(posting.other_creditor_id % 2**64)
    return AccountTransfer(
        debtor_id=book.debtor_id,
        creditor_id=book.creditor_id,
        creation_date=book.creation_date,
        transfer_number=book.last_transfer_number,
        coordinator_type=posting.coordinator_type,
        sender=other if posting.amount > 0 else own,
        recipient=own if posting.amount > 0 else other,
        acquired_amount=posting.amount,
        transfer_note=posting.transfer_note,
        transfer_note_format=posting.transfer_note_format,
        committed_at=posting.committed_at,
        principal=posting.principal,
        previous_transfer_number=book.last_transfer_number - 1,
        ts=posting.applied_at,
    )


def balance_change(
    posting: Posting, debtor_id: int, creditor_id: int, change_id: int
) -> PendingBalanceChange:
    """Return what the recipient's shard is told about a commit."""
    return PendingBalanceChange(
        debtor_id=debtor_id,
        creditor_id=creditor_id,
        change_id=change_id,
        coordinator_type=posting.coordinator_type,
        transfer_note_format=posting.transfer_note_format,
        transfer_note=posting.transfer_note,
        committed_at=posting.committed_at,
        principal_delta=posting.amount,
        other_creditor_id=posting.other_creditor_id,
    )


def account_update(book: AccountBook, policy: Policy, now: datetime) -> AccountUpdate:
    """Return what the owner is told about the account's state."""
    columns = book.columns
    known = {name: columns[name] for name in AccountUpdate.__struct_fields__ if name in columns}
    return AccountUpdate(
        **known,
        account_id=str(book.creditor_id % 2**64),
        demurrage_rate=-50.0,
        commit_period=int(policy.commit_period.total_seconds()),
        transfer_note_max_bytes=500,
        ts=max(now, book.last_change_ts),
        ttl=int(policy.message_delay_max.total_seconds()),
    )
