"""Outbox page to confirmed publish to delete."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import msgspec
import psycopg

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.broker.publisher import Message, Publisher, Verdict
from swpt_accounts.protocol.decoding import CONTENT_TYPE
from swpt_accounts.protocol.outgoing import APP_ID, OutgoingMessage, headers, lanes_of
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect
from swpt_accounts.store.lanes import Lanes
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.gathering import Gathering
from swpt_accounts.workers.stopping import Stopping

logger = logging.getLogger(__name__)

PAGE_SIZE: Final = 1000
"""Messages published and deleted together. More in flight only makes each of them wait longer."""

PROBE_SIZE: Final = 100
"""Messages set aside before that are tried again at once, until it turns out that they go."""

REBALANCE_SECONDS: Final = 1.0
POLL_SECONDS_MIN: Final = 0.05
WAIT_SECONDS: Final = 0.5
"""How long a request to stop can go unnoticed while there is nothing to send."""

# A message whose deletion is lost when the server crashes is sent again, as it
# would be if this process had died a moment earlier. So no disk is waited for.
_SESSION_OPTIONS: Final = f"{LOOK_UPS_ONLY} -c synchronous_commit=off"


class Flushed(msgspec.Struct, frozen=True):
    """What one page came to."""

    sent_count: int
    set_aside_count: int

    @property
    def is_empty(self) -> bool:
        """Tell whether there was nothing to send."""
        return not (self.sent_count or self.set_aside_count)

    @property
    def is_promising(self) -> bool:
        """Tell whether all that was tried could be sent."""
        return self.sent_count > 0 and self.set_aside_count == 0


class Flusher:
    """Sends what the outbox holds: one database connection, one broker connection.

    The order of steps makes delivery at least once: read a page, publish it
    with no transaction open, and delete only what the broker has confirmed.
    """

    def __init__(
        self,
        postgres_url: str,
        make_publisher: Callable[[], Publisher],
        message_types: Iterable[str],
        clock: Callable[[], datetime],
        *,
        poll_seconds: float,
        quit_early: bool = False,
    ) -> None:
        """`poll_seconds` is how long to wait when nobody tells of new messages."""
        self._postgres_url = postgres_url
        self._make_publisher = make_publisher
        self._lane_groups = [lanes_of(message_type) for message_type in message_types]
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._quit_early = quit_early
        self._backoff = Backoff()

    def run(self, stopping: Stopping) -> None:
        """Flush until stopping is requested, or with `quit_early`, until nothing is left."""
        while not stopping.requested:
            try:
                self._flush(stopping)
            except (BrokerLost, psycopg.Error) as error:
                pause = self._backoff.next_pause()
                reason = str(error).strip() or type(error).__name__
                logger.warning("flushing is interrupted (%s); again in %.1f seconds", reason, pause)
                stopping.wait(pause)
            else:
                return

    def _flush(self, stopping: Stopping) -> None:
        with connect(
            self._postgres_url,
            application_name="flush",
            autocommit=True,
            session_options=_SESSION_OPTIONS,
        ) as connection:
            publisher = self._make_publisher()
            try:
                publisher.start()
                connection.execute(f"LISTEN {outbox.CHANNEL}")
                lanes = Lanes(connection, self._lane_groups)
                logger.info("flushing messages")
                self._flush_pages(connection, publisher, lanes, stopping)
            finally:
                publisher.stop()

    def _flush_pages(
        self,
        connection: psycopg.Connection,
        publisher: Publisher,
        lanes: Lanes,
        stopping: Stopping,
    ) -> None:
        next_rebalance = 0.0
        retried = Flushed(0, 0)
        gathering = Gathering(time.monotonic)
        while not stopping.requested:
            is_time = time.monotonic() >= next_rebalance
            if is_time:
                lanes.rebalance()
                next_rebalance = time.monotonic() + REBALANCE_SECONDS
            if is_time or retried.is_promising:
                count_max = PAGE_SIZE if retried.is_promising else PROBE_SIZE
                due = outbox.take_undelivered(connection, lanes.held, count_max, self._clock())
                retried = self._send(connection, publisher, due)
            time.sleep(gathering.seconds_left)
            gathering.begin()
            page = outbox.take_page(connection, lanes.held, PAGE_SIZE)
            flushed = self._send(connection, publisher, page)
            gathering.end(len(page) if len(page) < PAGE_SIZE else 0)
            self._backoff.reset()
            if flushed.is_empty and not retried.is_promising:
                if self._quit_early:
                    return
                self._wait_for_messages(connection)

    def _wait_for_messages(self, connection: psycopg.Connection) -> None:
        """Wait until a transaction tells that it has written to the outbox."""
        seconds = min(max(self._poll_seconds, POLL_SECONDS_MIN), WAIT_SECONDS)
        for _ in connection.notifies(timeout=seconds, stop_after=1):
            pass

    def _send(
        self, connection: psycopg.Connection, publisher: Publisher, page: list[OutboxMessage]
    ) -> Flushed:
        if not page:
            return Flushed(0, 0)
        outcomes = publisher.publish([to_amqp(row.message) for row in page])
        sent, failed = [], []
        for row, outcome in zip(page, outcomes, strict=True):
            if outcome.verdict is Verdict.CONFIRMED:
                sent.append(row)
            else:
                failed.append((row, outcome.reason))
        outbox.delete(connection, sent)
        if failed:
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
            outbox.set_aside(connection, failed, self._clock())
        return Flushed(len(sent), len(failed))


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
            ),
        ),
        mandatory=message.mandatory,
    )
