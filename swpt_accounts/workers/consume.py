"""Take batches from a queue for as long as the process lives, whatever becomes of the servers."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Consumer, Delivery
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import DatabaseUnavailable, StoreDefect
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
from swpt_accounts.workers.gathering import Gathering
from swpt_accounts.workers.settled import Settled
from swpt_accounts.workers.states import StateReport
from swpt_accounts.workers.stopping import Stopping

logger = logging.getLogger(__name__)

WAIT_SECONDS: Final = 0.5
"""How long a request to stop can go unnoticed while no messages arrive."""

HOLD_SECONDS_MAX: Final = 1200.0
"""So long messages are kept un-acked while the database is away. After half an hour the broker
itself would take them back, and close the channel."""

CLOCK_PAUSE_SECONDS: Final = 10.0
"""How long to wait before looking again at a clock that is wrong."""

DEFECT_REMINDER_SECONDS: Final = 60.0

_UNUSABLE: Final = "unusable"


class Intake(Protocol):
    """What becomes of the deliveries."""

    @property
    def is_due(self) -> bool:
        """Tell whether there may be something to do even without deliveries."""

    def handle(self, deliveries: Sequence[Delivery], settled: Settled | None = None) -> Settled:
        """See to the deliveries; may be called again with the same `settled` after an error."""

    def require_usable(self) -> None:
        """Raise `DatabaseUnavailable` or `TimeUncertain` unless `handle` can do its work."""

    def keep(self, unburied: Sequence[tuple[Delivery, str]]) -> None:
        """Take over what the stream of dead letters would not take."""

    def rest(self) -> None:
        """Let go of the database."""


class _GivenBack(Exception):
    """The database was away for too long: what was kept un-acked is the broker's again."""


