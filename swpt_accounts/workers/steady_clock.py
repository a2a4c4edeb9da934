"""A clock that is not believed at once when it jumps."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from swpt_accounts.store.clock import TimeUncertain

JUMP_MAX: Final = timedelta(minutes=1)
"""Clocks are corrected all the time, but by less than this."""

DISBELIEF: Final = timedelta(hours=1)
"""A clock that has jumped is believed after this time, in which a person can look at it."""

_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def time_since_boot() -> timedelta:
    """Return the time that has really passed, by a clock that cannot be set."""
    return timedelta(seconds=time.clock_gettime(_SINCE_BOOT))


class SteadyClock:
    """Compares a clock with the time that has really passed.

    A database on the same machine has the same clock, so that their agreement
    says nothing when that clock is set to another day.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        since_boot: Callable[[], timedelta] = time_since_boot,
    ) -> None:
        self._clock = clock
        self._since_boot = since_boot
        self._believed = clock() - since_boot()
        self._doubted = self._believed
        self._doubted_since = since_boot()

    def __call__(self) -> datetime:
        """Return what time it is; raise `TimeUncertain` when the clock has jumped lately."""
        passed = self._since_boot()
        now = self._clock()
        boot = now - passed
        jump = boot - self._believed
        if abs(jump) <= JUMP_MAX:
            self._believed = self._doubted = boot
            return now
        if abs(boot - self._doubted) > JUMP_MAX:
            self._doubted = boot
            self._doubted_since = passed
        disbelief_left = DISBELIEF - (passed - self._doubted_since)
        if disbelief_left > timedelta(0):
            direction = "forward" if jump > timedelta(0) else "back"
            raise TimeUncertain(
                f"this machine's clock has jumped {direction} by {abs(jump)}, to {now.isoformat()}."
                f" If that is wrong, set it right within {disbelief_left}; if it is right, there is"
                " nothing to do, or to be quicker, start this program again"
            )
        self._believed = boot
        return now
