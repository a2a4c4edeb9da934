"""A request to stop, made by a signal and noticed at the next convenient moment."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopping:
    """Set once, never cleared."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        """Tell whether it is time to stop."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask whoever looks at this to stop."""
        self._event.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until stopping is requested, at most so long; tell whether it is."""
        return self._event.wait(seconds)


@contextmanager
def on_signals(stopping: Stopping) -> Iterator[Stopping]:
    """Turn SIGTERM, SIGINT and SIGHUP into a request to stop, while the block runs.

    Signal handlers belong to the process, so they are put back afterwards, and
    only the main thread may install them.
    """

    def handle(_signal_number: int, _frame: FrameType | None) -> None:
        stopping.request()

    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