class Consumption:
    """Connects, takes, handles, settles; pauses and comes back when a server is lost.

    Brokers count how often they deliver a message, and end by dropping it. So
    nothing is subscribed to before the database has answered, and while it is
    away, no more is taken, and what is here is kept.
    """

    def __init__(
        self,
        make_consumer: Callable[[], Consumer],
        intake: Intake,
        dead_letter_office: DeadLetterOffice,
        *,
        batch_size_max: int,
    ) -> None:
        """`make_consumer` returns a consumer that is not started yet."""
        self._make_consumer = make_consumer
        self._intake = intake
        self._dead_letter_office = dead_letter_office
        self._batch_size_max = batch_size_max
        self._gathering = Gathering(time.monotonic)
        self._broker_backoff = Backoff()
        self._database_backoff = Backoff()
        self._report = StateReport(logger)
        self._is_paused = False
        self._give_back_at: float | None = None

    def run(self, stopping: Stopping) -> None:
        """Consume until stopping is requested."""
        try:
            while not stopping.requested:
                try:
                    if self._await_usable(stopping):
                        self._consume(stopping)
                except BrokerLost as error:
                    self._intake.rest()
                    self._report.trouble("broker", f"{error}; trying again until it is back")
                    stopping.wait(self._broker_backoff.next_pause())
                except _GivenBack:
                    logger.warning(
                        "the database was away for %g minutes: what was kept of the queue %s goes"
                        " back to it",
                        HOLD_SECONDS_MAX / 60,
                        self._queue,
                    )
                except StoreDefect as defect:
                    self._stand_still(defect, stopping)
        finally:
            self._dead_letter_office.close()

    @property
    def _queue(self) -> str:
        return self._dead_letter_office.queue

    def _await_usable(self, stopping: Stopping) -> bool:
        """Wait until the database can be used; False when stopping."""
        while not stopping.requested:
            try:
                self._intake.require_usable()
            except (DatabaseUnavailable, TimeUncertain) as trouble:
                self._pause(trouble, stopping)
            else:
                self._note_usable()
                return True
        return False

    def _consume(self, stopping: Stopping) -> None:
        consumer = self._make_consumer()
        self._is_paused = False
        self._give_back_at = None
        try:
            consumer.start(lambda: not stopping.requested)
            self._report.well("broker")
            logger.info("consuming messages from the queue %s", self._queue)
            self._broker_backoff.reset()
            while not stopping.requested:
                deliveries = consumer.take(
                    self._batch_size_max,
                    0.0 if self._intake.is_due else WAIT_SECONDS,
                    self._gathering.seconds_left,
                )
                self._dead_letter_office.tell_the_rest()
                if not deliveries and not self._intake.is_due:
                    continue
                self._gathering.begin()
                settled = self._settle(deliveries, consumer, stopping)
                self._gathering.end(len(deliveries))
                consumer.settle(settled.take_accepted())
                if len(deliveries) < self._batch_size_max and not self._is_paused:
                    # Nothing is left here of what was kept while the database was away.
                    self._give_back_at = None
                del deliveries, settled  # Or they would stay in memory beside the next batch.
        finally:
            consumer.stop()

    def _settle(
        self, deliveries: Sequence[Delivery], consumer: Consumer, stopping: Stopping
    ) -> Settled:
        """Handle the deliveries, waiting for the database if need be.

        When stopping, those that are not settled go back to the queue.
        """
        settled = Settled()
        # What is acked too late may be applied twice, if this process dies meanwhile.
        settled.on_committed = lambda: consumer.settle(settled.take_accepted())
        while not stopping.requested:
            try:
                self._intake.handle(deliveries, settled)
                self._bury_rejected(settled)
            except (DatabaseUnavailable, TimeUncertain) as trouble:
                if not self._is_paused:
                    self._is_paused = True
                    consumer.pause()
                if self._give_back_at is None:
                    self._give_back_at = time.monotonic() + HOLD_SECONDS_MAX
                # Raises `BrokerLost` when there is nothing left to wait for.
                consumer.settle(settled.take_accepted())
                if time.monotonic() >= self._give_back_at:
                    raise _GivenBack from trouble
                self._pause(trouble, stopping)
            except StoreDefect:
                consumer.settle(settled.take_accepted())
                raise
            else:
                self._note_usable()
                if self._is_paused:
                    self._is_paused = False
                    consumer.resume()
                break
        return settled

    def _bury_rejected(self, settled: Settled) -> None:
        """Publish rejected deliveries as dead letters; only then may they be acked."""
        if not settled.rejected:
            return
        buried, unburied = self._dead_letter_office.bury(settled.rejected)
        settled.rejected = unburied
        settled.accepted.extend(buried)
        if unburied:
            self._intake.keep(unburied)
            settled.accepted.extend(delivery for delivery, _ in unburied)
            settled.rejected = []

    def _pause(self, trouble: DatabaseUnavailable | TimeUncertain, stopping: Stopping) -> None:
        if isinstance(trouble, TimeUncertain):
            self._report.trouble(
                _UNUSABLE,
                f"nothing from the queue {self._queue} is applied: {trouble}",
                logging.ERROR,
            )
            stopping.wait(CLOCK_PAUSE_SECONDS)
        else:
            self._report.trouble(
                _UNUSABLE,
                f"the database cannot be used ({trouble}); nothing is taken from the queue"
                f" {self._queue} until it can",
            )
            stopping.wait(self._database_backoff.next_pause())

    def _note_usable(self) -> None:
        self._report.well(_UNUSABLE)
        self._database_backoff.reset()

    def _stand_still(self, defect: StoreDefect, stopping: Stopping) -> None:
        """Take nothing more, and say so: to try again would do no good, and use up deliveries."""
        self._intake.rest()
        while not stopping.requested:
            logger.critical(
                "a defect of this program, so nothing more is taken from the queue %s, and all of"
                " it stays there: %s. Starting again tries again; please report it",
                self._queue,
                defect,
            )
            stopping.wait(DEFECT_REMINDER_SECONDS)
