"""Log lines about many events alike: the first few one by one, then one a second with counts."""

from collections import Counter
from collections.abc import Callable
from typing import Final

FIRST_COUNT: Final = 5
"""So many events of a burst have a line of their own."""

LINE_SECONDS: Final = 1.0
"""So much time lies between two lines about the rest."""

BURST_SECONDS: Final = 10.0
"""After so much time without any event, the next one begins a new burst."""

REASONS_KEPT_MAX: Final = 100
REASONS_SHOWN_MAX: Final = 5

_OTHERS: Final = "other reasons"


class Quiet:
    """Counts events by reason, and says so seldom that a log bears it. No count is lost.

    `tell_one` writes a line for one event, given its reason; `tell_many` a line
    for so many events, given their number and their reasons with counts. `clock`
    returns seconds that never go back. For one thread.
    """

    def __init__(
        self,
        tell_one: Callable[[str], None],
        tell_many: Callable[[int, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._tell_one = tell_one
        self._tell_many = tell_many
        self._clock = clock
        self._told_singly_count = 0
        self._untold: Counter[str] = Counter()
        self._last_event_at = -BURST_SECONDS
        self._last_line_at = 0.0

    def tell(self, reason: str) -> None:
        """Tell about an event, now or with others."""
        now = self._clock()
        if now - self._last_event_at >= BURST_SECONDS:
            self.close()
            self._told_singly_count = 0
        self._last_event_at = now
        if self._told_singly_count < FIRST_COUNT:
            self._told_singly_count += 1
            self._last_line_at = now
            self._tell_one(reason)
            return
        is_kept = reason in self._untold or len(self._untold) < REASONS_KEPT_MAX
        self._untold[reason if is_kept else _OTHERS] += 1
        self._tell_if_due(now)

    def tell_the_rest(self) -> None:
        """Write the line that is due, if any: to be called every second or so."""
        if self._untold:
            self._tell_if_due(self._clock())

    def close(self) -> None:
        """Write at once what has not been told yet."""
        if not self._untold:
            return
        untold, self._untold = self._untold, Counter()
        self._last_line_at = self._clock()
        most = untold.most_common(REASONS_SHOWN_MAX)
        rest_count = untold.total() - sum(count for _, count in most)
        if rest_count:
            most.append((_OTHERS, rest_count))
        reasons = "; ".join(f"{count} × {reason}" for reason, count in most)
        self._tell_many(untold.total(), reasons)

    def _tell_if_due(self, now: float) -> None:
        if now - self._last_line_at >= LINE_SECONDS:
            self.close()
