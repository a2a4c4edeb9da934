"""Flushers as processes: one that is frozen, and one that has much to carry."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from swpt_accounts.ledger import events
from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.store import outbox
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import utc_now
from tests.factories import event
from tests.workers.processes import Workers, environment, workers
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

MEMORY_MAX = 150 * 1024 * 1024
HELD_LANES = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 0x53575001 AND pid = %s
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Workers]:
    with workers(tmp_path / "log") as processes:
        yield processes


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, application_name="tests: announce")
    yield database
    database.close()


def announce(database: Database, first: int, count: int, note: str = "") -> None:
    announced = [
        event(events.AccountTransfer, creditor_id=n % 31 + 1, transfer_number=n, transfer_note=note)
        for n in range(first, first + count)
    ]
    with database.transaction() as transaction:
        outbox.append(transaction, map(encode, announced), utc_now())
    outbox.wake_flushers(database)


def rows_count(shard: psycopg.Connection) -> int:
    row = shard.execute("SELECT count(*) FROM outbox").fetchone()
    assert row is not None
    return int(row[0])


def lanes_of_flushers(shard: psycopg.Connection) -> list[int]:
    """How many lanes each flusher's session has."""
    sessions = shard.execute(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'flush'"
    ).fetchall()
    counts = [shard.execute(HELD_LANES, session).fetchone() for session in sessions]
    return sorted(count[0] for count in counts if count is not None)


def test_a_frozen_flusher_loses_its_lanes_to_the_others(
    postgres_url: str,
    broker_url: str,
    queue: str,
    shard: psycopg.Connection,
    wire: Wire,
    processes: Workers,
    database: Database,
) -> None:
    wire.collect_all()
    env = environment(postgres_url=postgres_url, protocol_broker_url=broker_url, flush_processes=1)
    pids = [processes.start("flush", env=env) for _ in range(2)]
    eventually("they share the lanes", lambda: lanes_of_flushers(shard) == [32, 32])
    os.kill(pids[0], signal.SIGSTOP)
    try:
        announce(database, 0, 500)
        wire.receive("all messages", lambda received: len(received) >= 500)
        eventually("one has all lanes", lambda: lanes_of_flushers(shard) == [64])
        eventually("nothing is left", lambda: rows_count(shard) == 0)
    finally:
        os.kill(pids[0], signal.SIGCONT)
    eventually("they share the lanes again", lambda: lanes_of_flushers(shard) == [32, 32])
    announce(database, 500, 500)
    wire.receive("all messages", lambda received: len(received) >= 1000)
    eventually("it says so", lambda: "flushing goes on" in processes.log.read_text())
    for pid in pids:
        processes.stop(pid)
    counts = Counter(r.document["transfer_number"] for r in wire.catch_up())
    assert set(counts) == set(range(1000))
    assert max(counts.values()) <= 2
    log = processes.log.read_text()
    assert log.count("flushing is interrupted") == log.count("flushing goes on") == 1


@pytest.mark.parametrize(("count", "size"), [(60, 8_000_000), (30_000, 3_000)])
def test_a_flusher_stays_small_whatever_is_in_the_outbox(
    postgres_url: str,
    broker_url: str,
    queue: str,
    shard: psycopg.Connection,
    wire: Wire,
    processes: Workers,
    count: int,
    size: int,
) -> None:
    """The bodies come to 480 and 90 MB."""
    wire.collect("to_creditors")
    [message] = [encode(event(events.AccountTransfer, transfer_number=1))]
    shard.execute(
        "INSERT INTO outbox (lane, exchange, routing_key, mandatory, message_type, debtor_id,"
        " creditor_id, origin_creditor_id, body, inserted_at)"
        " SELECT %s, 'to_creditors', '00.00.02', true, 'AccountTransfer', 1, 2, 2,"
        " convert_to(repeat('x', %s), 'UTF8'), now() FROM generate_series(1, %s)",
        [message.lane, size, count],
    )
    env = environment(postgres_url=postgres_url, protocol_broker_url=broker_url, flush_processes=1)
    pid = processes.start("flush", env=env)
    eventually("all is sent", lambda: rows_count(shard) == 0)
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) * 1024 < MEMORY_MAX
    processes.stop(pid)
