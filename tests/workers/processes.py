"""Processes that never outlive the test that has started them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.workers.waiting import SECONDS

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


def environment(**variables: object) -> dict[str, str]:
    """This process's environment, with these variables in it (named in lower case)."""
    given = {name.upper(): str(value) for name, value in variables.items()}
    path = f"{PROGRAMS}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "APP_LOG_LEVEL": "info", **given}


@contextmanager
def process(*words: str | Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a program whose stdout can be read; at the end, kill it and its descendants."""
    with subprocess.Popen(
        [str(word) for word in words],
        cwd=ROOT,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            for one in family(started.pid):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            started.wait(SECONDS)


def family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, as far as they are alive."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Workers:
    """Consumers, flushers and scans (see `runner.py`), each in a process of its own."""

    def __init__(self, runner: subprocess.Popen[str], log: Path) -> None:
        self._runner = runner
        self.log = log

    def start(self, *words: str, env: Mapping[str, str]) -> int:
        """Start a worker, to die at a kill point if one is named; return its id."""
        return self._ask({"words": words, "env": dict(env), "log": str(self.log)})

    def wait(self, pid: int) -> int:
        """Wait for the end of a worker; return its exit code, which is negative for a signal."""
        return self._ask({"wait": pid})

    def kill(self, pid: int) -> None:
        """Kill a worker that must still be alive."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == -signal.SIGKILL

    def stop(self, pid: int) -> None:
        """End a worker politely; it may not even have begun."""
        os.kill(pid, signal.SIGTERM)
        code = self.wait(pid)
        assert code in (0, -signal.SIGTERM), f"{code}: {self.log.read_text()}"

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        self._runner.stdin.write(json.dumps(order) + "\n")
        self._runner.stdin.flush()
        return int(self._runner.stdout.readline())


@contextmanager
def workers(log: Path) -> Iterator[Workers]:
    """Give what starts workers, whose output goes to the file."""
    with process(sys.executable, "-m", "tests.workers.runner", env=environment()) as runner:
        yield Workers(runner, log)
