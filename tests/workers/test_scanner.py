"""There is one scan of a kind, which comes back whatever becomes of servers and clocks."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta

import psycopg
import pytest

from swpt_accounts.broker import topology
from swpt_accounts.store import scans
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.scans import Progress
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers import backoff, chore_sender, scanner
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.scanner import Scanner
from tests.factories import every_chore
from tests.workers.cable import cable
from tests.workers.conftest import MakeSession
from tests.workers.processes import Workers, environment, workers
from tests.workers.running import running
from tests.workers.scanning import NAME, Steps, make_scanner, scan_sessions
from tests.workers.waiting import SECONDS, eventually
from tests.workers.wire import Wire

Make = Callable[..., Scanner]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What a scan waits for, it looks at more often here."""
    monkeypatch.setattr(scanner, "CLAIM_SECONDS", 0.05)
    monkeypatch.setattr(scanner, "CLOCK_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(scanner, "CONGESTION_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "swpt_accounts")


@pytest.fixture
def make(postgres_url: str, broker_url: str, chores_queue: str) -> Make:
    """Call it for a scan with these tasks."""
    return lambda *tasks, **options: make_scanner(
        postgres_url, broker_url, chores_queue, *tasks, **options
    )


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with workers(tmp_path_factory.mktemp("workers") / "log") as processes:
        yield processes


def await_steps(steps: Steps, more: int = 3) -> None:
    """Wait until the task has taken some more steps."""
    enough = steps.count + more
    eventually(f"{enough} steps", lambda: steps.count >= enough)


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [message for message in caplog.messages if words in message]


def await_words(caplog: pytest.LogCaptureFixture, words: str) -> str:
    return eventually(words, lambda: said(caplog, words))[0]


# -- one of a kind ------------------------------------------------------------


