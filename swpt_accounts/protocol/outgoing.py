"""An event to the message that announces it: body, headers, destination."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final, get_args

import msgspec

from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import Event
from swpt_accounts.protocol.routing import (
    ACCOUNTS_IN,
    COORDINATOR_MESSAGE_TYPES,
    MESSAGE_TYPES,
    account_key,
    is_mandatory,
    route,
)

APP_ID: Final = "swpt_accounts"

FORWARDED_HEADER: Final = "forwarded"
"""Says that an accounting authority has found the message in the wrong queue, and sent it on."""

LANES_PER_MESSAGE_TYPE: Final = 8
"""So many flushers can share the messages of one type."""

_ENCODER: Final = msgspec.json.Encoder()
_ENUMERATED: Final = {message_type: index for index, message_type in enumerate(MESSAGE_TYPES)}

HeaderValue = int | str


class OutgoingMessage(msgspec.Struct, frozen=True, gc=False):
    """A message ready to be published: an outbox row, without its id."""

    lane: int
    exchange: str
    routing_key: str
    mandatory: bool
    message_type: str
    debtor_id: int
    creditor_id: int
    coordinator_type: str | None
    coordinator_id: int | None
    origin_creditor_id: int
    body: bytes
    is_forwarded: bool = False


def lanes_of(message_type: str) -> range:
    """Return the outbox lanes that messages of the type travel in."""
    first = _ENUMERATED[message_type] * LANES_PER_MESSAGE_TYPE
    return range(first, first + LANES_PER_MESSAGE_TYPE)


def encode(event: Event) -> OutgoingMessage:
    """Return the message that announces the event."""
    message_type = type(event).__name__
    exchange, routing_key = route(event)
    has_coordinator = message_type in COORDINATOR_MESSAGE_TYPES
    origin_creditor_id = (
        event.other_creditor_id if isinstance(event, PendingBalanceChange) else event.creditor_id
    )
    first_lane = _ENUMERATED[message_type] * LANES_PER_MESSAGE_TYPE
    return OutgoingMessage(
        lane=first_lane + (event.debtor_id + event.creditor_id) % LANES_PER_MESSAGE_TYPE,
        exchange=exchange,
        routing_key=routing_key,
        mandatory=is_mandatory(event),
        message_type=message_type,
        debtor_id=event.debtor_id,
        creditor_id=event.creditor_id,
        coordinator_type=event.coordinator_type if has_coordinator else None,  # type: ignore[union-attr]
        coordinator_id=event.coordinator_id if has_coordinator else None,  # type: ignore[union-attr]
        origin_creditor_id=origin_creditor_id,
        body=_ENCODER.encode(_document(event, message_type)),
    )


def sent_on(message_type: str, debtor_id: int, creditor_id: int, body: bytes) -> OutgoingMessage:
    """Return a message that was found in the wrong queue, on its way to the account's shard.

    It travels in the lanes of the type that goes there anyway.
    """
    lanes = lanes_of(PendingBalanceChange.__name__)
    return OutgoingMessage(
        lane=lanes[(debtor_id + creditor_id) % LANES_PER_MESSAGE_TYPE],
        exchange=ACCOUNTS_IN,
        routing_key=account_key(debtor_id, creditor_id),
        mandatory=True,
        message_type=message_type,
        debtor_id=debtor_id,
        creditor_id=creditor_id,
        coordinator_type=None,
        coordinator_id=None,
        origin_creditor_id=creditor_id,
        body=body,
        is_forwarded=True,
    )


def headers(
    message_type: str,
    debtor_id: int,
    creditor_id: int,
    coordinator_type: str | None,
    coordinator_id: int | None,
    *,
    is_forwarded: bool = False,
) -> dict[str, HeaderValue]:
    """Return the AMQP headers of a message (protocol.rst, AMQP)."""
    values: dict[str, HeaderValue] = {
        "message-type": message_type,
        "debtor-id": debtor_id,
        "creditor-id": creditor_id,
    }
    if coordinator_type is not None and coordinator_id is not None:
        values["coordinator-id"] = coordinator_id
        values["coordinator-type"] = coordinator_type
    if is_forwarded:
        values[FORWARDED_HEADER] = True
    return values


def _base16(value: bytes) -> str:
    return value.hex().upper()


_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    bytes: _base16,
}

# For each type of event, the fields that JSON has no type for.
_WRITTEN_FIELDS: Final[dict[type, tuple[tuple[str, Callable[[Any], str]], ...]]] = {
    event: tuple(
        (field.name, _WRITERS[annotation])
        for field in msgspec.structs.fields(event)
        if (annotation := getattr(field.type, "__origin__", field.type)) in _WRITERS
    )
    for event in get_args(Event)
}


def _document(event: Event, message_type: str) -> dict[str, Any]:
    """Return the event as JSON has it: moments in ISO 8601, hashes in Base16."""
    document = {"type": message_type, **msgspec.structs.asdict(event)}
    for name, write in _WRITTEN_FIELDS[type(event)]:
        document[name] = write(document[name])
    return document
