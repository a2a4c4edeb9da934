"""From revision 0001 to where accounts wait to be announced since a moment of their own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
import pytest
from alembic import command
from psycopg import errors

from swpt_accounts.store import schema
from swpt_accounts.store.connection import connect
from tests.migrations.catalog import describe

UPGRADE: Final = "import sys; from swpt_accounts.store.schema import upgrade; upgrade(sys.argv[1])"
INDEX: Final = "account_update_pending_since_idx"
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

OLD_COLUMNS: Final = {
    "debtor_id": 1,
    "creditor_id": 0,
    "creation_date": date(2026, 1, 2),
    "last_change_seqnum": 1,
    "last_change_ts": NOW,
    "principal": 0,
    "interest": 0.0,
    "last_transfer_number": 0,
    "last_transfer_committed_at": NOW,
    "last_transfer_id": 0,
    "total_locked_amount": 0,
    "pending_transfers_count": 0,
    "last_journal_number": 0,
    "is_overflown": False,
    "pending_account_update": False,
    "last_update_sent_ts": NOW,
}
"""What the version of revision 0001 writes of an account, as far as it changes often."""

OLD_COPY: Final = f"COPY account ({', '.join(OLD_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
OLD_TYPES: Final = (
    *("int8", "int8", "date", "int4", "timestamptz", "int8", "float8", "int8", "timestamptz"),
    *("int8", "int8", "int4", "int8", "bool", "bool", "timestamptz"),
)
OLD_UPDATE: Final = """
    UPDATE account SET principal = new.principal, last_change_ts = new.last_change_ts,
        pending_account_update = new.pending_account_update
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::bool[])
        AS new (debtor_id, creditor_id, principal, last_change_ts, pending_account_update)
    WHERE account.debtor_id = new.debtor_id AND account.creditor_id = new.creditor_id
"""


def upgrade_to(revision: str, url: str) -> None:
    config = schema._alembic_config()
    config.attributes["postgres_url"] = url
    command.upgrade(config, revision)


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection]:
    """A session in a database of revision 0001."""
    upgrade_to("0001", database)
    with connect(database, application_name="tests", autocommit=True) as session:
        yield session


def add_as_before(session: psycopg.Connection, *rows: dict[str, Any]) -> None:
    """Insert accounts as the version of revision 0001 does."""
    with session.cursor() as cursor, cursor.copy(OLD_COPY) as copy:
        copy.set_types(OLD_TYPES)
        for row in rows:
            copy.write_row(list({**OLD_COLUMNS, **row}.values()))


def waiting(session: psycopg.Connection) -> dict[int, datetime]:
    """Since when accounts wait, by their creditors."""
    rows = session.execute(
        "SELECT creditor_id, update_pending_since FROM account"
        " WHERE update_pending_since IS NOT NULL"
    )
    return dict(rows.fetchall())


def is_index_valid(session: psycopg.Connection) -> bool:
    row = session.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [INDEX]
    ).fetchone()
    return row is not None and bool(row[0])


def expected_catalog(url: str) -> dict[str, list[tuple[Any, ...]]]:
    schema.upgrade(url)
    with connect(url, application_name="tests", autocommit=True) as session:
        return describe(session)


def accounts_of_before() -> dict[int, dict[str, Any]]:
    return {
        n: {
            "creditor_id": n,
            "pending_account_update": n % 3 == 0,
            "last_change_ts": NOW - timedelta(days=n),
        }
        for n in range(-10, 11)
    }


EXPECTED_WAITS: Final = {
    n: row["last_change_ts"]
    for n, row in accounts_of_before().items()
    if row["pending_account_update"]
}


def test_accounts_that_wait_already_wait_since_their_last_change(
    session: psycopg.Connection, database: str
) -> None:
    add_as_before(session, *accounts_of_before().values())
    schema.upgrade(database)
    assert waiting(session) == EXPECTED_WAITS
    assert is_index_valid(session)


def test_accounts_are_marked_however_large_the_table_is(
    session: psycopg.Connection, database: str
) -> None:
    count = 30_000
    session.execute(
        "INSERT INTO account (debtor_id, creditor_id, creation_date, last_change_ts,"
        " last_transfer_id, last_update_sent_ts, pending_account_update)"
        " SELECT 1, n, now(), %s, 0, now(), n %% 3 = 0 FROM generate_series(1, %s) n",
        [NOW, count],
    )
    blocks = session.execute(
        "SELECT pg_relation_size('account') / current_setting('block_size')::bigint"
    ).fetchone()
    assert blocks is not None
    assert blocks[0] > 1000  # More than what is marked at once.

    schema.upgrade(database)

    assert waiting(session) == dict.fromkeys(range(3, count + 1, 3), NOW)


def test_processes_of_the_version_before_go_on_working(
    session: psycopg.Connection, database: str
) -> None:
    add_as_before(session, {"creditor_id": 1, "pending_account_update": True})
    schema.upgrade(database)

    add_as_before(session, {"creditor_id": 2, "pending_account_update": True})
    later = NOW + timedelta(days=1)
    session.execute(OLD_UPDATE, [[1, 1], [1, 2], [10, 20], [later] * 2, [False, True]])

    rows = session.execute(
        "SELECT creditor_id, principal, last_change_ts, pending_account_update,"
        " update_pending_since FROM account ORDER BY 1"
    ).fetchall()
    # What it changes is announced with the next change that this version makes.
    assert rows == [(1, 10, later, False, NOW), (2, 20, later, True, None)]


@pytest.mark.parametrize("is_valid", [True, False])
def test_an_index_that_an_interrupted_attempt_has_left_behind_is_made_anew(
    session: psycopg.Connection, database: str, make_database: Callable[[], str], is_valid: bool
) -> None:
    add_as_before(session, *accounts_of_before().values())
    upgrade_to("0002", database)
    if is_valid:  # It was made, but the attempt ended before that was written down.
        session.execute(f"CREATE INDEX {INDEX} ON account (principal)")  # type: ignore[arg-type]
    else:
        with pytest.raises(errors.UniqueViolation):
            session.execute(
                f"CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON account (debtor_id)"  # type: ignore[arg-type]
            )
        assert not is_index_valid(session)

    schema.upgrade(database)

    assert is_index_valid(session)
    assert describe(session) == expected_catalog(make_database())
    assert waiting(session) == EXPECTED_WAITS
    assert schema.is_current(database)


def test_an_upgrade_that_was_interrupted_while_accounts_were_marked_marks_the_others(
    session: psycopg.Connection, database: str
) -> None:
    add_as_before(session, *accounts_of_before().values())
    upgrade_to("0002", database)
    session.execute(
        "UPDATE account SET update_pending_since = last_change_ts"
        " WHERE pending_account_update AND creditor_id < 0"
    )
    # What has changed since then does not count.
    session.execute("UPDATE account SET last_change_ts = now() WHERE creditor_id < 0")

    schema.upgrade(database)

    assert waiting(session) == EXPECTED_WAITS


def test_two_upgrades_of_a_database_in_use_at_the_same_time_both_succeed(
    session: psycopg.Connection, database: str
) -> None:
    add_as_before(session, *accounts_of_before().values())
    processes = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, database], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert is_index_valid(session)
    assert waiting(session) == EXPECTED_WAITS
    assert schema.is_current(database)