def test_a_second_scan_waits_and_says_for_whom(
    make: Make, shard: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Steps(), Steps()
    with running(make(first)):
        await_steps(first)
        [server_process] = scan_sessions(shard)
        with running(make(second)):
            word = await_words(caplog, "scan_accounts waits: it is run already, by a client at ")
            await_steps(first, 20)
            assert second.count == second.begun_count == 0

    assert f"(server process {server_process})" in word
    assert said(caplog, "waits") == [word]


def test_a_second_scan_takes_over_when_the_first_one_is_stopped(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Steps(), Steps()
    with ExitStack() as stack:
        stack.enter_context(running(make(first)))
        await_steps(first)
        both = stack.pop_all()
        with running(make(second)):
            await_words(caplog, "waits")
            both.close()
            count = first.count
            await_steps(second)
    assert first.count == count


def test_a_second_scan_takes_over_when_the_first_ones_connection_is_cut_by_the_server(
    make: Make,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "PAUSE_SECONDS_MIN", 2 * SECONDS)  # So the first is late.
    first, second = Steps(), Steps()
    with running(make(first)):
        await_steps(first)
        with running(make(second)):
            await_words(caplog, "waits")
            [server_process] = scan_sessions(shard)
            shard.execute("SELECT pg_terminate_backend(%s)", [server_process])
            await_steps(second)
            await_words(caplog, "scan_accounts is interrupted (")
            count = first.count
            await_steps(second)
            assert first.count == count


def test_a_scan_takes_over_when_another_one_is_killed(
    make: Make,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    processes: Workers,
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
) -> None:
    env = environment(
        postgres_url=postgres_url, chores_broker_url=broker_url, chores_broker_queue=chores_queue
    )
    first = processes.start("scan_accounts", env=env)
    [server_process] = eventually("the other one holds the lock", lambda: scan_sessions(shard))
    steps = Steps()
    with running(make(steps)):
        assert f"server process {server_process}" in await_words(caplog, "waits")
        assert steps.count == 0
        processes.kill(first)
        await_steps(steps)


def test_scans_of_different_kinds_do_not_wait_for_each_other(make: Make) -> None:
    first, second = Steps(), Steps()
    with running(make(first), make(second, name="scan_prepared_transfers", number=2)):
        await_steps(first)
        await_steps(second)
        await_steps(first)


def test_scans_of_different_shards_do_not_wait_for_each_other(
    make: Make, make_shard: Callable[[], str], broker_url: str, chores_queue: str
) -> None:
    first, second = Steps(), Steps()
    with running(make(first), make_scanner(make_shard(), broker_url, chores_queue, second)):
        await_steps(first)
        await_steps(second)
        await_steps(first)


# -- lost servers -----------------------------------------------------------


@pytest.mark.parametrize("server", ["database", "broker"])
def test_a_scan_goes_on_when_a_lost_server_is_back(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    caplog: pytest.LogCaptureFixture,
    server: str,
) -> None:
    steps = Steps(chores=every_chore)
    with cable(postgres_url) as (to_database, database), cable(broker_url) as (to_broker, broker):
        laid = {"database": to_database, "broker": to_broker}[server]
        with running(make_scanner(database, broker, chores_queue, steps)):
            await_steps(steps)
            laid.pull_out()
            await_words(caplog, "scan_accounts is interrupted (")
            laid.plug_in()
            await_steps(steps)
    assert steps.begun_count >= 2


def test_after_each_loss_a_scan_first_tries_again_after_the_shortest_pause(
    make: Make, shard: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If each pause were twice as long as the one before, the last one would be hours."""
    monkeypatch.setattr(backoff, "PAUSE_SECONDS_MIN", 0.01)
    monkeypatch.setattr(backoff, "PAUSE_SECONDS_MAX", 1000 * SECONDS)
    steps = Steps()
    with running(make(steps)):
        for _ in range(20):
            await_steps(steps)
            [server_process] = eventually("it holds the lock", lambda: scan_sessions(shard))
            shard.execute("SELECT pg_terminate_backend(%s)", [server_process])


@pytest.mark.parametrize("server", ["database", "broker"])
def test_a_server_that_is_away_for_long_makes_one_line_and_one_when_it_is_back(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
) -> None:
    monkeypatch.setattr(backoff, "PAUSE_SECONDS_MAX", 0.01)
    attempts_count = 0

    def take_breath(self: Backoff) -> float:
        nonlocal attempts_count
        attempts_count += 1
        return next_pause(self)

    next_pause = Backoff.next_pause
    monkeypatch.setattr(Backoff, "next_pause", take_breath)
    steps = Steps(chores=every_chore)
    with cable(postgres_url) as (to_database, database), cable(broker_url) as (to_broker, broker):
        laid = {"database": to_database, "broker": to_broker}[server]
        with running(make_scanner(database, broker, chores_queue, steps)):
            await_steps(steps)
            laid.pull_out()
            eventually("many attempts", lambda: attempts_count > 20)
            laid.plug_in()
            await_words(caplog, "over, after ")
    said_twice = said(caplog, "scan_accounts is interrupted (")
    assert len(said_twice) == 2
    assert said_twice[1].startswith("over, after ")


def test_a_scan_whose_queue_is_missing_says_what_declares_it_and_goes_on_afterwards(
    make: Make, wire: Wire, broker_url: str, chores_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.channel.queue_delete(chores_queue)
    steps = Steps(chores=every_chore)
    with running(make(steps)):
        word = await_words(caplog, "scan_accounts is interrupted (")
        assert steps.count == 0
        topology.declare_chores_queue(broker_url, chores_queue)
        await_steps(steps)
    assert f"the queue {chores_queue!r} takes no chores: " in word
    assert "`swpt_accounts configure` declares it" in word


# -- clocks -------------------------------------------------------------------


class WrongClock:
    """A clock that goes wrong by as much as a test says."""

    def __init__(self, error: timedelta = timedelta(0)) -> None:
        self.error = error

    def __call__(self) -> datetime:
        return utc_now() + self.error


SKEWS = {
    "a minute": timedelta(seconds=62),
    "an hour": timedelta(hours=1),
    "a day": timedelta(days=1),
    "ten years": timedelta(days=3652),
}


@pytest.mark.parametrize("direction", [1, -1], ids=["fast", "slow"])
@pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS)
def test_a_scan_stops_when_the_databases_clock_says_something_else_and_goes_on_when_it_does_not(
    make: Make, caplog: pytest.LogCaptureFixture, skew: timedelta, direction: int
) -> None:
    clock, steps = WrongClock(), Steps()
    with running(make(steps, clock=clock)):
        await_steps(steps)
        clock.error = direction * skew
        word = await_words(caplog, "scan_accounts has stopped: the database's clock is ")
        count = steps.count
        clock.error = timedelta(0)
        await_steps(steps)

    assert ("behind" if direction == 1 else "ahead of") in word
    assert "Allowed: a difference of 0:01:00." in word
    assert abs(steps.moments[count - 1] - utc_now()) < timedelta(minutes=1)
    assert all(abs(moment - utc_now()) < timedelta(minutes=10) for moment in steps.moments)


def test_a_scan_that_is_started_with_a_wrong_clock_does_nothing_and_says_so_only_now_and_then(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "CLOCK_PAUSE_SECONDS", 0.0)
    attempts_count = 0
    clock, steps = WrongClock(timedelta(days=3652)), Steps()

    def wrong_clock() -> datetime:
        nonlocal attempts_count
        attempts_count += 1
        return clock()

    with running(make(steps, clock=wrong_clock)):
        eventually("many attempts", lambda: attempts_count > 20)
        assert steps.count == steps.begun_count == 0
        assert len(said(caplog, "has stopped")) == 1
        assert not said(caplog, "begins")
        clock.error = timedelta(0)
        await_steps(steps)
        assert said(caplog, "begins")


def test_small_differences_between_clocks_are_no_reason_to_stop(make: Make) -> None:
    for error in (timedelta(seconds=58), timedelta(seconds=-58)):
        steps = Steps()
        with running(make(steps, clock=WrongClock(error))):
            await_steps(steps)


def test_a_clock_that_is_not_believed_stops_a_scan_in_the_middle(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    is_doubted = False

    def clock() -> datetime:
        if is_doubted:
            raise TimeUncertain("this machine's clock has jumped")
        return utc_now()

    steps = Steps()
    with running(make(steps, clock=clock)):
        await_steps(steps)
        is_doubted = True
        await_words(caplog, "scan_accounts has stopped: this machine's clock has jumped")
        is_doubted = False
        await_steps(steps)
    assert steps.begun_count >= 2


@pytest.mark.parametrize(("days", "is_doubted"), [(89, False), (91, True), (3652, True)])
def test_a_scan_that_was_away_for_months_waits_before_it_begins(
    make: Make,
    make_session: MakeSession,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    is_doubted: bool,
) -> None:
    session = make_session()
    last = utc_now() - timedelta(days=days)
    scans.save(session.statements, NAME, Progress(began_at=last), last)
    scan, steps = make(first := Steps()), first
    with running(scan):
        if is_doubted:
            word = await_words(caplog, "scan_accounts has stopped: by the clock, which says ")
            assert steps.begun_count == 0
            assert f"it was last at work {days} days" in word
            # The hour has passed.
            monkeypatch.setattr(scanner, "ABSENCE_SECONDS", 0.0)
        await_steps(steps)
    assert bool(said(caplog, "has stopped")) == is_doubted


# -- turns and ends -------------------------------------------------------------


def test_with_quit_early_a_scan_ends_when_each_task_has_looked_at_everything(make: Make) -> None:
    quick, slow = Steps(pause=0.0), Steps(needed_count=5)
    with running(make(quick, slow, quit_early=True)) as [end]:
        end.result(SECONDS)
    assert slow.count == 5
    assert quick.count > 1


def test_a_task_that_has_to_wait_does_not_keep_others_from_their_turns(make: Make) -> None:
    patient, busy = Steps(pause=10 * SECONDS), Steps(pause=0.0)
    with running(make(patient, busy)):
        await_steps(busy, 50)
    assert patient.count == 1


def test_a_scan_waits_while_there_are_too_many_chores_already(
    make: Make,
    wire: Wire,
    chores_queue: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chore_sender, "WAITING_MAX", 20)
    monkeypatch.setattr(chore_sender, "_SENT_BETWEEN_LOOKS", 1)
    steps = Steps(chores=every_chore)
    with running(make(steps)):
        word = await_words(caplog, "scan_accounts waits: there are ")
        count = steps.count
        assert 20 < count * len(every_chore()) <= 30
        wire.channel.queue_purge(chores_queue)
        await_steps(steps, 1)
    assert word.endswith(" chores in the queue already")


def test_a_scan_that_waits_for_room_can_be_stopped(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chore_sender, "WAITING_MAX", 5)
    monkeypatch.setattr(chore_sender, "_SENT_BETWEEN_LOOKS", 1)
    monkeypatch.setattr(scanner, "CONGESTION_SECONDS", 10 * SECONDS)
    steps = Steps(chores=every_chore)
    with running(make(steps)):
        await_words(caplog, "scan_accounts waits: there are ")
        count = steps.count
    assert steps.count == count
