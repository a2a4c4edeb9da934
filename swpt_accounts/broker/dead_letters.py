"""Dead letters: messages set aside with the reason, listed, and sent in again.

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

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

import pika

from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.message import Delivery, Message
from swpt_accounts.broker.properties import SHORT_STRING_BYTES_MAX, decode_properties
from swpt_accounts.broker.publisher import Outcome, Publisher
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

READ_COUNT_MAX: Final = 10_000
"""Of more dead letters than these, only the newest are read."""

FIRST_SECONDS: Final = 2.0
"""So long the stream is given to deliver its first message, and then to go on after a pause."""

NEXT_SECONDS: Final = 1.0
LATE_SECONDS: Final = 10.0
"""So long it is waited for messages that the broker counts, but has not delivered."""

_PAGE_SIZE: Final = 200
# Earlier versions kept all headers that are tame, and the broker may add its own.
_PROPERTIES_BYTES_MAX: Final = 64 * 1024
_CONFIRM_SECONDS: Final = 30.0
_OFFSET: Final = "x-stream-offset"
_DEATH_REASONS: Final = ("x-last-death-reason", "x-first-death-reason")
_BROKER_HEADERS_PREFIX: Final = "x-"
_COPYING_HEADERS: Final = ("cc", "bcc")
_WRITTEN_BY_BROKER: Final = ("x-delivery-count", _OFFSET)
_DROPPED_BYTES_MAX: Final = 1000
_PRIORITY_MAX: Final = 255
_YEAR_10000: Final = 253_402_300_800

# RabbitMQ would take the body of such a message for a message in itself.
_FOREIGN_PROTOCOL_TYPE: Final = "amqp-1.0"


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter stream, at its offset, with the properties it may be sent with.

    `rejected_at` is empty if the broker itself has put it there (which it does after too
    many deliveries), and the reason is the broker's own.
    """

    offset: int
    reason: str
    rejected_at: str
    queue: str
    exchange: str
    routing_key: str
    message_type: str | None
    content_type: str | None
    body: bytes
    properties: pika.BasicProperties


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
            REASON: _text(reason, REASON_BYTES_MAX),
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
        properties.headers[DROPPED] = _text(", ".join(dropped), _DROPPED_BYTES_MAX)
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
            dropped.append(_text(name if isinstance(name, str | bytes) else repr(name), 100))
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


def _text(value: str | bytes, bytes_max: int) -> str:
    """Return the text in valid UTF-8, cut to so many bytes."""
    encoded = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    return encoded.decode("utf-8", "replace").encode()[:bytes_max].decode("utf-8", "ignore")


def _short(value: str | bytes | None) -> str | None:
    return None if value is None else _text(value, SHORT_STRING_BYTES_MAX)


def _ascii(value: str | bytes | None) -> str | None:
    text = _short(value)
    if text is None:
        return None
    return _text(text.encode("ascii", "backslashreplace"), SHORT_STRING_BYTES_MAX)


def _whole_number(value: object, maximum: int) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= maximum else None


def read_all(url: str, queue: str, *, count_max: int = READ_COUNT_MAX) -> list[DeadLetter]:
    """Return the dead letters of the queue, oldest first; the newest ones if there are too many.

    Raises `BrokerLost`, also when the queue has no dead-letter stream.
    """
    newest: deque[DeadLetter] = deque(maxlen=count_max)
    count = 0
    for dead_letter_read in _read(url, queue, "first"):
        newest.append(dead_letter_read)
        count += 1
    if count > count_max:
        logger.warning("Of %d dead letters, only the newest %d are shown.", count, count_max)
    return list(newest)


def send_back(url: str, queue: str, offsets: Collection[int]) -> dict[int, Outcome]:
    """Publish the dead letters at the offsets to the queue again; they also stay where they are.

    The outcome says whether the queue has taken it. Offsets at which there is
    no dead letter (any more) are missing from the result. Raises `BrokerLost`.
    """
    wanted = set(offsets)
    outcomes: dict[int, Outcome] = {}
    if not wanted:
        return outcomes
    publisher = Publisher(url, confirm_timeout_seconds=_CONFIRM_SECONDS)
    publisher.start()
    try:
        found = (d for d in _read(url, queue, min(wanted), max(wanted)) if d.offset in wanted)
        while page := list(islice(found, _PAGE_SIZE)):
            messages = [Message("", queue, d.body, d.properties) for d in page]
            outcomes.update(zip((d.offset for d in page), publisher.publish(messages), strict=True))
    finally:
        publisher.stop()
    return outcomes


def _read(url: str, queue: str, first: int | str, last: int | None = None) -> Iterator[DeadLetter]:
    """Yield the dead letters from the first offset to the last, or to the end."""
    consumer = Consumer(
        url,
        dead_letter_queue(queue),
        prefetch_count=2 * _PAGE_SIZE,
        properties_bytes_max=_PROPERTIES_BYTES_MAX,
        arguments={_OFFSET: first},
    )
    consumer.start()
    try:
        offset = -1
        for delivery in _deliveries_to_end(consumer, counted=first == "first"):
            found = _dead_letter_from(delivery, offset + 1)
            offset = found.offset
            yield found
            if last is not None and offset >= last:
                return
    finally:
        consumer.stop()


def _deliveries_to_end(consumer: Consumer, *, counted: bool) -> Iterator[Delivery]:
    """Yield deliveries until no more come.

    A stream does not tell where it ends. The broker counts all its messages,
    but some seconds late, so a count can only be a reason to wait longer.
    """
    received_count = 0
    while True:
        deliveries = consumer.take(_PAGE_SIZE, NEXT_SECONDS if received_count else FIRST_SECONDS)
        if not deliveries and counted and received_count < consumer.messages_count():
            deliveries = consumer.take(_PAGE_SIZE, LATE_SECONDS)
        if not deliveries:
            return
        received_count += len(deliveries)
        yield from deliveries
        consumer.settle([delivery.tag for delivery in deliveries])


def _dead_letter_from(delivery: Delivery, expected_offset: int) -> DeadLetter:
    original = delivery.properties
    headers = original.headers or {}
    properties, _ = tame(original)
    by_broker = [headers[name] for name in _DEATH_REASONS if name in headers]

    def text(name: str) -> str:
        value = headers.get(name, "")
        return value if isinstance(value, str) else repr(value)

    offset = headers.get(_OFFSET)
    return DeadLetter(
        offset=int(offset) if isinstance(offset, int) else expected_offset,
        reason=text(REASON) or f"put aside by the broker: {by_broker[0] if by_broker else '?'}",
        rejected_at=text(TIME),
        queue=text(QUEUE),
        exchange=text(EXCHANGE),
        routing_key=text(ROUTING_KEY),
        message_type=delivery.message_type,
        content_type=delivery.content_type,
        body=delivery.body,
        properties=properties,
    )
