"""Programs that a test starts as a person would, and whose output it reads while they run."""

import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 60.0

# Nothing listens there: what a test starts this way must not need a server.
ENVIRONMENT = {
    "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
    "POSTGRES_URL": "postgresql+psycopg://nobody:s3cret@127.0.0.1:1/nothing?connect_timeout=1",
    "PROTOCOL_BROKER_URL": "amqp://nobody:s3cret@127.0.0.1:1",
    "CHORES_BROKER_URL": "amqp://nobody:s3cret@127.0.0.1:1",
    "APP_LOG_LEVEL": "info",
    "APP_LOG_FORMAT": "json",
}


def run(
    *command: str | Path, timeout: float = DEADLINE_SECONDS, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the entry point to its end."""
    return subprocess.run(
        [ENTRYPOINT, *command],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class Program:
    """A running program; leaving the `with` block kills it, and what it has started."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        stdout: int | IO[bytes] = subprocess.PIPE,
        **options: Any,
    ) -> None:
        self.process = subprocess.Popen(
            command,
            env=ENVIRONMENT | environment,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        self.lines: list[str] = []
        self._reader: threading.Thread | None = None
        self._unread: queue.Queue[str | None] = queue.Queue()
        if self.process.stdout is not None:
            self.read(self.process.stdout)

    def read(self, stream: IO[bytes]) -> None:
        """Take the program's output from here."""
        self._reader = threading.Thread(target=self._read, args=(stream,))
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._unread.put(line.decode().rstrip("\n"))
        self._unread.put(None)

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in [*descendants_of(self.process.pid), self.process.pid]:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self._join_reader()

    def _join_reader(self) -> None:
        if self._reader is not None:
            self._reader.join(DEADLINE_SECONDS)

    def wait_for_line(self, *texts: str, count: int = 1) -> str:
        """Return the next line that has one of the texts in it; with a count, the last of many."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                line = self._unread.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                line = None
            assert line is not None, f"never said: {texts}\n" + "\n".join(self.lines)
            self.lines.append(line)
            count -= any(text in line for text in texts)
            if count == 0:
                return line

    def wait(self) -> int:
        """Return the exit code, when everything it has said has been read."""
        code = self.process.wait(DEADLINE_SECONDS)
        self._join_reader()
        while not self._unread.empty():
            line = self._unread.get()
            self.lines += [] if line is None else [line]
        return code


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]


def descendants_of(pid: int) -> list[int]:
    """Return the ids of a process's children, their children, and so on."""
    children = children_of(pid)
    return [*children, *(one for child in children for one in descendants_of(child))]


def wait_for_end(pids: Sequence[int]) -> None:
    """Wait until processes that are not our own children have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            readable, _, _ = select.select([descriptor], [], [], DEADLINE_SECONDS)
        finally:
            os.close(descriptor)
        assert readable, f"process {pid} is still running"


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
