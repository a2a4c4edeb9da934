"""Outbox page to confirmed publish to delete."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain
from typing import Final

import psycopg

from swpt_accounts.broker.blame import Blame, blame_for
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.proof import start_proved
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.protocol.outgoing import lanes_of
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import HOLDS_LOCKS, LOOK_UPS_ONLY, connect
from swpt_accounts.store.lanes import Lanes
from swpt_accounts.store.usable import require_writable
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.care import Care, StartAnew
from swpt_accounts.workers.destinations import Destinations
from swpt_accounts.workers.pipeline import DEADLINE_SECONDS, Pipeline
from swpt_accounts.workers.prober import Prober, Question, Trial
from swpt_accounts.workers.set_aside import SetAside
from swpt_accounts.workers.sleeping import Sleeping
from swpt_accounts.workers.stopping import Stopping

logger = logging.getLogger(__name__)

PAGE_SIZE: Final = 1000
"""Messages read together."""

PAGE_BYTES: Final = 2 * 1024 * 1024
"""Once their bodies have so many bytes, a page is long enough."""

GATHERING_SECONDS: Final = 0.01
"""For so long, while a page waits for its confirms, more messages are left to gather."""

CONFIRM_SECONDS: Final = 0.05
"""How long a message may go unnoticed while others wait for a broker that is slow."""

REBALANCE_SECONDS: Final = 1.0
POLL_SECONDS_MIN: Final = 0.05
WAIT_SECONDS: Final = 0.5
"""How long a request to stop can go unnoticed while there is nothing to send."""

FINISH_SECONDS: Final = 3.0
"""So long confirms are waited for, when lanes are given up or the flusher stops."""

PROOF_SECONDS: Final = 5.0
"""So long the broker may take to show that it works, before any message is sent."""

# A message whose deletion is lost when the server crashes is sent again, as it
# would be if this process had died a moment earlier. So no disk is waited for.
_SESSION_OPTIONS: Final = (
    f"{LOOK_UPS_ONLY}{HOLDS_LOCKS} -c synchronous_commit=off"
    " -c lock_timeout=2s -c statement_timeout=10s"
)

STEADY_SECONDS: Final = DEADLINE_SECONDS + 1.0
"""Trouble that a broker or a database is still in comes back within this time."""


class Flusher:
    """Sends what the outbox holds: one database connection, one broker connection.

    The order of steps makes delivery at least once: read a page, publish it
    with no transaction open, and delete only what the broker has confirmed.
    There is a database session only while the broker works: without it, lanes would be
    kept from others.
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
        self._poll_seconds = min(max(poll_seconds, POLL_SECONDS_MIN), WAIT_SECONDS)
        self._quit_early = quit_early
        self._backoff = Backoff()
        self._destinations = Destinations()
        self._prober = Prober(make_publisher)
        self._interrupted_at: float | None = None
        self._connected_at = 0.0

    def run(self, stopping: Stopping) -> None:
        """Flush until stopping is requested, or with `quit_early`, until nothing is left."""
        try:
            while not stopping.requested:
                try:
                    self._flush(stopping)
                except StartAnew as reason:
                    logger.warning("connecting anew: %s", reason)
                except (BrokerLost, psycopg.Error) as error:
                    self._pause(error, stopping)
                else:
                    return
        finally:
            self._prober.stop()

    def _pause(self, error: Exception, stopping: Stopping) -> None:
        if stopping.requested:
            return
        pause = self._backoff.next_pause()
        if self._interrupted_at is None:
            self._interrupted_at = time.monotonic()
            reason = " ".join(str(error).split()) or type(error).__name__
            logger.warning("flushing is interrupted, and tried again until it works: %s", reason)
        stopping.wait(pause)

    def _flush(self, stopping: Stopping) -> None:
        publisher = start_proved(
            self._make_publisher, PROOF_SECONDS, lambda: not stopping.requested
        )
        is_orderly = False
        try:
            with connect(
                self._postgres_url,
                application_name="flush",
                autocommit=True,
                session_options=_SESSION_OPTIONS,
            ) as connection:
                is_orderly = self._flush_with(connection, publisher, stopping)
        finally:
            self._destinations.begin_anew()
            if is_orderly:
                publisher.stop()
            else:
                publisher.drop("the connection is replaced, or not needed any more")

    def _flush_with(
        self, connection: psycopg.Connection, publisher: Publisher, stopping: Stopping
    ) -> bool:
        """Flush over these connections; tell whether nothing is under way in the end."""
        require_writable(connection)
        self._connected_at = time.monotonic()
        sleeping = Sleeping(connection)
        lanes = Lanes(connection, self._lane_groups)
        set_aside = SetAside(connection, self._clock)
        pipeline = Pipeline(connection, publisher, self._destinations, set_aside)
        care = Care(connection, lanes, pipeline, self._destinations, set_aside, self._prober)
        if self._interrupted_at is None:
            logger.info("flushing messages")
        try:
            self._flush_pages(connection, publisher, lanes, pipeline, care, sleeping, stopping)
            pipeline.finish(FINISH_SECONDS)
        except (BrokerLost, StartAnew) as error:
            # What the broker has confirmed before need not be sent again.
            pipeline.delete_sent()
            if isinstance(error, BrokerLost) and (blame := blame_for(error)) is not None:
                self._find_out_who_closes(pipeline, set_aside, blame)
                raise StartAnew(blame.reason) from error
            raise
        return not pipeline.under_way_count and not pipeline.given_up_count

    def _note_steady(self, now: float) -> None:
        """Believe that the trouble is over when it has not come back for a while."""
        if now < self._connected_at + STEADY_SECONDS:
            return
        self._backoff.reset()
        if self._interrupted_at is not None:
            seconds = self._connected_at - self._interrupted_at
            logger.warning("flushing goes on, after %.1f seconds", seconds)
            self._interrupted_at = None

    def _flush_pages(
        self,
        connection: psycopg.Connection,
        publisher: Publisher,
        lanes: Lanes,
        pipeline: Pipeline,
        care: Care,
        sleeping: Sleeping,
        stopping: Stopping,
    ) -> None:
        next_rebalance = 0.0
        while not stopping.requested:
            now = time.monotonic()
            if now >= next_rebalance:
                lanes.rebalance(lambda: pipeline.finish(FINISH_SECONDS))
                next_rebalance = time.monotonic() + REBALANCE_SECONDS
            care.step(now, publisher.blocked_reason)
            page = []
            if pipeline.has_room:
                page = outbox.take_page(
                    connection,
                    lanes.held,
                    count_max=PAGE_SIZE,
                    bytes_max=PAGE_BYTES,
                    taken_ids=chain(pipeline.taken_ids(), self._prober.ids_on_trial()),
                )
                pipeline.take(page, now)
            pipeline.publish(now)
            self._note_steady(now)
            if page:
                sleeping.found()
            elif pipeline.is_empty:
                if self._quit_early and not care.is_busy:
                    return
                sleeping.sleep(CONFIRM_SECONDS if care.is_busy else self._poll_seconds)
            elif not pipeline.under_way_count:  # All that is left is on trial.
                stopping.wait(CONFIRM_SECONDS)
            if pipeline.under_way_count or pipeline.given_up_count:
                wait_seconds = GATHERING_SECONDS if page else CONFIRM_SECONDS
                pipeline.settle(wait_seconds if pipeline.under_way_count else 0.0)

    def _find_out_who_closes(self, pipeline: Pipeline, set_aside: SetAside, blame: Blame) -> None:
        """See that the message is not sent again that has made the broker close the channel."""
        under_way = pipeline.under_way()
        if blame.is_for_all:
            self._destinations.fall_sick(str(blame.exchange), blame.reason)
        elif blame.exchange is not None:
            for entry in under_way:
                message = entry.row.message
                if blame.names(message.exchange, message.routing_key):
                    entry.destination.fall_sick(blame.reason, is_expelled=True)
                    set_aside.add(entry.row, entry.destination, blame.reason, is_tried=True)
            set_aside.flush()
        elif under_way:
            cases = [(entry.row, entry.destination) for entry in under_way]
            self._prober.ask(Trial(self, Question.WHO_CLOSES, cases))
