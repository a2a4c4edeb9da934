"""How long to pause before trying again what a lost server made fail."""

import random
from collections.abc import Callable
from typing import Final

PAUSE_SECONDS_MIN: Final = 0.25
PAUSE_SECONDS_MAX: Final = 2.0
"""Added to an outage at most. An attempt that takes long is a pause of its own."""


class Backoff:
    """Pauses that double, with jitter, so that many processes do not come back as one."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        """`jitter` returns a number from 0 to 1."""
        self._jitter = jitter
        self._pause = PAUSE_SECONDS_MIN

    def next_pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        pause = self._pause * (0.5 + self._jitter() / 2)
        self._pause = min(2 * self._pause, PAUSE_SECONDS_MAX)
        return pause

    def reset(self) -> None:
        """Begin with the shortest pause again, after an attempt that succeeded."""
        self._pause = PAUSE_SECONDS_MIN
