"""Messages in memory, and those of them that are held until it is their turn."""

import enum
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.destinations import SHARE_MAX, Destination

SLOW_SECONDS: Final = 2.0
"""So long messages are held for one destination while others may wait behind them."""


class State(enum.Enum):
    """Where a message in memory is."""

    HELD = "held"
    UNDER_WAY = "under way"
    ON_TRIAL = "on trial"
    SENT = "sent"
    GIVEN_UP = "set aside, and perhaps under way all the same"


class Entry(msgspec.Struct, gc=False, eq=False):
    """A message in memory; `since` when it is held or under way, by the monotonic clock."""

    row: OutboxMessage
    destination: Destination
    since: float
    state: State = State.HELD


class Held:
    """Messages that wait for their turn, in their order for each destination."""

    def __init__(self) -> None:
        self._queues: dict[Destination, deque[Entry]] = {}
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Hold a message, after the others of its destination."""
        destination = entry.destination
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = deque()
        queue.append(entry)
        destination.held_count += 1
        self.count += 1

    def take_turn(self, now: float, count_max: int) -> list[Entry]:
        """Return what is to be published now: as much as each destination has room for."""
        turn: list[Entry] = []
        for destination, queue in list(self._queues.items()):
            count = min(destination.room(now), len(queue), count_max - len(turn))
            turn += self._leave(destination, count, queue.popleft)
        return turn

    def take_sick(self) -> list[Entry]:
        """Return all that is held for destinations that take nothing."""
        return self._take_all([d for d in self._queues if d.reason])

    def take_all(self) -> list[Entry]:
        """Return all that is held."""
        return self._take_all(list(self._queues))

    def take_excess(self, now: float) -> dict[Destination, list[Entry]]:
        """Return what has waited for too long, but for as much as its destination may have."""
        excess = {}
        for destination, queue in list(self._queues.items()):
            share = destination.share(now)
            count = len(queue) - share
            if share < SHARE_MAX and count > 0 and queue[0].since < now - SLOW_SECONDS:
                excess[destination] = self._leave(destination, count, queue.pop)
        return excess

    def _take_all(self, destinations: Iterable[Destination]) -> list[Entry]:
        return [
            entry
            for destination in destinations
            for entry in self._leave(
                destination, len(self._queues[destination]), self._queues[destination].popleft
            )
        ]

    def _leave(
        self, destination: Destination, count: int, take: Callable[[], Entry]
    ) -> list[Entry]:
        left = [take() for _ in range(count)]
        destination.held_count -= count
        self.count -= count
        if not self._queues[destination]:
            del self._queues[destination]
        return left
