"""Sends chores to their queue, and knows when to send no more of them."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.broker.publisher import Message, Outcome, Publisher, Verdict
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.protocol.chores import encode_chore
from swpt_accounts.protocol.decoding import CONTENT_TYPE
from swpt_accounts.protocol.outgoing import APP_ID

WAITING_MAX: Final = 10_000
"""With so many chores in the queue, a scan waits for them to be done."""

CONFIRM_SECONDS: Final = 10.0
"""So long the broker may take to confirm what was sent together, and a scan to be stopped."""

WORD_SECONDS: Final = 2.0
"""So often whoever sends says a word while it waits for the broker."""

_SENT_BETWEEN_LOOKS: Final = 1_000

_DEFAULT_EXCHANGE: Final = ""


class ChoreSender:
    """Sends chores of one shard, over a publisher that has been started."""

    def __init__(
        self,
        publisher: Publisher,
        queue: str,
        while_waiting: Callable[[], object] = lambda: None,
    ) -> None:
        """`while_waiting` is called every two seconds for as long as the broker is slow."""
        self._publisher = publisher
        self._queue = queue
        self._while_waiting = while_waiting
        self._sent_since_look = 0

    def send(self, chores: Sequence[Chore]) -> None:
        """Send the chores; all are in the queue when this returns. Raises `BrokerLost`."""
        if not chores:
            return
        for outcome in self._publish([self._message(chore) for chore in chores]):
            if outcome.verdict is not Verdict.CONFIRMED:
                raise BrokerLost(
                    f"the queue {self._queue!r} takes no chores: {outcome.reason}."
                    " `swpt_accounts configure` declares it"
                )
        self._sent_since_look += len(chores)

    def _publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """Return what became of the messages, in any order."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        outcomes = self._publisher.outcomes()
        told: list[Outcome] = []
        self._publisher.begin(messages, range(len(messages)), outcomes)
        while len(told) < len(messages):
            settled = outcomes.take(WORD_SECONDS)
            told += [posted.outcome for posted in settled]
            if time.monotonic() >= deadline:
                raise BrokerLost(
                    f"the queue {self._queue!r} has not confirmed all of {len(messages)} chores"
                    f" within {CONFIRM_SECONDS:g} seconds"
                )
            if not settled:
                self._while_waiting()
        return told

    @property
    def is_congested(self) -> bool:
        """Tell whether so many chores wait that it makes no sense to send more. Looks seldom."""
        if self._sent_since_look < _SENT_BETWEEN_LOOKS:
            return False
        return self.waiting_count() > WAITING_MAX

    def waiting_count(self) -> int:
        """Return how many chores wait in the queue. Raises `BrokerLost`."""
        count = self._publisher.messages_count(self._queue)
        if count <= WAITING_MAX:
            self._sent_since_look = 0
        return count

    def _message(self, chore: Chore) -> Message:
        return Message(
            exchange=_DEFAULT_EXCHANGE,
            routing_key=self._queue,
            body=encode_chore(chore),
            properties=encode_properties(CONTENT_TYPE, type(chore).__name__, APP_ID, {}),
            mandatory=True,
        )
