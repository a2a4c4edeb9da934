"""Where deliveries go that can never be applied, each with the reason."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.broker.dead_letters import dead_letter
from swpt_accounts.broker.publisher import Message, Publisher, Verdict

logger = logging.getLogger(__name__)


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
    ) -> None:
        """`make_publisher` returns a publisher that is not started yet."""
        self._make_publisher = make_publisher
        self._clock = clock
        self.queue = queue
        self._publisher: Publisher | None = None

    def bury(
        self, rejected: Sequence[tuple[Delivery, str]]
    ) -> tuple[list[Delivery], list[tuple[Delivery, str]]]:
        """Publish the deliveries with their reasons.

        Returns those that are stored safely, and those that could not be, which
        must not be acked.
        """
        for _delivery, reason in rejected:
            logger.error("a message goes to the dead letters of %s: %s", self.queue, reason)
        now = self._clock()
        letters = [dead_letter(delivery, self.queue, reason, now) for delivery, reason in rejected]
        try:
            outcomes = self._started_publisher().publish(letters)
        except BrokerLost as error:
            logger.error("%d dead letters cannot be published: %s", len(letters), error)
            self.close()
            return [], list(rejected)
        buried: list[Delivery] = []
        kept: list[tuple[Delivery, str]] = []
        failures: Counter[str] = Counter()
        for (delivery, reason), outcome in zip(rejected, outcomes, strict=True):
            if outcome.verdict is Verdict.CONFIRMED:
                buried.append(delivery)
            else:
                kept.append((delivery, reason))
                failures[outcome.reason] += 1
        for text, count in failures.items():
            logger.error("%d dead letters were not taken by the broker: %s", count, text)
        return buried, kept

    def publish(self, letters: Sequence[Message]) -> list[bool]:
        """Publish letters that were made before; tell which of them are stored safely."""
        try:
            outcomes = self._started_publisher().publish(letters)
        except BrokerLost:
            self.close()
            return [False] * len(letters)
        return [outcome.verdict is Verdict.CONFIRMED for outcome in outcomes]

    def close(self) -> None:
        """Close the connection, if there is one."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.stop()

    def _started_publisher(self) -> Publisher:
        if self._publisher is None:
            publisher = self._make_publisher()
            publisher.start()
            self._publisher = publisher
        return self._publisher
