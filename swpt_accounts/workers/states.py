"""One log line when trouble begins and one when it ends, however often it is met in between."""

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from cachetools import TTLCache

REMINDER_SECONDS: Final = 60.0
"""Trouble that lasts is mentioned again after this time, each time."""

BEGINNINGS_MAX: Final = 3
"""Trouble that comes and goes is told so often in `REMINDER_SECONDS`."""

FORGOTTEN_SECONDS: Final = 600.0
"""Trouble that was not met again for so long is over, though nobody has said so."""

_REMEMBERED_MAX: Final = 10_000


class _State:
    """Trouble that lasts."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.met_at = since
        self.text = ""
        self.told_at: float | None = None


class StateReport:
    """Tells of states instead of attempts. Belongs to one thread."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._logger = logger
        self._clock = clock
        self._states: dict[Hashable, _State] = {}
        self._beginnings: TTLCache[Hashable, deque[float]] = TTLCache(
            _REMEMBERED_MAX, REMINDER_SECONDS, clock
        )

    def trouble(self, key: Hashable, text: str, level: int = logging.WARNING) -> None:
        """Say that something is wrong, at each attempt; the log gets what is news.

        `key` tells one state from another, and is not written; of several
        texts for one key, only the newest is, when it is time for a line.
        """
        now = self._clock()
        state = self._states.setdefault(key, _State(now))
        if now - state.met_at > FORGOTTEN_SECONDS:
            state = self._states[key] = _State(now)
        state.met_at = now
        state.text = text
        if state.told_at is None:
            if self._may_tell_beginning(key, now):
                state.told_at = now
                self._logger.log(level, "%s", text)
        elif now - state.told_at >= REMINDER_SECONDS:
            state.told_at = now
            self._logger.log(level, "still, after %.0f seconds: %s", now - state.since, text)

    def well(self, key: Hashable) -> None:
        """Say that nothing is wrong. Costs nothing, so it may be said at each success."""
        state = self._states.pop(key, None)
        if state is not None and state.told_at is not None:
            seconds = self._clock() - state.since
            self._logger.warning("over, after %.1f seconds: %s", seconds, state.text)

    def _may_tell_beginning(self, key: Hashable, now: float) -> bool:
        beginnings = self._beginnings.get(key, deque(maxlen=BEGINNINGS_MAX))
        if len(beginnings) == BEGINNINGS_MAX and now - beginnings[0] < REMINDER_SECONDS:
            return False
        beginnings.append(now)
        self._beginnings[key] = beginnings
        return True
