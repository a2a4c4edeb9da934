"""A request to stop, made by a signal and noticed at the next convenient moment."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopping:
    """Set once, never cleared.

    A signal handler runs in the middle of whatever its thread is doing, so it
    must not take a lock, which the thread may hold. And it runs only when the
    thread is between two instructions: a signal that comes just before the
    thread goes to sleep would not be handled until it wakes. Hence a pipe, to
    which the interpreter itself writes when a signal comes (`on_signals`), and
    which ends the sleep.
    """

    def __init__(self) -> None:
        self._requested = False
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)

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
            with suppress(BlockingIOError):  # A full pipe wakes as well.
                os.write(self._write_end, b"\0")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until stopping is requested, at most so long; tell whether it is."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._requested:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._read_end], [], [], left)[0]:
                break
            if not self._requested:  # Another signal has come.
                os.read(self._read_end, 4096)
        return self._requested

    def fileno(self) -> int:
        """Return the end of the pipe that wakes whoever waits, when it is written to."""
        return self._write_end


@contextmanager
def on_signals(
    stopping: Stopping, when_requested: Callable[[], object] = lambda: None
) -> Iterator[Stopping]:
    """Turn SIGTERM, SIGINT and SIGHUP into a request to stop, while the block runs.

    The first one is also told to `when_requested`, which must not take a lock.

    Signal handlers belong to the process, so they are put back afterwards, and
    only the main thread may install them.
    """

    def handle(_signal_number: int, _frame: FrameType | None) -> None:
        if not stopping.requested:
            when_requested()
        stopping.request()

    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    previous_fileno = signal.set_wakeup_fd(stopping.fileno(), warn_on_full_buffer=False)
    try:
        yield stopping
    finally:
        signal.set_wakeup_fd(previous_fileno)
        for number, handler in previous.items():
            signal.signal(number, handler)
