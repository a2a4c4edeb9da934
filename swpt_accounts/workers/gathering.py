"""A small batch when idle, a large one under load: how long to let work gather before it is begun.

Each batch costs something, however small it is. When messages keep coming
while one is worked on, the next one is therefore not begun at once: as long as
the last one has taken, and no longer than `GATHERING_SECONDS_MAX`. So a
process never spends most of its time on small batches, which would take
the processors away from the servers, on a busy machine exactly when it hurts.
Who comes alone does not wait.
"""

from collections.abc import Callable
from typing import Final

GATHERING_SECONDS_MAX: Final = 0.01
"""Long enough for some company under load, and too short to be noticed."""


class Gathering:
    """Says for how long to wait before the next batch. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began_at = clock()
        self._next_at = self._began_at

    @property
    def seconds_left(self) -> float:
        """For so long, work should be left to gather, unless there is a full batch already."""
        return max(self._next_at - self._clock(), 0.0)

    def begin(self) -> None:
        """Take note that work on a batch begins."""
        self._began_at = self._clock()

    def end(self, count: int) -> None:
        """Take note that the batch, of so many messages, is done."""
        now = self._clock()
        pause = min(now - self._began_at, GATHERING_SECONDS_MAX) if count > 1 else 0.0
        self._next_at = now + pause
