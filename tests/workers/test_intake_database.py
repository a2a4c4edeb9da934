"""A database that is away, or cannot write, is no message's fault."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import psycopg
import pytest
from psycopg import sql

from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import DatabaseUnavailable
from swpt_accounts.workers.intake import MessageIntake
from tests.factories import configure_account
from tests.workers.deliveries import deliveries
from tests.workers.waiting import eventually

BATCH = deliveries(configure_account(creditor_id=n) for n in range(1000, 1050))

Trouble = Callable[[psycopg.Connection, str], AbstractContextManager[None]]

END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = %s AND pid <> pg_backend_pid()
"""


@pytest.fixture
def database(administrator: psycopg.Connection, postgres_url: str) -> str:
    with connect(postgres_url, application_name="tests") as session:
        return session.info.dbname


def set_database(administrator: psycopg.Connection, database: str, what: str) -> None:
    statement = "ALTER DATABASE {} " + what
    administrator.execute(sql.SQL(statement).format(sql.Identifier(database)))  # type: ignore[arg-type]


@contextmanager
def closed(administrator: psycopg.Connection, database: str) -> Iterator[None]:
    """All sessions are ended, and nobody gets a new one."""
    set_database(administrator, database, "ALLOW_CONNECTIONS false")
    administrator.execute(END_SESSIONS, [database])
    yield
    set_database(administrator, database, "ALLOW_CONNECTIONS true")


@contextmanager
def sessions_ended(administrator: psycopg.Connection, database: str) -> Iterator[None]:
    """All sessions are ended, as when the server is started anew."""
    administrator.execute(END_SESSIONS, [database])
    yield


@contextmanager
def read_only(administrator: psycopg.Connection, database: str) -> Iterator[None]:
    """The server answers, but refuses to write, as a standby does."""
    set_database(administrator, database, "SET default_transaction_read_only = on")
    administrator.execute(END_SESSIONS, [database])
    yield
    set_database(administrator, database, "SET default_transaction_read_only = off")


@contextmanager
def without_its_tables(administrator: psycopg.Connection, database: str) -> Iterator[None]:
    """The migrations have not been run yet."""
    set_database(administrator, database, "SET search_path = elsewhere")
    administrator.execute(END_SESSIONS, [database])
    yield
    set_database(administrator, database, "RESET search_path")


@pytest.mark.parametrize("trouble", [closed, sessions_ended, read_only, without_its_tables])
def test_a_batch_fails_as_a_whole_while_the_database_is_away_and_succeeds_later(
    intake: MessageIntake,
    administrator: psycopg.Connection,
    postgres_url: str,
    database: str,
    trouble: Trouble,
) -> None:
    intake.handle(BATCH[:10])

    with trouble(administrator, database), pytest.raises(DatabaseUnavailable):
        intake.handle(BATCH[10:])

    attempts = []
    for _ in range(2):  # What was changed for the database holds for new sessions only.
        try:
            attempts.append(intake.handle(BATCH[10:]).accepted)
        except DatabaseUnavailable:
            attempts.append([])
    assert attempts[-1] == BATCH[10:]
    with connect(postgres_url, application_name="tests") as session:
        assert session.execute("SELECT count(*) FROM account").fetchone() == (50,)
        assert session.execute("SELECT count(*) FROM outbox").fetchone() == (50,)


def test_a_session_that_is_ended_in_the_middle_of_a_batch_leaves_nothing_of_it(
    intake: MessageIntake, administrator: psycopg.Connection, shard: psycopg.Connection
) -> None:
    intake.handle(BATCH[:1])
    newer = deliveries(configure_account(creditor_id=n, seqnum=2) for n in range(1000, 1010))

    def waiting_sessions() -> list[int]:
        rows = administrator.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
            [shard.info.dbname],
        )
        return [row[0] for row in rows]

    with ThreadPoolExecutor(1) as another_thread, shard.transaction():
        shard.execute("SELECT FROM account FOR UPDATE")
        handled = another_thread.submit(intake.handle, newer)
        [pid] = eventually("the batch waits for the locked account", waiting_sessions)
        administrator.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(DatabaseUnavailable):
            handled.result(60)
    assert shard.execute("SELECT count(*) FROM account").fetchone() == (1,)

    assert intake.handle(newer).accepted == newer
    assert shard.execute("SELECT count(*) FROM account").fetchone() == (10,)
    assert shard.execute("SELECT count(*) FROM outbox").fetchone() == (11,)


def test_a_full_disk_is_not_blamed_on_messages(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    shard.execute(
        """
        CREATE FUNCTION be_full() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100';
        END $$;
        CREATE TRIGGER be_full AFTER INSERT ON outbox EXECUTE FUNCTION be_full();
        """
    )
    with pytest.raises(DatabaseUnavailable, match="no space left on device"):
        intake.handle(BATCH)
    assert shard.execute("SELECT count(*) FROM account").fetchone() == (0,)

    shard.execute("DROP TRIGGER be_full ON outbox")
    assert intake.handle(BATCH).accepted == BATCH
