"""Starts programs that make load, and listens to them: bench/load_program.py is their side of it.

Each has a process of its own, so that its CPU is counted apart from everybody else's.
"""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from bench.machine import Groups
from bench.peers import Failed
from embedded import processes
from steps.environment import ROOT
from steps.interruption import undisturbed

LOAD = "load"
"""The group of such a program, for the CPU meter."""

_STOP_SECONDS = 5.0

Result = TypeVar("Result", bound=msgspec.Struct)


class Load:
    """`python -m MODULE`, which reads an order, says what it is doing, and writes a result.

    A program sees to it by itself that it ends. It runs from `with` on.
    """

    def __init__(self, module: str, order: msgspec.Struct, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._module = module
        self._order = order
        self._log = folder / "load.log"

    def __enter__(self) -> "Load":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(msgspec.json.encode(self._order))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with undisturbed():
            processes.end(self._process, politely=signal.SIGTERM, seconds=_STOP_SECONDS)
            assert self._process.stdout is not None
            self._process.stdout.close()

    @property
    def group(self) -> Groups:
        return {LOAD: [self._process.pid]}

    def wait_for(self, word: str) -> None:
        """Returns when the program says this. Raises Failed if it ends first."""
        line = self._next_line().strip().decode()
        if line != word:
            raise Failed(f"{self._module} was to say {word!r}, but said {line[:200]!r}.")

    def result(self, kind: type[Result]) -> Result:
        """What the program has found, when it is done."""
        return msgspec.json.decode(self._next_line(), type=kind)

    def _next_line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            words = processes.last_words(self._log)
            raise Failed(f"{self._module} ended with code {code}.\n{words}")
        return line
