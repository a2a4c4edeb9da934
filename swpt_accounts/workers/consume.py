"""Take batches from a queue for as long as the process lives, whatever becomes of the servers."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Consumer, Delivery
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import DatabaseUnavailable
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
from swpt_accounts.workers.gathering import Gathering
from swpt_accounts.workers.intake import Settled
from swpt_accounts.workers.stopping import Stopping

logger = logging.getLogger(__name__)

WAIT_SECONDS: Final = 0.5
"""How long a request to stop can go unnoticed while no messages arrive."""

POSTPONED_SECONDS_MIN: Final = 15
POSTPONED_SECONDS_MAX: Final = 900
"""How long a message is kept before it goes back to the queue: twice as long each time.

RabbitMQ 4 dead-letters what it had to deliver more than 20 times, so these also
tell for how long another shard may be away: more than three hours.
"""

CLOCK_PAUSE_SECONDS: Final = 10.0
"""How long to wait before looking again at a clock that is wrong."""

Handle = Callable[[Sequence[Delivery]], Settled]


class Consumption:
    """Connects, takes, handles, settles; pauses and comes back when a server is lost."""

    def __init__(
        self,
        make_consumer: Callable[[], Consumer],
        handle: Handle,
        dead_letter_office: DeadLetterOffice,
        *,
        batch_size_max: int,
    ) -> None:
        """`make_consumer` returns a consumer that is not started yet."""
        self._make_consumer = make_consumer
        self._handle = handle
        self._dead_letter_office = dead_letter_office
        self._batch_size_max = batch_size_max
        self._gathering = Gathering(time.monotonic)
        self._broker_backoff = Backoff()
        self._database_backoff = Backoff()

    def run(self, stopping: Stopping) -> None:
        """Consume until stopping is requested."""
        try:
            while not stopping.requested:
                try:
                    self._consume(stopping)
                except BrokerLost as error:
                    pause = self._broker_backoff.next_pause()
                    logger.warning("%s; trying again in %.1f seconds", error, pause)
                    stopping.wait(pause)
        finally:
            self._dead_letter_office.close()

    def _consume(self, stopping: Stopping) -> None:
        consumer = self._make_consumer()
        try:
            consumer.start()
            logger.info("consuming messages")
            self._broker_backoff.reset()
            while not stopping.requested:
                deliveries = consumer.take(
                    self._batch_size_max, WAIT_SECONDS, self._gathering.seconds_left
                )
                self._dead_letter_office.tell_the_rest()
                self._gathering.begin()
                settled = self._settle(deliveries, stopping) if deliveries else None
                self._gathering.end(len(deliveries))
                if settled is not None:
                    consumer.settle([delivery.tag for delivery in settled.accepted])
                    for pause, tags in _by_pause(settled.postponed).items():
                        consumer.settle([], tags, pause)
                del deliveries, settled  # Or they would stay in memory beside the next batch.
        finally:
            consumer.stop()

    def _settle(self, deliveries: Sequence[Delivery], stopping: Stopping) -> Settled | None:
        """Handle the deliveries, waiting for the database if need be; None when stopping.

        Meanwhile they stay un-acked: given back, they would be delivered again
        at once, and a broker that counts deliveries would drop them.
        """
        while not stopping.requested:
            try:
                settled = self._handle(deliveries)
            except DatabaseUnavailable as error:
                pause = self._database_backoff.next_pause()
                logger.warning(
                    "the database cannot be used (%s); trying again in %.1f seconds", error, pause
                )
                stopping.wait(pause)
            except TimeUncertain as error:
                queue = self._dead_letter_office.queue
                logger.error("nothing from the queue %s is applied: %s", queue, error)
                stopping.wait(CLOCK_PAUSE_SECONDS)
            else:
                self._database_backoff.reset()
                self._bury_rejected(settled)
                return settled
        return None

    def _bury_rejected(self, settled: Settled) -> None:
        """Publish rejected deliveries as dead letters; only then may they be acked."""
        if not settled.rejected:
            return
        buried, kept = self._dead_letter_office.bury(settled.rejected)
        settled.accepted.extend(buried)
        settled.postponed.extend(kept)


def _by_pause(postponed: Sequence[Delivery]) -> dict[int, list[int]]:
    """Return the deliveries' tags by the seconds for which they are to be held."""
    tags: defaultdict[int, list[int]] = defaultdict(list)
    for delivery in postponed:
        doublings = min(delivery.returns_count, 10)
        pause = min(POSTPONED_SECONDS_MIN * 2**doublings, POSTPONED_SECONDS_MAX)
        tags[pause].append(delivery.tag)
    return tags
