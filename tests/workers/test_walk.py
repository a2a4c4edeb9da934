"""A walk sees each row once in a pass, at an even pace, and takes as long as it may."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.ledger.values import EPOCH
from swpt_accounts.store import scans
from swpt_accounts.store.connection import connect
from swpt_accounts.store.pages import Key
from swpt_accounts.store.transaction import Transaction
from swpt_accounts.workers import walk
from swpt_accounts.workers.chore_sender import ChoreSender
from swpt_accounts.workers.scan_changes import AllChanges
from swpt_accounts.workers.scanner import Session
from swpt_accounts.workers.walk import JITTER, PAGE_SIZE_MAX, Look, Walk
from tests.factories import NOW
from tests.workers.conftest import MakeSession
from tests.workers.waiting import SECONDS

NAME = "scan_registered_balance_changes"
DEBTOR_ID, CREDITOR_ID = 7, -8


class Clock:
    """Time that goes on only when a walk waits."""

    def __init__(self) -> None:
        self.now = 1e6

    def monotonic(self) -> float:
        return self.now


@dataclass
class Watched:
    """Rows of a table, and how they have been looked at."""

    rows: AllChanges
    looks: list[tuple[Key, int, Look]] = field(default_factory=list)
    table: str = AllChanges.table

    def look(self, session: Session, after: Key, count_max: int) -> Look:
        look = self.rows.look(session, after, count_max)
        self.looks.append((after, count_max, look))
        return look

    @property
    def sizes(self) -> list[int]:
        """How many rows each page could have had."""
        return [count_max for _, count_max, _ in self.looks]

    @property
    def seen_count(self) -> int:
        return sum(look.rows_count for _, _, look in self.looks)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(walk, "time", clock)
    return clock


@pytest.fixture
def make_session(postgres_url: str) -> Iterator[MakeSession]:
    """Call it for what one step works with. What these walks find due is done by themselves."""
    nobody = ChoreSender(Publisher("", confirm_timeout_seconds=SECONDS), "")
    with connect(postgres_url, application_name="tests: walk", autocommit=True) as connection:
        statements = Transaction(connection.cursor())
        yield lambda now=NOW: Session(statements, nobody, now)


@pytest.fixture
def session(make_session: MakeSession) -> Session:
    return make_session()


@pytest.fixture
def uncounted(shard: psycopg.Connection) -> Iterator[None]:
    """The database believes that the table is empty, and does not look."""
    shard.execute("ALTER TABLE registered_balance_change SET (autovacuum_enabled = off)")
    shard.execute("ANALYZE registered_balance_change")
    yield
    shard.execute("ALTER TABLE registered_balance_change RESET (autovacuum_enabled)")


def make_walk(
    session: Session, seconds: float, *, threshold: datetime = EPOCH
) -> tuple[Walk, Watched]:
    """A walk that has begun, and what it looks at."""
    rows = Watched(AllChanges(threshold))
    made = Walk(NAME, rows, timedelta(seconds=seconds))
    made.begin(session)
    return made, rows


def add_rows(shard: psycopg.Connection, first: int, last: int, *, are_counted: bool = True) -> None:
    """Register changes with these ids, and have the database count them."""
    shard.execute(
        "INSERT INTO registered_balance_change"
        " (debtor_id, other_creditor_id, change_id, committed_at)"
        " SELECT %s, %s, n, %s FROM generate_series(%s::bigint, %s) AS n",
        [DEBTOR_ID, CREDITOR_ID, NOW, first, last],
    )
    if are_counted:
        shard.execute("ANALYZE registered_balance_change")


def key(change_id: int) -> Key:
    return DEBTOR_ID, CREDITOR_ID, change_id


def take_steps(made: Walk, session: Session, clock: Clock, count: int) -> list[float]:
    """Let the walk take so many steps, and wait after each; return how long."""
    pauses = []
    for _ in range(count):
        pauses.append(made.step(session))
        clock.now += pauses[-1]
    return pauses


def finish_pass(made: Walk, session: Session, clock: Clock) -> list[float]:
    """Let the walk take steps until it has seen the last row; return the pauses."""
    pauses = take_steps(made, session, clock, 1)
    while position_of(session):
        pauses += take_steps(made, session, clock, 1)
    return pauses


def position_of(session: Session) -> Key:
    return scans.load(session.statements, NAME, NOW).position


# -- the pace ---------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2, 60, 3600, 8 * 3600])
@pytest.mark.parametrize("rows_count", [0, 1, 10, 300])
def test_each_pass_begins_when_its_time_has_come(
    shard: psycopg.Connection, session: Session, clock: Clock, rows_count: int, seconds: float
) -> None:
    add_rows(shard, 1, rows_count)
    made, rows = make_walk(session, seconds)
    start = clock.now

    for number in range(1, 5):
        finish_pass(made, session, clock)
        # A pass that was a bit early or late is followed by one that makes up for it.
        assert clock.now - start == pytest.approx(number * seconds, abs=1.2 * JITTER * seconds)
    assert rows.seen_count == 4 * rows_count


@pytest.mark.parametrize("rows_count", [2500, 3000])
def test_a_large_table_is_looked_at_evenly_and_a_bit_early(
    shard: psycopg.Connection, session: Session, clock: Clock, rows_count: int
) -> None:
    add_rows(shard, 1, rows_count)
    made, rows = make_walk(session, 60)

    pauses = finish_pass(made, session, clock)

    *pauses, rest = pauses
    assert 0.8 * 60 < sum(pauses) < 60
    assert 60 * (1 - JITTER) < sum(pauses) + rest < 60 * (1 + JITTER)
    assert len(set(rows.sizes)) == 1
    # About a page a second.
    assert all(1 - JITTER - 0.02 <= pause <= 1 + JITTER + 0.02 for pause in pauses)
    assert len({round(pause, 6) for pause in pauses}) > len(pauses) / 2


def test_a_pass_that_may_take_no_time_is_made_of_the_largest_pages_without_pauses(
    shard: psycopg.Connection, session: Session, clock: Clock
) -> None:
    add_rows(shard, 1, 2 * PAGE_SIZE_MAX + 1)
    made, rows = make_walk(session, 0)

    pauses = finish_pass(made, session, clock)

    assert rows.sizes == 3 * [PAGE_SIZE_MAX]
    assert max(pauses) < 0.002
    assert made.is_done


def test_the_pace_follows_a_table_that_grows_meanwhile(
    shard: psycopg.Connection, session: Session, clock: Clock
) -> None:
    add_rows(shard, 1, 600)
    made, rows = make_walk(session, 60)
    take_steps(made, session, clock, 5)
    first_size = rows.sizes[0]

    add_rows(shard, 601, 6000)
    clock.now += walk.WORD_SECONDS
    take_steps(made, session, clock, 1)

    assert rows.sizes[-1] == pytest.approx(10 * first_size, rel=0.1)


def test_the_pass_before_tells_how_many_rows_there_are_when_the_database_does_not(
    shard: psycopg.Connection, session: Session, clock: Clock, uncounted: None
) -> None:
    made, rows = make_walk(session, 60)
    add_rows(shard, 1, 1800, are_counted=False)
    finish_pass(made, session, clock)
    assert rows.sizes[0] == walk.PACE_MIN

    finish_pass(made, session, clock)

    assert rows.sizes[-1] == round(walk.HASTE * 1800 / 60)


# -- each row once ------------------------------------------------------------


@pytest.mark.parametrize("rows_count", [0, 1, 9, 10, 11, 20, 95])
def test_each_page_begins_where_the_one_before_has_ended(
    shard: psycopg.Connection, session: Session, clock: Clock, rows_count: int
) -> None:
    add_rows(shard, 1, rows_count)
    made, rows = make_walk(session, 3600)
    assert not made.is_done

    finish_pass(made, session, clock)

    assert made.is_done
    assert rows.looks[0][0] == ()
    for (_, count_max, look), (after, _, _) in pairwise(rows.looks):
        assert look.rows_count == count_max
        assert look.last_key == after
    assert rows.seen_count == rows_count
    assert len(rows.looks) == rows_count // 10 + 1


def test_rows_that_are_added_behind_the_walk_wait_for_the_next_pass(
    shard: psycopg.Connection, session: Session, clock: Clock
) -> None:
    add_rows(shard, 101, 150)
    made, rows = make_walk(session, 3600)
    take_steps(made, session, clock, 2)

    add_rows(shard, 1, 100)
    add_rows(shard, 151, 160)
    finish_pass(made, session, clock)

    assert rows.seen_count == 60
    finish_pass(made, session, clock)
    assert rows.seen_count == 60 + 160


def test_a_pass_ends_when_all_rows_that_are_left_disappear(
    shard: psycopg.Connection, session: Session, clock: Clock
) -> None:
    add_rows(shard, 1, 100)
    made, rows = make_walk(session, 3600)
    take_steps(made, session, clock, 3)

    shard.execute("DELETE FROM registered_balance_change")
    take_steps(made, session, clock, 1)

    assert made.is_done
    assert rows.seen_count == 30
    finish_pass(made, session, clock)
    assert rows.looks[-1][0] == ()


def test_rows_that_are_removed_by_the_walk_itself_are_counted_and_told(
    shard: psycopg.Connection, session: Session, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    add_rows(shard, 1, 25)
    made, rows = make_walk(session, 3600, threshold=NOW + timedelta(microseconds=1))

    with caplog.at_level(logging.INFO):
        finish_pass(made, session, clock)

    assert rows.seen_count == 25
    assert shard.execute("SELECT FROM registered_balance_change").fetchall() == []
    assert "25 removed" in caplog.messages[-1]


# -- a restart ------------------------------------------------------------------


@pytest.mark.parametrize("steps_count", [0, 1, 3, 9, 10])
def test_after_a_restart_the_pass_goes_on_at_the_very_row(
    shard: psycopg.Connection,
    make_session: MakeSession,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    steps_count: int,
) -> None:
    add_rows(shard, 1, 99)
    first, first_rows = make_walk(make_session(), 3600)
    take_steps(first, make_session(), clock, steps_count)

    with caplog.at_level(logging.INFO):
        second, second_rows = make_walk(make_session(NOW + timedelta(days=1)), 3600)
    finish_pass(second, make_session(), clock)

    is_in_a_pass = steps_count % 10 != 0
    last_key = first_rows.looks[-1][2].last_key if is_in_a_pass else ()
    assert second_rows.looks[0][0] == last_key
    already_seen = first_rows.seen_count if is_in_a_pass else 0
    assert already_seen + second_rows.seen_count == 99
    said = [f"{NAME} goes on after {already_seen} rows"] if is_in_a_pass else []
    assert caplog.messages == said


def test_a_pass_that_goes_on_after_a_restart_takes_the_time_that_was_left(
    shard: psycopg.Connection, session: Session, clock: Clock
) -> None:
    add_rows(shard, 1, 3000)
    made, _ = make_walk(session, 60)
    spent = sum(take_steps(made, session, clock, 30))

    again, _ = make_walk(session, 60)
    left = sum(finish_pass(again, session, clock))

    assert spent + left == pytest.approx(60, rel=0.1)


def test_the_row_at_which_the_walk_stands_may_be_gone_after_a_restart(
    shard: psycopg.Connection, session: Session, clock: Clock
) -> None:
    add_rows(shard, 1, 99)
    made, _ = make_walk(session, 3600)
    take_steps(made, session, clock, 3)
    assert position_of(session) == key(30)
    shard.execute("DELETE FROM registered_balance_change WHERE change_id BETWEEN 25 AND 35")

    again, rows = make_walk(session, 3600)
    finish_pass(again, session, clock)

    assert rows.seen_count == 99 - 35


# -- what is told -----------------------------------------------------------------


def test_a_long_pass_tells_every_minute_how_far_it_is(
    shard: psycopg.Connection, session: Session, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    add_rows(shard, 1, 3000)
    made, _ = make_walk(session, 300)
    caplog.set_level(logging.INFO)

    pauses = finish_pass(made, session, clock)

    *words, last_word = caplog.messages
    assert len(words) == sum(pauses[:-1]) // walk.WORD_SECONDS
    for word in words:
        assert word.startswith(f"{NAME}: ")
        assert "of about 3,000 rows, 11 rows per second; due in this pass: nothing" in word
    assert last_word.startswith(f"{NAME}: a pass over 3,000 rows has taken ")
    assert last_word.endswith(" seconds; due were: nothing")


def test_short_passes_over_nothing_are_not_worth_a_word(
    session: Session, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = make_walk(session, 1)
    caplog.set_level(logging.INFO)

    for _ in range(10):
        finish_pass(made, session, clock)

    assert caplog.messages == []
