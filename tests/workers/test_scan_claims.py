"""A scan keeps its claim for as long as it is alive, and loses it when it is frozen."""

import os
import signal
from pathlib import Path

import psycopg
import pytest

from swpt_accounts.workers import chore_sender, scanner
from tests.factories import every_chore
from tests.workers.cable import cable
from tests.workers.processes import environment, workers
from tests.workers.running import running
from tests.workers.scanning import Steps, make_scanner, scan_sessions
from tests.workers.waiting import SECONDS, eventually

_IDLE_SECONDS = 0.5
_ENOUGH_SECONDS = 4 * _IDLE_SECONDS


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    options = f"{scanner._SESSION_OPTIONS} -c idle_session_timeout={_IDLE_SECONDS}s"
    monkeypatch.setattr(scanner, "_SESSION_OPTIONS", options)
    monkeypatch.setattr(scanner, "TOUCH_SECONDS", _IDLE_SECONDS / 5)
    monkeypatch.setattr(chore_sender, "WORD_SECONDS", _IDLE_SECONDS / 5)


def await_age(shard: psycopg.Connection) -> None:
    """Wait until the session that holds the claim is much older than it may be silent."""

    def is_old() -> bool:
        row = shard.execute(
            "SELECT max(extract(epoch FROM clock_timestamp() - backend_start))"
            " FROM pg_stat_activity WHERE pid = ANY(%s)",
            [scan_sessions(shard)],
        ).fetchone()
        return row is not None and (row[0] or 0) > _ENOUGH_SECONDS

    eventually("the session has grown old", is_old)


@pytest.mark.usefixtures("_short_patience")
def test_a_scan_keeps_its_claim_through_a_long_pause(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = Steps(pause=10 * SECONDS)
    with running(make_scanner(postgres_url, broker_url, chores_queue, steps)):
        await_age(shard)
    assert steps.count == steps.begun_count == 1
    assert caplog.messages == []


@pytest.mark.usefixtures("_short_patience")
def test_a_scan_keeps_its_claim_while_there_are_too_many_chores(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chore_sender, "WAITING_MAX", 5)
    monkeypatch.setattr(chore_sender, "_SENT_BETWEEN_LOOKS", 1)
    monkeypatch.setattr(scanner, "CONGESTION_SECONDS", 10 * SECONDS)
    steps = Steps(chores=every_chore)
    with running(make_scanner(postgres_url, broker_url, chores_queue, steps)):
        await_age(shard)
    assert steps.count == steps.begun_count == 1
    [word] = caplog.messages
    assert word.startswith("scan_accounts waits: there are ")


@pytest.mark.usefixtures("_short_patience")
def test_a_scan_keeps_its_claim_while_the_broker_is_slow(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = Steps(chores=every_chore)
    with (
        cable(broker_url) as (to_broker, url),
        running(make_scanner(postgres_url, url, chores_queue, steps)),
    ):
        eventually("it has begun", lambda: steps.count)
        with to_broker.held():
            await_age(shard)
            count = steps.count
        eventually("it goes on", lambda: steps.count > count + 1)
    assert steps.begun_count == 1
    assert caplog.messages == []


def test_a_scan_gives_up_when_the_broker_is_too_slow(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chore_sender, "CONFIRM_SECONDS", 0.1)
    monkeypatch.setattr(chore_sender, "WORD_SECONDS", 0.01)
    steps = Steps(chores=every_chore)
    with (
        cable(broker_url) as (to_broker, url),
        running(make_scanner(postgres_url, url, chores_queue, steps)),
    ):
        eventually("it has begun", lambda: steps.count)
        with to_broker.held():
            eventually("others may run it", lambda: not scan_sessions(shard))
        eventually("it goes on", lambda: steps.begun_count > 1)
    assert any("has not confirmed all of " in message for message in caplog.messages)


def test_a_frozen_scan_loses_its_claim_and_claims_again_when_it_thaws(
    tmp_path: Path,
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
) -> None:
    env = environment(
        postgres_url=postgres_url, chores_broker_url=broker_url, chores_broker_queue=chores_queue
    )
    log = tmp_path / "log"
    log.touch()
    steps = Steps()
    second = make_scanner(postgres_url, broker_url, chores_queue, steps)
    with workers(log) as processes:
        first = processes.start("scan_accounts", env=env)
        eventually("it works", lambda: "scan_accounts begins" in log.read_text())
        os.kill(first, signal.SIGSTOP)
        with running(second):
            eventually("another one has taken over", lambda: steps.count)
            os.kill(first, signal.SIGCONT)
            eventually("it waits", lambda: "scan_accounts waits: it is run" in log.read_text())
        eventually("it works", lambda: log.read_text().count("scan_accounts begins") == 2)
        processes.stop(first)
    interruptions = [line for line in log.read_text().splitlines() if "is interrupted (" in line]
    assert len(interruptions) == 2
    assert "over, after " in interruptions[1]
