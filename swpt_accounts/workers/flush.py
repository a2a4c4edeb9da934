"""Outbox page to confirmed publish to delete."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import psycopg

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.protocol.outgoing import lanes_of
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect
from swpt_accounts.store.lanes import Lanes
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.pipeline import Flushed, Page, Pipeline
from swpt_accounts.workers.stopping import Stopping

logger = logging.getLogger(__name__)

PAGE_SIZE: Final = 1000
"""Messages read and published together."""

GATHERING_SECONDS: Final = 0.01
"""For so long, while a page waits for its confirms, more messages are left to gather."""

PROBE_SIZE: Final = 100
"""Messages set aside before that are tried again at once, until it turns out that they go."""

CONFIRM_SECONDS: Final = 0.05
"""How long a message may go unnoticed while others wait for a broker that is slow."""

REBALANCE_SECONDS: Final = 1.0
POLL_SECONDS_MIN: Final = 0.05
WAIT_SECONDS: Final = 0.5
"""How long a request to stop can go unnoticed while there is nothing to send."""

# A message whose deletion is lost when the server crashes is sent again, as it
# would be if this process had died a moment earlier. So no disk is waited for.
_SESSION_OPTIONS: Final = f"{LOOK_UPS_ONLY} -c synchronous_commit=off"


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
                pipeline = Pipeline(connection, publisher, self._clock)
                logger.info("flushing messages")
                try:
                    self._flush_pages(connection, pipeline, lanes, stopping)
                    pipeline.finish()
                except BrokerLost:
                    # What the broker has confirmed before need not be sent again.
                    pipeline.delete_sent()
                    raise
            finally:
                publisher.stop()

    def _flush_pages(
        self,
        connection: psycopg.Connection,
        pipeline: Pipeline,
        lanes: Lanes,
        stopping: Stopping,
    ) -> None:
        next_rebalance = 0.0
        retried = Flushed(0, 0)
        while not stopping.requested:
            is_time = time.monotonic() >= next_rebalance
            if is_time:
                lanes.rebalance(pipeline.finish)
                next_rebalance = time.monotonic() + REBALANCE_SECONDS
            if is_time or retried.is_promising:
                count_max = PAGE_SIZE if retried.is_promising else PROBE_SIZE
                due = outbox.take_undelivered(connection, lanes.held, count_max, self._clock())
                retried = pipeline.send(due)
            page: Page = []
            if pipeline.has_room:
                taken_ids = pipeline.taken_ids()
                page = outbox.take_page(connection, lanes.held, PAGE_SIZE, taken_ids)
                if page:
                    pipeline.publish(page)
                elif pipeline.is_empty and not retried.is_promising:
                    if self._quit_early:
                        return
                    self._wait_for_messages(connection)
            pipeline.settle(GATHERING_SECONDS if page else CONFIRM_SECONDS)
            self._backoff.reset()

    def _wait_for_messages(self, connection: psycopg.Connection) -> None:
        """Wait until a transaction tells that it has written to the outbox."""
        seconds = min(max(self._poll_seconds, POLL_SECONDS_MIN), WAIT_SECONDS)
        for _ in connection.notifies(timeout=seconds, stop_after=1):
            pass
