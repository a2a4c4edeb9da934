"""A transaction commits or leaves nothing, and says who is to blame when it cannot."""

from collections.abc import Callable, Iterator
from contextlib import closing
from socket import socket
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from swpt_accounts.store import accounts, journal, transfers
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Conflict, Database, DatabaseUnavailable
from tests import factories
from tests.store.undone import undone

RAISE = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}', MESSAGE = 'the reason'; END $$"
OWN_PROCESS = "SELECT pg_backend_pid()"
END = "SELECT pg_terminate_backend(%s, 60000)"


@pytest.fixture
def table(session: psycopg.Connection) -> Iterator[None]:
    session.execute("DROP TABLE IF EXISTS things")
    session.execute("CREATE TABLE things (n int PRIMARY KEY CHECK (n >= 0))")
    yield
    session.execute("DROP TABLE things")


def add(database: Database, number: int) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO things VALUES (%s)", (number,))


def things(session: psycopg.Connection) -> list[int]:
    return [n for (n,) in session.execute("SELECT n FROM things ORDER BY n")]


def process_of(database: Database) -> int:
    with database.transaction() as transaction:
        [(process,)] = transaction.fetch(OWN_PROCESS, ())
    return int(process)


@pytest.mark.usefixtures("table")
def test_a_transaction_is_committed_when_its_block_ends(
    database: Database, session: psycopg.Connection
) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO things VALUES (%s)", (1,))
        assert things(session) == []
        transaction.execute("INSERT INTO things VALUES (%s)", (2,))
    assert things(session) == [1, 2]


@pytest.mark.usefixtures("table")
def test_whatever_is_raised_undoes_the_transaction(
    database: Database, session: psycopg.Connection
) -> None:
    with undone(database) as transaction:
        assert transaction.execute("INSERT INTO things VALUES (1), (2)", ()) == 2
    add(database, 3)
    assert things(session) == [3]


def test_a_connection_is_kept(database: Database) -> None:
    first = process_of(database)
    with undone(database):
        pass
    assert process_of(database) == first


@pytest.mark.parametrize("options", ["", "?options=-c%20TimeZone%3DAsia/Tokyo"])
def test_a_session_is_in_utc_and_reads_what_is_committed(folder_url: str, options: str) -> None:
    client = Database(folder_url + options, application_name="x")
    with closing(client), client.transaction() as transaction:
        [(zone,)] = transaction.fetch("SHOW TimeZone", ())
        [(level,)] = transaction.fetch("SHOW transaction_isolation", ())
    assert (zone, level) == ("UTC", "read committed")


def test_the_server_notices_within_half_a_minute_that_a_client_has_vanished(
    postgres_url: str,
) -> None:
    client = Database(postgres_url, application_name="x")
    with closing(client), client.transaction() as transaction:
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
        idle, interval, count = (
            int(transaction.fetch(f"SELECT current_setting('{name}')", ())[0][0]) for name in names
        )
    assert 0 < idle + interval * count <= 30


# -- what an error means -----------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("40001", Conflict),  # serialization_failure
        ("40P01", Conflict),  # deadlock_detected
        ("23505", Conflict),  # unique_violation
        ("22003", errors.NumericValueOutOfRange),
        ("22021", errors.CharacterNotInRepertoire),
        ("22P05", errors.UntranslatableCharacter),
        ("22008", errors.DatetimeFieldOverflow),
        ("23502", errors.NotNullViolation),
        ("23514", errors.CheckViolation),
        ("08006", DatabaseUnavailable),  # connection_failure
        ("25006", DatabaseUnavailable),  # read_only_sql_transaction
        ("25P03", DatabaseUnavailable),  # idle_in_transaction_session_timeout
        ("42501", DatabaseUnavailable),  # insufficient_privilege
        ("42703", DatabaseUnavailable),  # undefined_column
        ("42P01", DatabaseUnavailable),  # undefined_table
        ("53100", DatabaseUnavailable),  # disk_full
        ("53200", DatabaseUnavailable),  # out_of_memory
        ("53300", DatabaseUnavailable),  # too_many_connections
        ("55P03", DatabaseUnavailable),  # lock_not_available
        ("57014", DatabaseUnavailable),  # query_canceled
        ("57P01", DatabaseUnavailable),  # admin_shutdown
        ("57P03", DatabaseUnavailable),  # cannot_connect_now
        ("58030", DatabaseUnavailable),  # io_error
        ("XX000", DatabaseUnavailable),  # internal_error
        ("XX001", DatabaseUnavailable),  # data_corrupted
    ],
)
@pytest.mark.usefixtures("table")
def test_errors_are_classified_and_the_next_transaction_works(
    database: Database, session: psycopg.Connection, code: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="the reason"), database.transaction() as transaction:
        transaction.execute(RAISE.format(code), ())
    add(database, 1)
    assert things(session) == [1]


@pytest.mark.parametrize("number", [-1, 2**31, "x"])
@pytest.mark.usefixtures("table")
def test_data_that_the_database_refuses_are_to_blame_themselves(
    database: Database, session: psycopg.Connection, number: Any
) -> None:
    process = process_of(database)
    with pytest.raises((psycopg.DataError, psycopg.IntegrityError)):
        add(database, number)
    add(database, 1)
    assert things(session) == [1]
    assert process_of(database) == process


@pytest.mark.usefixtures("table")
def test_a_row_inserted_twice_is_a_conflict(
    database: Database, session: psycopg.Connection
) -> None:
    add(database, 1)
    with pytest.raises(Conflict, match="things_pkey"):
        add(database, 1)
    add(database, 2)
    assert things(session) == [1, 2]


