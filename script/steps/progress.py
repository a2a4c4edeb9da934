"""Says what is being done and how long it takes: nothing is silent for more than a second or two.

Standard library only: it already speaks before anything is installed.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_TICK_SECONDS = 1.0
_PLAIN_TICKS_PER_LINE = 2  # Without a terminal each sign of life takes a line: half as many.
_LINE_WIDTH_MAX = 110


class Step:
    """One piece of work under way. `say` replaces the words that describe what it is doing now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.result = ""
        self.started_at = time.monotonic()

    def say(self, detail: str) -> None:
        self.detail = " ".join(detail.split())

    def done(self, result: str) -> None:
        """The line to leave behind, instead of the title, when the step ends well."""
        self.result = result

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started_at


class Progress:
    """Shows the steps under way: a terminal gets one line that changes in place, a file lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._in_place = self._stream.isatty()
        self._lock = threading.RLock()
        self._steps: list[Step] = []
        self._ticker: threading.Thread | None = None
        self._idle = threading.Event()

    def line(self, text: str = "") -> None:
        """Prints a line that stays."""
        with self._lock:
            self._erase()
            self._stream.write(text + "\n")
            self._stream.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        self._begin(step)
        try:
            yield step
        except BaseException:
            self._end(step, f"  ✗ {title}")
            raise
        self._end(step, f"  ✓ {step.result or title}")

    def _begin(self, step: Step) -> None:
        with self._lock:
            self._steps.append(step)
            if not self._in_place:
                self.line(f"  · {step.title} …")
            if self._ticker is None:
                self._idle = threading.Event()
                self._ticker = threading.Thread(
                    target=self._tick, args=(self._idle,), name="progress", daemon=True
                )
                self._ticker.start()
            self._draw()

    def _end(self, step: Step, text: str) -> None:
        with self._lock:
            self._steps.remove(step)
            if not self._steps:
                self._idle.set()
                self._ticker = None
            took = f"  ({step.seconds:.1f} s)" if step.seconds >= _TICK_SECONDS else ""
            self.line(text + took)
            self._draw()

    def _tick(self, idle: threading.Event) -> None:
        tick = 0
        while not idle.wait(_TICK_SECONDS):
            tick += 1
            with self._lock:
                if idle.is_set():
                    return
                if self._in_place:
                    self._draw()
                elif tick % _PLAIN_TICKS_PER_LINE == 0:
                    self.line(f"    … {self._status()}")

    def _status(self) -> str:
        return " · ".join(
            f"{step.title}{': ' + step.detail if step.detail else ''} {step.seconds:.0f} s"
            for step in self._steps
        )

    def _draw(self) -> None:
        if self._in_place and self._steps:
            self._stream.write(f"\r\x1b[K  ⋯ {self._status()[:_LINE_WIDTH_MAX]}")
            self._stream.flush()

    def _erase(self) -> None:
        if self._in_place:
            self._stream.write("\r\x1b[K")
