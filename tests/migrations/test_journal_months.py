"""The journal's monthly partitions."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest

from swpt_accounts.store import schema
from swpt_accounts.store.connection import connect
from swpt_accounts.store.journal_months import MONTHS_AHEAD, add_journal_months

FAR_FUTURE = datetime(2091, 11, 17, 12, tzinfo=UTC)

INSERT = """
INSERT INTO journal (
    debtor_id, creditor_id, creation_date, journal_number, applied_at, committed_at, amount,
    clipped_amount, principal, coordinator_type, other_creditor_id, transfer_id,
    transfer_note_format, transfer_note
)
VALUES (1, 2, '2091-01-01', %s, %s, %s, 5, 0, 5, 'direct', 3, 4, '', '')
"""


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection]:
    schema.upgrade(database)
    with connect(database, application_name="tests", autocommit=True) as connection:
        yield connection


def add_row(session: psycopg.Connection, number: int, applied_at: datetime) -> str:
    """Insert a journal row, and return the partition that took it."""
    session.execute(INSERT, [number, applied_at, applied_at])
    row = session.execute(
        "SELECT tableoid::regclass::text FROM journal WHERE journal_number = %s", [number]
    ).fetchone()
    assert row is not None
    return row[0]


def test_an_upgrade_makes_this_month_and_the_months_to_come(session: psycopg.Connection) -> None:
    names = {
        name
        for (name,) in session.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'journal'::regclass"
        )
    }
    assert f"journal_{datetime.now(UTC):%Y_%m}" in names
    assert len(names) == 1 + MONTHS_AHEAD + 1  # this month, those ahead, the default


def test_a_year_of_months_is_added_once(session: psycopg.Connection) -> None:
    added = add_journal_months(session, FAR_FUTURE)
    assert added[0] == "journal_2091_11"
    assert added[1:3] == ["journal_2091_12", "journal_2092_01"]
    assert added[-1] == "journal_2092_11"
    assert len(added) == 1 + MONTHS_AHEAD
    assert add_journal_months(session, FAR_FUTURE) == []
    assert add_journal_months(session, FAR_FUTURE + timedelta(days=31)) == ["journal_2092_12"]


@pytest.mark.parametrize(
    ("applied_at", "partition"),
    [
        pytest.param("2091-10-31T23:59:59.999999+00:00", "journal_default", id="the month before"),
        pytest.param("2091-11-01T00:00:00+00:00", "journal_2091_11", id="first instant"),
        pytest.param("2091-11-30T23:59:59.999999+00:00", "journal_2091_11", id="last instant"),
        pytest.param("2091-12-01T08:59:59+09:00", "journal_2091_11", id="last in UTC, not there"),
        pytest.param("2092-12-01T00:00:00+00:00", "journal_default", id="after all months"),
    ],
)
def test_months_are_those_of_utc(
    session: psycopg.Connection, applied_at: str, partition: str
) -> None:
    session.execute("SET timezone = 'Asia/Tokyo'")
    add_journal_months(session, FAR_FUTURE.astimezone(timezone(timedelta(hours=-9))))
    assert add_row(session, 1, datetime.fromisoformat(applied_at)) == partition


def test_a_month_that_the_default_partition_has_rows_of_is_left_to_it(
    session: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    december = datetime(2091, 12, 24, tzinfo=UTC)
    assert add_row(session, 1, december) == "journal_default"
    with caplog.at_level(logging.WARNING):
        added = add_journal_months(session, FAR_FUTURE)
    assert "journal_2091_12" not in added
    assert len(added) == MONTHS_AHEAD
    assert "journal_2091_12" in caplog.text
    assert add_row(session, 2, december) == "journal_default"


def test_a_partition_has_the_keys_and_checks_of_the_journal(session: psycopg.Connection) -> None:
    add_journal_months(session, FAR_FUTURE)
    assert add_row(session, 1, FAR_FUTURE) == "journal_2091_11"
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute(INSERT, [1, FAR_FUTURE, FAR_FUTURE])
    with pytest.raises(psycopg.errors.CheckViolation):
        session.execute(INSERT, [0, FAR_FUTURE, FAR_FUTURE])


def test_writers_of_the_journal_do_not_stop_a_month_from_being_added(
    session: psycopg.Connection, database: str
) -> None:
    with connect(database, application_name="tests") as writer:
        now = datetime.now(UTC)
        writer.execute(INSERT, [1, now, now])
        session.execute("SET lock_timeout = '5s'")
        assert len(add_journal_months(session, FAR_FUTURE)) == 1 + MONTHS_AHEAD
        writer.rollback()
