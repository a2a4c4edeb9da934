"""Pages of the outbox that are under way: published, confirmed, and only then deleted.

The next page is published while the last one waits for its confirms, and what
was confirmed is deleted many rows at a time. A process that dies leaves behind
what it has not deleted, which is sent again; so nothing waits for long.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec
import psycopg

from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.broker.publisher import Message, Outcome, Publication, Publisher, Verdict
from swpt_accounts.protocol.decoding import CONTENT_TYPE
from swpt_accounts.protocol.outgoing import APP_ID, OutgoingMessage, headers
from swpt_accounts.store import outbox
from swpt_accounts.store.outbox import OutboxMessage

logger = logging.getLogger(__name__)

UNDER_WAY_MAX: Final = 2000
"""Messages published and not confirmed. More would only make each of them wait longer."""

DELETED_AT_ONCE: Final = 1000
DELETED_AFTER_SECONDS: Final = 0.1

Page = list[OutboxMessage]


class Flushed(msgspec.Struct, frozen=True):
    """What one page came to."""

    sent_count: int
    set_aside_count: int

    @property
    def is_promising(self) -> bool:
        """Tell whether all that was tried could be sent."""
        return self.sent_count > 0 and self.set_aside_count == 0


class Pipeline:
    """Sends pages, and deletes what was sent, over one connection to either server."""

    def __init__(
        self,
        connection: psycopg.Connection,
        publisher: Publisher,
        clock: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._clock = clock
        self._under_way: deque[tuple[Page, Publication]] = deque()
        self._under_way_count = 0
        self._sent: Page = []
        self._first_sent_at = time.monotonic()

    @property
    def has_room(self) -> bool:
        """Tell whether another page may be published."""
        return self._under_way_count < UNDER_WAY_MAX

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is under way."""
        return not self._under_way

    def taken_ids(self) -> Iterator[int]:
        """Yield the ids of all that is still in the outbox, and must not be sent again."""
        for page, _ in self._under_way:
            for row in page:
                yield row.id
        for row in self._sent:
            yield row.id

    def publish(self, page: Page) -> None:
        """Publish the messages. Raises `BrokerLost`."""
        publication = self._publisher.begin([to_amqp(row.message) for row in page])
        self._under_way.append((page, publication))
        self._under_way_count += len(page)

    def settle(self, wait_seconds: float) -> None:
        """Wait for the oldest page, and see to all that are confirmed. Raises `BrokerLost`."""
        while self._under_way and self._under_way[0][1].is_settled(wait_seconds):
            self._settle_oldest()
            wait_seconds = 0.0
        if self._sent and self._is_time_to_delete():
            self.delete_sent()

    def finish(self) -> None:
        """Wait for everything, and delete what was sent. Raises `BrokerLost`."""
        while self._under_way:
            self._settle_oldest()
        self.delete_sent()

    def delete_sent(self) -> None:
        """Delete what was confirmed."""
        sent, self._sent = self._sent, []
        outbox.delete(self._connection, sent)

    def send(self, page: Page) -> Flushed:
        """Publish the messages, wait for their confirms, delete what was sent."""
        if not page:
            return Flushed(0, 0)
        outcomes = self._publisher.publish([to_amqp(row.message) for row in page])
        flushed = self._conclude(page, outcomes)
        self.delete_sent()
        return flushed

    def _settle_oldest(self) -> None:
        page, publication = self._under_way[0]
        outcomes = publication.outcomes()
        self._under_way.popleft()
        self._under_way_count -= len(page)
        self._conclude(page, outcomes)

    def _is_time_to_delete(self) -> bool:
        return (
            self.is_empty
            or len(self._sent) >= DELETED_AT_ONCE
            or time.monotonic() >= self._first_sent_at + DELETED_AFTER_SECONDS
        )

    def _conclude(self, page: Page, outcomes: Sequence[Outcome]) -> Flushed:
        if not self._sent:
            self._first_sent_at = time.monotonic()
        sent_count = 0
        failed = []
        for row, outcome in zip(page, outcomes, strict=True):
            if outcome.verdict is Verdict.CONFIRMED:
                self._sent.append(row)
                sent_count += 1
            else:
                failed.append((row, outcome.reason))
        if failed:
            self._set_aside(failed)
        return Flushed(sent_count, len(failed))

    def _set_aside(self, failed: Sequence[tuple[OutboxMessage, str]]) -> None:
        row, reason = failed[0]
        logger.error(
            "%d messages cannot be delivered, and are set aside until they can. The first is"
            " a %s to exchange %s with routing key %s: %s",
            len(failed),
            row.message.message_type,
            row.message.exchange,
            row.message.routing_key,
            reason,
        )
        outbox.set_aside(self._connection, failed, self._clock())


def to_amqp(message: OutgoingMessage) -> Message:
    """Return the outbox's message as the broker takes it (protocol.rst, AMQP)."""
    return Message(
        exchange=message.exchange,
        routing_key=message.routing_key,
        body=message.body,
        properties=encode_properties(
            CONTENT_TYPE,
            message.message_type,
            APP_ID,
            headers(
                message.message_type,
                message.debtor_id,
                message.creditor_id,
                message.coordinator_type,
                message.coordinator_id,
                is_forwarded=message.is_forwarded,
            ),
        ),
        mandatory=message.mandatory,
    )
