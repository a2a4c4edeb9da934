"""A delivery's body to a command, or the reason why it is none (protocol.rst, JSON)."""

import math
from datetime import UTC
from typing import Final

import msgspec

from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.values import (
    CONFIG_DATA_BYTES_MAX,
    ROOT_CREDITOR_ID,
    TRANSFER_NOTE_BYTES_MAX,
    Coordinator,
    creditors_agent,
)
from swpt_accounts.protocol.decoding import (
    Decoding,
    Malformed,
    in_utc,
    require_ascii,
    require_text,
    shown,
)

_NOTE_FORMAT_CHARACTERS: Final = frozenset(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-"
)


def _require_note(note: str, note_format: str) -> None:
    require_text("transfer_note", note, TRANSFER_NOTE_BYTES_MAX)
    if note_format and not _NOTE_FORMAT_CHARACTERS.issuperset(note_format):
        raise Malformed(
            f"`transfer_note_format` is {shown(note_format)},"
            " but may only have ASCII letters, digits, points, and hyphens"
        )


def _checked_configure(command: ConfigureAccount) -> ConfigureAccount:
    require_text("config_data", command.config_data, CONFIG_DATA_BYTES_MAX)
    if not math.isfinite(command.negligible_amount):
        raise Malformed("`negligible_amount` is not finite")
    if command.ts.tzinfo is UTC:
        return command
    return msgspec.structs.replace(command, ts=in_utc("ts", command.ts))


def _checked_prepare(command: PrepareTransfer) -> PrepareTransfer:
    require_ascii("coordinator_type", command.coordinator_type)
    require_ascii("recipient", command.recipient)
    if command.min_locked_amount > command.max_locked_amount:
        raise Malformed(
            f"`min_locked_amount` ({command.min_locked_amount}) is bigger than"
            f" `max_locked_amount` ({command.max_locked_amount})"
        )
    _require_coordinator(command)
    if command.ts.tzinfo is UTC and command.final_interest_rate_ts.tzinfo is UTC:
        return command
    return msgspec.structs.replace(
        command,
        ts=in_utc("ts", command.ts),
        final_interest_rate_ts=in_utc("final_interest_rate_ts", command.final_interest_rate_ts),
    )


def _require_coordinator(command: PrepareTransfer) -> None:
    """A coordinator may only speak for the accounts that its type entitles it to."""
    match command.coordinator_type:
        case Coordinator.DIRECT if command.coordinator_id != command.creditor_id:
            raise Malformed(
                f'in a "direct" transfer, `coordinator_id` ({command.coordinator_id})'
                f" must be `creditor_id` ({command.creditor_id})"
            )
        case Coordinator.ISSUING if (
            command.coordinator_id != command.debtor_id or command.creditor_id != ROOT_CREDITOR_ID
        ):
            raise Malformed(
                f'in an "issuing" transfer, `coordinator_id` ({command.coordinator_id}) must be'
                f" `debtor_id` ({command.debtor_id}), and `creditor_id`"
                f" ({command.creditor_id}) must be {ROOT_CREDITOR_ID}"
            )
        case Coordinator.AGENT:
            agent = creditors_agent(command.coordinator_id)
            if agent == 0 or agent != creditors_agent(command.creditor_id):
                raise Malformed(
                    f'in an "agent" transfer, `coordinator_id` ({command.coordinator_id}) and'
                    f" `creditor_id` ({command.creditor_id}) must have the same highest 24 bits,"
                    " not all of them zero"
                )


def _checked_finalize(command: FinalizeTransfer) -> FinalizeTransfer:
    require_ascii("coordinator_type", command.coordinator_type)
    _require_note(command.transfer_note, command.transfer_note_format)
    if command.ts.tzinfo is UTC:
        return command
    return msgspec.structs.replace(command, ts=in_utc("ts", command.ts))


def _checked_change(command: PendingBalanceChange) -> PendingBalanceChange:
    require_ascii("coordinator_type", command.coordinator_type)
    _require_note(command.transfer_note, command.transfer_note_format)
    if command.principal_delta == 0:
        raise Malformed("`principal_delta` is zero")
    if command.committed_at.tzinfo is UTC:
        return command
    return msgspec.structs.replace(
        command, committed_at=in_utc("committed_at", command.committed_at)
    )


_DECODING: Final = Decoding[Command](
    Command,
    {
        ConfigureAccount: _checked_configure,
        PrepareTransfer: _checked_prepare,
        FinalizeTransfer: _checked_finalize,
        PendingBalanceChange: _checked_change,
    },
)

decode: Final = _DECODING.decode
