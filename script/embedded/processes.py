"""Starting, watching and ending the processes of a private server.

Each of them carries the folder that it belongs to in its environment, or has it as its working
directory. What a run that was killed has left behind can therefore be told from everybody else's
processes, without trusting a process id written to a file.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MARK = "EMBEDDED_SERVER_FOLDER"
_POLL_SECONDS = 0.02
_KILL_WAIT_SECONDS = 20.0


class ServerFailed(Exception):
    """A private server could not be started or stopped. The text ends with what its log says."""


def launch(
    command: Sequence[str | Path],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    run_as: Mapping[str, Any] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a server in the folder and in a session of its own, where Ctrl-C does not reach it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**environment, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(run_as or {}),
        )


def wait_until(
    condition: Callable[[], bool],
    *,
    process: subprocess.Popen[bytes],
    what: str,
    seconds: float,
    log: Path,
) -> None:
    """Waits for a sign of life of a server that was started.

    Raises ServerFailed when the process has ended first, or when the time is up.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise ServerFailed(f"{what} ended with code {process.returncode}.\n{last_words(log)}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"{what} was not ready in {seconds:g} seconds.\n{last_words(log)}")
        time.sleep(_POLL_SECONDS)


def end(process: subprocess.Popen[bytes], *, politely: signal.Signals, seconds: float) -> None:
    """Asks the process to end; kills its whole session if it has not done so in time."""
    if process.poll() is None:
        process.send_signal(politely)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill_session(process)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process and to all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_KILL_WAIT_SECONDS)


def end_left_over(folder: Path, *, politely: signal.Signals, seconds: float) -> None:
    """Ends what still runs for the folder, after a run that could not stop what it had started."""
    deadline = time.monotonic() + seconds
    _signal_all(left_over(folder), politely)
    while pids := left_over(folder):
        if time.monotonic() > deadline:
            _signal_all(pids, signal.SIGKILL)
        if time.monotonic() > deadline + _KILL_WAIT_SECONDS:
            raise ServerFailed(f"Processes {pids} still use {folder}, and cannot be killed.")
        time.sleep(_POLL_SECONDS)


def left_over(folder: Path) -> list[int]:
    """The processes that belong to the folder, this one excepted, oldest first."""
    mark = f"{MARK}={folder}".encode()
    return sorted(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and int(entry.name) != os.getpid()
        and (mark in _environment(entry) or _is_postgres_in(entry, folder))
    )


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # Gone meanwhile, or somebody else's.
        return []


def _is_postgres_in(entry: Path, folder: Path) -> bool:
    """PostgreSQL writes its state over its environment, but works in its data directory."""
    try:
        if (entry / "comm").read_text().strip() != "postgres":
            return False
        return folder in (entry / "cwd").readlink().parents
    except OSError:
        return False


def _signal_all(pids: Sequence[int], signum: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def last_words(log: Path, *, count: int = 25) -> str:
    """The end of a log file, indented, under its name."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return "\n".join([f"The last lines of {log}:", *(f"    {line}" for line in lines)])
