"""Dead letters: messages set aside with the reason.

They are published into the dead-letter stream by whoever rejects them, with
confirms, before the ack. The broker's own dead-lettering is not relied upon:
RabbitMQ 3.10 loses each message that it puts into a stream itself.

To the headers of the message these are added:

    dead-letter-reason        why it was rejected, a sentence
    dead-letter-time          when, in ISO 8601
    dead-letter-queue         the queue from which it came
    dead-letter-exchange      the exchange to which it was published
    dead-letter-routing-key   its routing key
    dead-letter-dropped       names of the headers that were not kept, if any
    dead-letter-body-size     how many bytes the body had, if this is only its beginning
    dead-letter-body-sha256   the SHA-256 of that whole body, in hexadecimal

Headers are kept as long as they are few, short, and of a simple type: nested
ones make the broker itself fail when it writes them into a stream. Those that
begin with `x-`, or copy a message to other queues, speak to the broker, and
are not kept, nor are the user, whom the broker would compare with us, and the
expiration.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pika

from swpt_accounts.broker.message import Delivery, Message
from swpt_accounts.broker.properties import SHORT_STRING_BYTES_MAX, decode_properties
from swpt_accounts.broker.topology import dead_letter_queue

REASON: Final = "dead-letter-reason"
TIME: Final = "dead-letter-time"
QUEUE: Final = "dead-letter-queue"
EXCHANGE: Final = "dead-letter-exchange"
ROUTING_KEY: Final = "dead-letter-routing-key"
DROPPED: Final = "dead-letter-dropped"
BODY_SIZE: Final = "dead-letter-body-size"
BODY_SHA256: Final = "dead-letter-body-sha256"

OWN_HEADERS_PREFIX: Final = "dead-letter-"

REASON_BYTES_MAX: Final = 2000
HEADERS_COUNT_MAX: Final = 32
HEADER_BYTES_MAX: Final = 1000

_BROKER_HEADERS_PREFIX: Final = "x-"
_COPYING_HEADERS: Final = ("cc", "bcc")
_WRITTEN_BY_BROKER: Final = ("x-delivery-count", "x-stream-offset")
_DROPPED_BYTES_MAX: Final = 1000
_PRIORITY_MAX: Final = 255
_YEAR_10000: Final = 253_402_300_800

# RabbitMQ would take the body of such a message for a message in itself.
_FOREIGN_PROTOCOL_TYPE: Final = "amqp-1.0"


def dead_letter(delivery: Delivery, queue: str, reason: str, at: datetime) -> Message:
    """Return the message to publish into the dead-letter stream of `queue`.

    Whatever the delivery's properties are, the message can be published.
    """
    original, is_complete = decode_properties(delivery.encoded_properties)
    properties, dropped = tame(original)
    if not is_complete:
        dropped.append("all headers, since they cannot be decoded")
    properties.headers.update(
        {
            REASON: cut_text(reason, REASON_BYTES_MAX),
            TIME: at.isoformat(),
            QUEUE: queue,
            EXCHANGE: delivery.exchange,
            ROUTING_KEY: delivery.routing_key,
        }
    )
    cut = delivery.cut
    if cut is not None and cut.properties_size > len(delivery.encoded_properties):
        dropped.append(f"all headers, since the properties have {cut.properties_size} bytes")
    if cut is not None and cut.body_size > len(delivery.body):
        properties.headers[BODY_SIZE] = cut.body_size
        properties.headers[BODY_SHA256] = cut.body_sha256.hex()
    if dropped:
        properties.headers[DROPPED] = cut_text(", ".join(dropped), _DROPPED_BYTES_MAX)
    return Message("", dead_letter_queue(queue), delivery.body, properties)


def tame(original: pika.BasicProperties) -> tuple[pika.BasicProperties, list[str]]:
    """Return of the properties what any broker takes, and the names of the headers left out."""
    headers, dropped = _tame_headers(original.headers or {})
    message_type = _short(original.type)
    if message_type == _FOREIGN_PROTOCOL_TYPE:
        message_type = None
        dropped.append(f"type {_FOREIGN_PROTOCOL_TYPE}")
    properties = pika.BasicProperties(
        content_type=_ascii(original.content_type),
        content_encoding=_ascii(original.content_encoding),
        headers=headers,
        delivery_mode=pika.DeliveryMode.Persistent,
        priority=_whole_number(original.priority, _PRIORITY_MAX),
        correlation_id=_short(original.correlation_id),
        reply_to=_short(original.reply_to),
        message_id=_short(original.message_id),
        timestamp=_whole_number(original.timestamp, _YEAR_10000),
        type=message_type,
        app_id=_short(original.app_id),
    )
    return properties, dropped


def _tame_headers(headers: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    kept: dict[str, Any] = {}
    dropped = []
    for name, value in headers.items():
        if name in _WRITTEN_BY_BROKER or str(name).startswith(OWN_HEADERS_PREFIX):
            continue
        if _is_tame(name, value) and len(kept) < HEADERS_COUNT_MAX:
            kept[name] = value
        else:
            dropped.append(cut_text(name if isinstance(name, str | bytes) else repr(name), 100))
    return kept, dropped


def _is_tame(name: object, value: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name.encode()) <= SHORT_STRING_BYTES_MAX:
        return False
    lower = name.lower()
    if lower.startswith(_BROKER_HEADERS_PREFIX) or lower in _COPYING_HEADERS:
        return False
    if isinstance(value, str):
        return len(value.encode()) <= HEADER_BYTES_MAX
    return isinstance(value, int) and -(2**63) <= value < 2**63


def cut_text(value: str | bytes, bytes_max: int) -> str:
    """Return the text in valid UTF-8, cut to so many bytes."""
    encoded = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    return encoded.decode("utf-8", "replace").encode()[:bytes_max].decode("utf-8", "ignore")


def _short(value: str | bytes | None) -> str | None:
    return None if value is None else cut_text(value, SHORT_STRING_BYTES_MAX)


def _ascii(value: str | bytes | None) -> str | None:
    text = _short(value)
    if text is None:
        return None
    return cut_text(text.encode("ascii", "backslashreplace"), SHORT_STRING_BYTES_MAX)


def _whole_number(value: object, maximum: int) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= maximum else None