def poisoned_transfer() -> Any:
    return factories.prepared_transfer(coordinator_type="\0")


COPIES: dict[str, tuple[Any, Callable[..., Any]]] = {
    "a NUL": (transfers.insert, poisoned_transfer),
    "a kind that is too long": (
        transfers.insert,
        lambda: factories.prepared_transfer(coordinator_type="x" * 31),
    ),
    "an integer of 65 bits": (
        transfers.insert,
        lambda: factories.prepared_transfer(locked_amount=2**63),
    ),
    "a lone surrogate": (
        transfers.insert,
        lambda: factories.prepared_transfer(coordinator_type="\ud800"),
    ),
}


@pytest.mark.parametrize("poison", COPIES)
def test_a_poisonous_row_of_a_copy_is_to_blame_itself(
    database: Database, session: psycopg.Connection, poison: str
) -> None:
    write, make = COPIES[poison]
    process = process_of(database)
    good = factories.prepared_transfer(transfer_id=1, coordinator_request_id=1)
    with pytest.raises(Exception) as raised, database.transaction() as transaction:  # noqa: PT011
        write(transaction, [good, make()])
    assert not isinstance(raised.value, DatabaseUnavailable | Conflict)
    assert session.execute("SELECT count(*) FROM prepared_transfer").fetchone() == (0,)
    with database.transaction() as transaction:
        transfers.insert(transaction, [good])
        accounts.lock_and_load(transaction, [(1, 2)])
        journal.append(transaction, [])
    assert process_of(database) == process


# -- when the server goes, and comes back -------------------------------------------


@pytest.mark.usefixtures("table")
def test_a_session_ended_between_transactions(
    database: Database, session: psycopg.Connection
) -> None:
    assert session.execute(END, (process_of(database),)).fetchone() == (True,)
    with pytest.raises(DatabaseUnavailable):
        add(database, 1)
    add(database, 2)
    assert things(session) == [2]


@pytest.mark.usefixtures("table")
def test_a_session_ended_within_a_transaction(
    database: Database, session: psycopg.Connection
) -> None:
    process = process_of(database)

    def add_two() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO things VALUES (%s)", (1,))
            session.execute(END, (process,))
            transaction.execute("INSERT INTO things VALUES (%s)", (2,))

    with pytest.raises(DatabaseUnavailable):
        add_two()
    add(database, 3)
    assert things(session) == [3]


@pytest.mark.usefixtures("table")
def test_a_session_ended_before_its_commit(database: Database, session: psycopg.Connection) -> None:
    process = process_of(database)

    def add_one() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO things VALUES (%s)", (1,))
            session.execute(END, (process,))

    with pytest.raises(DatabaseUnavailable):
        add_one()
    add(database, 2)
    assert things(session) == [2]


@pytest.mark.usefixtures("table")
def test_a_session_ended_while_something_else_goes_wrong(
    database: Database, session: psycopg.Connection
) -> None:
    process = process_of(database)
    with undone(database):
        session.execute(END, (process,))
    add(database, 1)
    assert things(session) == [1]


@pytest.mark.usefixtures("table")
def test_a_session_ended_within_a_copy(database: Database, session: psycopg.Connection) -> None:
    process = process_of(database)

    def rows() -> Iterator[tuple[int]]:
        yield (1,)
        session.execute(END, (process,))
        for number in range(2, 100_000):
            yield (number,)

    with pytest.raises(DatabaseUnavailable), database.transaction() as transaction:
        transaction.copy("COPY things FROM STDIN (FORMAT BINARY)", ("int4",), rows())
    add(database, 1)
    assert things(session) == [1]


def test_a_url_that_makes_no_sense_is_no_matter_of_waiting(folder_url: str) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        connect(folder_url + "?TimeZone=x", application_name="x")


def test_a_server_that_does_not_answer() -> None:
    with socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        port = bound_but_not_listening.getsockname()[1]
        client = Database(f"postgresql+psycopg://x@127.0.0.1:{port}/x", application_name="x")
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable), client.transaction():
                pass


@pytest.mark.usefixtures("table")
def test_a_server_that_only_reads_is_left_and_asked_anew(
    database: Database, session: psycopg.Connection
) -> None:
    add(database, 1)
    process = process_of(database)
    name = sql.Identifier(session.info.dbname)
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
    session.execute(alter.format(name, sql.SQL("on")))
    try:
        session.execute(END, (process,))
        with pytest.raises(DatabaseUnavailable):
            add(database, 2)
        # It reads, but does not write; and each attempt asks whoever answers now.
        read_only_processes = {process_of(database)}
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="read-only"):
                add(database, 2)
            read_only_processes.add(process_of(database))
        assert len(read_only_processes) == 3
    finally:
        session.execute("SET default_transaction_read_only = off")
        session.execute(alter.format(name, sql.SQL("off")))
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        add(database, 2)
    add(database, 3)
    assert things(session) == [1, 3]


def test_a_database_without_tables_is_no_messages_fault(
    make_database: Callable[[], str],
) -> None:
    client = Database(make_database(), application_name="x")
    with closing(client), pytest.raises(DatabaseUnavailable, match="account"):  # noqa: SIM117
        with client.transaction() as transaction:
            accounts.lock_and_load(transaction, [(1, 2)])


def test_a_closed_client_opens_a_new_connection(database: Database) -> None:
    first = process_of(database)
    database.close()
    database.close()
    assert process_of(database) != first
