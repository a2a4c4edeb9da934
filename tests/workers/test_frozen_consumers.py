"""A consumer that is frozen in the middle of a batch: the server takes its locks from it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.factories import pending_balance_change
from tests.workers.kill_points import FROZEN
from tests.workers.processes import Workers, environment, workers
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

LOCKED, OTHER = 1001, 1002


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Workers]:
    with workers(tmp_path / "log") as processes:
        yield processes


def test_what_it_has_locked_is_free_again_and_nothing_is_applied_twice(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    shard: psycopg.Connection,
    processes: Workers,
) -> None:
    env = environment(
        postgres_url=postgres_url,
        protocol_broker_url=broker_url,
        protocol_broker_queue=queue,
        protocol_broker_prefetch_count=1,
    )

    def principals() -> dict[int, int]:
        return dict(shard.execute("SELECT creditor_id, principal FROM account").fetchall())

    def credit(creditor_id: int, change_id: int) -> None:
        wire.send(
            pending_balance_change(creditor_id=creditor_id, change_id=change_id, principal_delta=1)
        )

    credit(LOCKED, 1)
    first = processes.start("consume", env=env)
    eventually("there is an account", lambda: principals() == {LOCKED: 1})
    processes.stop(first)

    frozen = processes.start("consume", FROZEN, "1", env=env)
    credit(LOCKED, 2)
    eventually("it has stopped", lambda: is_stopped(frozen))
    credit(LOCKED, 5)
    eventually("its window is full", lambda: wire.ready_count(queue) == 0)
    live = processes.start("consume", env=env)
    eventually("another one consumes", lambda: wire.consumers_count(queue) == 2)
    try:
        credit(LOCKED, 3)
        credit(OTHER, 4)
        eventually("the other account is served", lambda: principals().get(OTHER) == 1)
        eventually("the locked one is served", lambda: principals()[LOCKED] >= 2)
    finally:
        os.kill(frozen, signal.SIGCONT)
    eventually("what it had is applied", lambda: principals() == {LOCKED: 4, OTHER: 1})

    for pid in (frozen, live):
        processes.stop(pid)
    assert principals() == {LOCKED: 4, OTHER: 1}
    assert shard.execute("SELECT FROM waiting_message").fetchall() == []


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
