"""The stream of dead letters: listed, and sent in again, in bounded memory whatever is in it."""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.dead_letters import (
    BODY_SHA256,
    BODY_SIZE,
    EXCHANGE,
    QUEUE,
    REASON,
    REASON_BYTES_MAX,
    ROUTING_KEY,
    TIME,
    cut_text,
    tame,
)
from swpt_accounts.broker.limits import BEGINNING_BYTES, BODY_BYTES_MAX
from swpt_accounts.broker.message import Delivery, Message
from swpt_accounts.broker.properties import SHORT_STRING_BYTES_MAX
from swpt_accounts.broker.publisher import Outcome, Publisher, Verdict
from swpt_accounts.broker.topology import dead_letter_queue

READ_COUNT_MAX: Final = 10_000
"""Of more dead letters than these, only the newest are read."""

BODY_SHOWN_BYTES: Final = 1200
"""So much of each body is kept to be shown: 300 characters, whatever they are."""

FIRST_SECONDS: Final = 2.0
"""So long the stream is given to deliver its first message, and then to go on after a pause."""

NEXT_SECONDS: Final = 1.0
LATE_SECONDS: Final = 10.0
"""So long it is waited for messages that the broker counts, but has not delivered."""

_PAGE_SIZE: Final = 200
_CONFIRM_SECONDS: Final = 30.0

# Earlier versions kept all headers that are tame, and the broker may add its own.
_PROPERTIES_BYTES_MAX: Final = 64 * 1024

_OFFSET: Final = "x-stream-offset"
_DEATH_REASONS: Final = ("x-last-death-reason", "x-first-death-reason")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is shown of a message in the dead-letter stream, at its offset.

    `body` is the beginning; the size and the hash are those of the whole body.
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
    body_size: int
    body_sha256: bytes


def read_all(url: str, queue: str, *, count_max: int = READ_COUNT_MAX) -> list[DeadLetter]:
    """Return the dead letters of the queue, oldest first; the newest ones if there are too many.

    Raises `BrokerLost`, also when the queue has no dead-letter stream.
    """
    newest: deque[DeadLetter] = deque(maxlen=count_max)
    count = 0
    for offset, delivery in _read(url, queue, "first", body_bytes_max=BEGINNING_BYTES):
        newest.append(_dead_letter_from(offset, delivery))
        count += 1
    if count > count_max:
        logger.warning("Of %d dead letters, only the newest %d are shown.", count, count_max)
    return list(newest)


def send_back(
    url: str, queue: str, offsets: Collection[int], *, body_bytes_max: int = BODY_BYTES_MAX
) -> dict[int, Outcome]:
    """Publish the dead letters at the offsets to the queue again; they also stay where they are.

    The outcome says whether the queue has taken it. One whose body is not whole,
    or longer than `body_bytes_max`, is refused. Offsets at which there is no
    dead letter (any more) are missing from the result. Raises `BrokerLost`.
    """
    wanted = set(offsets)
    outcomes: dict[int, Outcome] = {}
    if not wanted:
        return outcomes
    publisher = Publisher(url, confirm_timeout_seconds=_CONFIRM_SECONDS)
    publisher.start()
    try:
        letters = _read(url, queue, min(wanted), last=max(wanted), body_bytes_max=body_bytes_max)
        found = ((offset, delivery) for offset, delivery in letters if offset in wanted)
        while page := list(islice(found, _PAGE_SIZE)):
            refused, messages = _to_send(page, queue)
            outcomes.update(refused)
            outcomes.update(zip(messages, publisher.publish(list(messages.values())), strict=True))
    finally:
        publisher.stop()
    return outcomes


def _to_send(
    page: list[tuple[int, Delivery]], queue: str
) -> tuple[dict[int, Outcome], dict[int, Message]]:
    """Return, by offset, what cannot be sent back, and the messages of what can."""
    refused: dict[int, Outcome] = {}
    messages: dict[int, Message] = {}
    for offset, delivery in page:
        properties = delivery.properties
        size = _size_and_hash(delivery, properties.headers or {})[0]
        if size > len(delivery.body):
            reason = f"its body had {size} bytes, of which only the beginning is left"
            refused[offset] = Outcome(Verdict.REFUSED, reason)
        else:
            messages[offset] = Message("", queue, delivery.body, tame(properties)[0])
    return refused, messages


def _read(
    url: str, queue: str, first: int | str, *, body_bytes_max: int, last: int | None = None
) -> Iterator[tuple[int, Delivery]]:
    """Yield offsets and dead letters, from the first offset to the last, or to the end."""
    consumer = Consumer(
        url,
        dead_letter_queue(queue),
        prefetch_count=2 * _PAGE_SIZE,
        body_bytes_max=body_bytes_max,
        properties_bytes_max=_PROPERTIES_BYTES_MAX,
        arguments={_OFFSET: first},
    )
    consumer.start()
    try:
        offset = -1
        for delivery in _deliveries_to_end(consumer, counted=first == "first"):
            given = (delivery.properties.headers or {}).get(_OFFSET)
            offset = given if isinstance(given, int) else offset + 1
            yield offset, delivery
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


def _dead_letter_from(offset: int, delivery: Delivery) -> DeadLetter:
    headers = delivery.properties.headers or {}
    death_reasons = [str(headers[name]) for name in _DEATH_REASONS if name in headers]
    by_broker = cut_text(death_reasons[0] if death_reasons else "?", SHORT_STRING_BYTES_MAX)
    size, digest = _size_and_hash(delivery, headers)

    def text(name: str, bytes_max: int = SHORT_STRING_BYTES_MAX) -> str:
        value = headers.get(name, "")
        return cut_text(value if isinstance(value, str) else repr(value), bytes_max)

    return DeadLetter(
        offset=offset,
        reason=text(REASON, REASON_BYTES_MAX) or f"put aside by the broker: {by_broker}",
        rejected_at=text(TIME),
        queue=text(QUEUE),
        exchange=text(EXCHANGE),
        routing_key=text(ROUTING_KEY),
        message_type=delivery.message_type,
        content_type=delivery.content_type,
        body=delivery.body[:BODY_SHOWN_BYTES],
        body_size=size,
        body_sha256=digest,
    )


def _size_and_hash(delivery: Delivery, headers: Mapping[str, Any]) -> tuple[int, bytes]:
    """Return those of the whole body: cut when it was set aside, or now, or not at all."""
    size, digest = headers.get(BODY_SIZE), headers.get(BODY_SHA256)
    if isinstance(size, int) and isinstance(digest, str):
        with suppress(ValueError):  # Somebody else has written it.
            return size, bytes.fromhex(cut_text(digest, SHORT_STRING_BYTES_MAX))
    if delivery.cut is not None:
        return delivery.cut.body_size, delivery.cut.body_sha256
    return len(delivery.body), sha256(delivery.body).digest()
