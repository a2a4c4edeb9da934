"""Where deliveries go that can never be applied, each with the reason."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.broker.dead_letters import dead_letter
from swpt_accounts.broker.publisher import Message, Publisher, Verdict
from swpt_accounts.workers.quiet import Quiet

logger = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 2.0
"""So long a batch waits for its dead letters to be confirmed."""

REST_SECONDS: Final = 30.0
REST_SECONDS_MAX: Final = 600.0
"""So long nothing is tried after that was in vain, twice as long each time: others wait behind the
batch."""

_PAGE_BYTES: Final = 1024 * 1024

Rejected = tuple[Delivery, str]
"""A delivery, and why it can never be applied."""


class DeadLetterOffice:
    """Publishes dead letters to the stream beside the queue, over a connection of its own.

    The broker's own dead-lettering is not relied on: it gives no reason, and
    some versions lose what they dead-letter into a stream.
    """

    def __init__(
        self,
        make_publisher: Callable[[], Publisher],
        clock: Callable[[], datetime],
        *,
        queue: str,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make_publisher` returns a publisher that is not started yet.

        `clock` dates the dead letters; `stopwatch` returns seconds that never go back.
        """
        self._make_publisher = make_publisher
        self._clock = clock
        self.queue = queue
        self._stopwatch = stopwatch
        self._publisher: Publisher | None = None
        self._trouble = ""
        self._rests_until = 0.0
        self._rest_seconds = REST_SECONDS
        self._quiet = Quiet(self._tell_one, self._tell_many, stopwatch)

    def bury(self, rejected: Sequence[Rejected]) -> tuple[list[Delivery], list[Rejected]]:
        """Publish the deliveries with their reasons.

        Returns those that are stored safely, and those that could not be, which
        must not be acked before they are safe elsewhere.
        """
        buried: list[Delivery] = []
        unburied: list[Rejected] = []
        deadline = self._stopwatch() + CONFIRM_SECONDS
        for page in _pages(rejected):
            now = self._clock()
            letters = [dead_letter(delivery, self.queue, reason, now) for delivery, reason in page]
            are_safe = self._publish(letters, deadline - self._stopwatch())
            for (delivery, reason), is_safe in zip(page, are_safe, strict=True):
                self._quiet.tell(reason)
                if is_safe:
                    buried.append(delivery)
                else:
                    unburied.append((delivery, reason))
        return buried, unburied

    def publish(self, letters: Sequence[Message]) -> list[bool]:
        """Publish dead letters that were kept elsewhere; tell which of them are stored safely."""
        return self._publish(letters, CONFIRM_SECONDS)

    def tell_the_rest(self) -> None:
        """Log what has been counted and not told yet: to be called every second or so."""
        self._quiet.tell_the_rest()

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._quiet.close()
        self._disconnect()

    def _publish(self, letters: Sequence[Message], seconds: float) -> list[bool]:
        """Tell which of the letters are stored safely; none while there is no use in trying."""
        if self._stopwatch() < self._rests_until:
            return [False] * len(letters)
        try:
            outcomes = self._started_publisher(seconds).publish(letters, max(0.0, seconds))
        except BrokerLost as error:
            self._rest(str(error))
            self._disconnect()
            return [False] * len(letters)
        failures = Counter(o.reason for o in outcomes if o.verdict is not Verdict.CONFIRMED)
        if failures:
            self._rest(f"not taken by the broker: {failures.most_common(1)[0][0]}")
        elif self._trouble:
            logger.info("dead letters of %s can be stored again", self.queue)
            self._trouble = ""
        if not failures:
            self._rest_seconds = REST_SECONDS
        return [outcome.verdict is Verdict.CONFIRMED for outcome in outcomes]

    def _rest(self, trouble: str) -> None:
        self._rests_until = self._stopwatch() + self._rest_seconds
        self._rest_seconds = min(2 * self._rest_seconds, REST_SECONDS_MAX)
        if trouble != self._trouble:
            self._trouble = trouble
            logger.error(
                "dead letters of %s cannot be stored there, and are parked: %s; trying again later",
                self.queue,
                trouble,
            )

    def _started_publisher(self, seconds: float) -> Publisher:
        if self._publisher is None:
            publisher = self._make_publisher()
            deadline = self._stopwatch() + seconds
            publisher.start(lambda: self._stopwatch() < deadline)
            self._publisher = publisher
        return self._publisher

    def _disconnect(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.stop()

    def _tell_one(self, reason: str) -> None:
        logger.error("a message goes to the dead letters of %s: %s", self.queue, reason)

    def _tell_many(self, count: int, reasons: str) -> None:
        logger.error(
            "%d more messages go to the dead letters of %s: %s", count, self.queue, reasons
        )


def _pages(rejected: Sequence[Rejected]) -> Iterator[Sequence[Rejected]]:
    """Yield parts that take little memory while they are published."""
    first, size = 0, 0
    for at, (delivery, _) in enumerate(rejected):
        size += len(delivery.body) + len(delivery.encoded_properties)
        if size >= _PAGE_BYTES:
            yield rejected[first : at + 1]
            first, size = at + 1, 0
    if first < len(rejected):
        yield rejected[first:]
