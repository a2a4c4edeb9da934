"""A request to stop, made by a signal and noticed at the next convenient moment."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopping:
    """Set once, never cleared.

    A signal handler runs in the middle of whatever its thread is doing, so it
    must not take a lock, which the thread may hold. Hence a pipe, and not an
    event: whoever waits looks whether there is something to be read.
    """

    def __init__(self) -> None:
        self._requested = False
        self._read_end, self._write_end = os.pipe()

    def __del__(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)

    @property
    def requested(self) -> bool:
        """Tell whether it is time to stop."""
        return self._requested

    def request(self) -> None:
        """Ask whoever looks at this to stop. May be called from signal handlers and threads."""
        if not self._requested:
            self._requested = True
            os.write(self._write_end, b"\0")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until stopping is requested, at most so long; tell whether it is."""
        select.select([self._read_end], [], [], seconds)
        return self._requested


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
