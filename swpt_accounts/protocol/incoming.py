"""A delivery's body to a command, or the reason why it is none (protocol.rst, JSON)."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, get_args

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

CONTENT_TYPE: Final = "application/json"

# The longest valid message has a `config_data` of 2000 bytes, each written
# as a six-character escape, and less than a thousand bytes of other fields.
# The rest is for unknown fields that later versions may add.
BODY_BYTES_MAX: Final = 32 * 1024

_REASON_LENGTH_MAX: Final = 300
_MESSAGE_TYPES: Final = tuple(command.__name__ for command in get_args(Command))
# A union has to be told apart, so its decoder insists on the property `type`.
_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Command)
_NOTE_FORMAT_CHARACTERS: Final = frozenset(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-"
)


class Malformed(Exception):
    """A delivery that no version of the protocol allows; `str()` is the reason."""


def decode(message_type: str | None, content_type: str | None, body: bytes) -> Command:
    """Return the command that a delivery carries.

    `message_type` and `content_type` are the AMQP properties. Raises
    `Malformed`, and nothing else, whatever the bytes are.
    """
    if content_type != CONTENT_TYPE:
        raise Malformed(f"the content type is {_shown(content_type)}, not {CONTENT_TYPE!r}")
    if message_type not in _MESSAGE_TYPES:
        raise Malformed(
            f"the message type is {_shown(message_type)}, not one of {', '.join(_MESSAGE_TYPES)}"
        )
    if len(body) > BODY_BYTES_MAX:
        raise Malformed(f"the body has {len(body)} bytes, more than {BODY_BYTES_MAX}")
    try:
        if not body.isascii():
            body.decode()  # Unknown properties are not looked at by the decoder.
        command = _DECODER.decode(body)
        if type(command).__name__ != message_type:
            raise Malformed(
                f"the property `type` is {type(command).__name__!r}, but the message was sent"
                f" as a {message_type}"
            )
        return _CHECKS[type(command)](command)
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise Malformed(f"the body is not a {message_type}: {_printable(str(error))}") from None


def _printable(text: str) -> str:
    """Return a text that may quote the message as it can be written into one line of a log."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode()
    return shown[:_REASON_LENGTH_MAX]


def _shown(value: object) -> str:
    return ascii(value)[:_REASON_LENGTH_MAX]


def _in_utc(field: str, moment: datetime) -> datetime:
    """Return the moment in UTC; raise `Malformed` when UTC has no such year."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Malformed(f"`{field}` is {moment.isoformat()}, which has no date in UTC") from None


def _require_text(field: str, text: str, bytes_max: int) -> None:
    if "\0" in text:
        raise Malformed(f"`{field}` contains a NUL character")
    if not text.isascii() and len(text.encode()) > bytes_max:
        raise Malformed(f"`{field}` has more than {bytes_max} bytes of UTF-8")


def _require_ascii(field: str, text: str) -> None:
    if not text.isascii() or "\0" in text:
        raise Malformed(f"`{field}` is {_shown(text)}, but may only have ASCII characters, no NUL")


def _require_note(note: str, note_format: str) -> None:
    _require_text("transfer_note", note, TRANSFER_NOTE_BYTES_MAX)
    if note_format and not _NOTE_FORMAT_CHARACTERS.issuperset(note_format):
        raise Malformed(
            f"`transfer_note_format` is {_shown(note_format)},"
            " but may only have ASCII letters, digits, points, and hyphens"
        )


def _checked_configure(command: ConfigureAccount) -> ConfigureAccount:
    _require_text("config_data", command.config_data, CONFIG_DATA_BYTES_MAX)
    if not math.isfinite(command.negligible_amount):
        raise Malformed("`negligible_amount` is not finite")
    if command.ts.tzinfo is UTC:
        return command
    return msgspec.structs.replace(command, ts=_in_utc("ts", command.ts))


def _checked_prepare(command: PrepareTransfer) -> PrepareTransfer:
    _require_ascii("coordinator_type", command.coordinator_type)
    _require_ascii("recipient", command.recipient)
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
        ts=_in_utc("ts", command.ts),
        final_interest_rate_ts=_in_utc("final_interest_rate_ts", command.final_interest_rate_ts),
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
    _require_ascii("coordinator_type", command.coordinator_type)
    _require_note(command.transfer_note, command.transfer_note_format)
    if command.ts.tzinfo is UTC:
        return command
    return msgspec.structs.replace(command, ts=_in_utc("ts", command.ts))


def _checked_change(command: PendingBalanceChange) -> PendingBalanceChange:
    _require_ascii("coordinator_type", command.coordinator_type)
    _require_note(command.transfer_note, command.transfer_note_format)
    if command.principal_delta == 0:
        raise Malformed("`principal_delta` is zero")
    if command.committed_at.tzinfo is UTC:
        return command
    return msgspec.structs.replace(
        command, committed_at=_in_utc("committed_at", command.committed_at)
    )


_CHECKS: Final[dict[type, Callable[[Any], Command]]] = {
    ConfigureAccount: _checked_configure,
    PrepareTransfer: _checked_prepare,
    FinalizeTransfer: _checked_finalize,
    PendingBalanceChange: _checked_change,
}
