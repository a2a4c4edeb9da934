"""Several processes for one command: they begin together, and they end together."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workers.processes import environment, process
from tests.workers.waiting import SECONDS, eventually

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@contextmanager
def command(count: int, what: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a command; give it and its workers, once all of them are at work."""
    words = [sys.executable, "-m", "tests.workers.family", str(count), what]
    with process(*words, env=environment()) as parent:
        assert parent.stdout is not None
        yield parent, [int(parent.stdout.readline()) for _ in range(count)]


def await_the_end_of_all(parent: subprocess.Popen[str]) -> str:
    """Wait until nobody can write to stdout any more; return what was written until then."""
    assert parent.stdout is not None
    said = parent.stdout.read()
    parent.wait(SECONDS)
    return said


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("number", SIGNALS)
def test_all_workers_end_when_the_command_is_told_to(count: int, number: signal.Signals) -> None:
    with command(count, "wait") as (parent, workers):
        assert len(set(workers)) == count
        parent.send_signal(number)
        await_the_end_of_all(parent)
    assert parent.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_one_worker_is_killed_the_others_end_too_and_the_command_fails(
    number: signal.Signals,
) -> None:
    with command(3, "wait") as (parent, workers):
        os.kill(workers[1], number)
        said = await_the_end_of_all(parent)
    assert parent.returncode == 1
    assert f"worker process {workers[1]} has ended" in said


@pytest.mark.parametrize("count", [1, 3])
def test_when_a_worker_fails_the_command_fails_and_says_why(count: int) -> None:
    with command(count, "fail") as (parent, _):
        assert parent.stdin is not None
        parent.stdin.write("\n")
        parent.stdin.flush()
        said = await_the_end_of_all(parent)
    assert parent.returncode == 1
    assert "RuntimeError: a defect" in said


@pytest.mark.parametrize("count", [1, 3])
def test_when_a_worker_ends_by_itself_the_command_ends(count: int) -> None:
    with command(count, "end") as (parent, _):
        assert parent.stdin is not None
        parent.stdin.write("\n")
        parent.stdin.flush()
        await_the_end_of_all(parent)
    assert parent.returncode == 1


def test_workers_whose_parent_was_killed_end() -> None:
    with command(3, "wait") as (parent, _):
        parent.kill()
        said = await_the_end_of_all(parent)
    assert said.count("the parent process is gone") == 3


def test_a_worker_that_does_not_listen_is_killed() -> None:
    with command(3, "stick") as (parent, workers):
        parent.terminate()
        said = await_the_end_of_all(parent)
    assert parent.returncode == 0
    assert sum(f"worker process {worker} has not ended" in said for worker in workers) == 1


def test_a_single_process_that_does_not_listen_ends_all_the_same_and_tells_where_it_was() -> None:
    with command(1, "stick") as (parent, _):
        parent.terminate()
        said = await_the_end_of_all(parent)
    assert parent.returncode == 1
    assert "Timeout (0:00:01)!" in said
    assert "family.py" in said


@pytest.mark.parametrize("event", ["the command is told to end", "another worker dies"])
def test_a_worker_that_is_frozen_is_killed(event: str) -> None:
    with command(3, "stick") as (parent, workers):
        os.kill(workers[0], signal.SIGSTOP)
        os.kill(
            *(parent.pid, signal.SIGTERM) if "command" in event else (workers[1], signal.SIGKILL)
        )
        said = await_the_end_of_all(parent)
    assert f"worker process {workers[0]} has not ended within" in said


def test_a_stuck_worker_whose_parent_was_killed_ends() -> None:
    with command(3, "stick") as (parent, _):
        parent.kill()
        said = await_the_end_of_all(parent)
    assert said.count("is cut off") == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_without_workers_idles_until_it_is_told_to_end(number: signal.Signals) -> None:
    with command(0, "wait") as (parent, _):

        def is_ready() -> bool:
            status = Path(f"/proc/{parent.pid}/status").read_text()
            [caught] = [line.split()[1] for line in status.splitlines() if "SigCgt" in line]
            return all(int(caught, 16) >> (number - 1) & 1 for number in SIGNALS)

        eventually("it handles signals", is_ready)
        parent.send_signal(number)
        await_the_end_of_all(parent)
    assert parent.returncode == 0
