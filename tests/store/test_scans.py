"""Who runs a scan, how far it has come, and how much there is to look at."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from swpt_accounts.ledger.values import MAX_INT64, MIN_INT64
from swpt_accounts.store import scans
from swpt_accounts.store.connection import connect
from swpt_accounts.store.pages import Key
from swpt_accounts.store.scans import Progress
from swpt_accounts.store.transaction import Transaction
from tests.factories import NOW

Client = Callable[[], psycopg.Connection]


@pytest.fixture
def client(folder_url: str, session: psycopg.Connection) -> Iterator[Client]:
    """Call it for one more connection."""
    assert not session.closed
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            connect(folder_url, application_name="scan", autocommit=True)
        )


@pytest.fixture
def transaction(session: psycopg.Connection) -> Transaction:
    return Transaction(session.cursor())


# -- who runs it --------------------------------------------------------------


def test_only_one_connection_can_run_a_scan_and_as_often_as_it_likes(client: Client) -> None:
    first, second = client(), client()
    assert scans.claim(first, 1)
    assert not scans.claim(second, 1)
    assert scans.claim(first, 1)


def test_scans_are_told_apart_by_their_numbers(client: Client) -> None:
    first, second = client(), client()
    assert scans.claim(first, 1)
    assert scans.claim(second, 2)
    assert not scans.claim(first, 2)


def test_scans_of_different_databases_know_nothing_of_each_other(
    client: Client, make_shard: Callable[[], str]
) -> None:
    ours = client()
    assert scans.claim(ours, 1)
    with connect(make_shard(), application_name="scan", autocommit=True) as theirs:
        assert scans.holder(theirs, 1) == "somebody who has just ended"
        assert scans.claim(theirs, 1)
        assert scans.holder(ours, 1).endswith(f"(server process {ours.info.backend_pid})")
        assert scans.holder(theirs, 1).endswith(f"(server process {theirs.info.backend_pid})")


def test_whoever_asks_is_told_who_runs_a_scan_and_since_when(client: Client) -> None:
    first, second = client(), client()
    assert scans.holder(second, 1) == "somebody who has just ended"
    assert scans.claim(first, 1)

    who = scans.holder(second, 1)

    started = first.execute(
        "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    ).fetchone()
    assert started is not None
    assert who.startswith("a client at ")
    assert f", since {started[0]:%Y-%m-%d %H:%M:%S}" in who
    assert who.endswith(f" (server process {first.info.backend_pid})")
    assert scans.holder(first, 2) == "somebody who has just ended"


@pytest.mark.parametrize("end", ["closed", "terminated"])
def test_a_scan_is_free_as_soon_as_the_connection_has_ended(
    client: Client, session: psycopg.Connection, end: str
) -> None:
    first, second = client(), client()
    assert scans.claim(first, 1)
    server_process = first.info.backend_pid
    if end == "closed":
        first.close()
    else:
        session.execute("SELECT pg_terminate_backend(%s, 30000)", [server_process])
        with suppress(psycopg.OperationalError):
            first.execute("SELECT 1")
    gone = session.execute(
        # Waits for the process, if it is still there.
        "SELECT pg_terminate_backend(%s, 30000) FROM pg_stat_activity WHERE pid = %s",
        [server_process, server_process],
    )
    gone.fetchall()
    assert scans.claim(second, 1)


def test_a_claim_outlives_transactions_that_fail(client: Client) -> None:
    first, second = client(), client()
    with suppress(ZeroDivisionError), first.transaction():
        assert scans.claim(first, 1)
        raise ZeroDivisionError
    assert not scans.claim(second, 1)


# -- how far it has come ----------------------------------------------------------


def test_a_scan_that_never_ran_is_at_the_beginning_of_its_first_pass(
    transaction: Transaction,
) -> None:
    assert scans.load(transaction, "scan", NOW) == Progress(began_at=NOW)
    assert scans.last_saved(transaction, "scan") is None


@pytest.mark.parametrize(
    "position", [(), (1, 2), (-1, 0, 1), (MIN_INT64, MAX_INT64), (MAX_INT64, MIN_INT64, 0)]
)
@pytest.mark.parametrize("count", [0, 1, MAX_INT64])
def test_progress_is_loaded_as_it_was_saved(
    transaction: Transaction, position: Key, count: int
) -> None:
    later = NOW + timedelta(days=1)
    first = Progress(NOW, (7, 8, 9), 1, 2)
    scans.save(transaction, "scan", first, NOW)
    assert scans.load(transaction, "scan", later) == first
    second = Progress(later, position, count, MAX_INT64 - count)
    scans.save(transaction, "scan", second, later)
    assert scans.load(transaction, "scan", NOW) == second
    assert scans.last_saved(transaction, "scan") == later


def test_each_scan_has_a_progress_of_its_own(transaction: Transaction) -> None:
    for number, name in enumerate(("scan_accounts", "scan_prepared_transfers")):
        scans.save(transaction, name, Progress(NOW, (number,)), NOW)
    assert scans.load(transaction, "scan_accounts", NOW).position == (0,)
    assert scans.load(transaction, "scan_prepared_transfers", NOW).position == (1,)


def test_a_scan_was_last_at_work_at_the_moment_that_its_clock_said(
    transaction: Transaction,
) -> None:
    for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), NOW):
        scans.save(transaction, "scan", Progress(NOW), moment)
        assert scans.last_saved(transaction, "scan") == moment


# -- how much there is -------------------------------------------------------------


def test_the_database_knows_about_how_many_rows_there_are(
    session: psycopg.Connection, transaction: Transaction
) -> None:
    session.execute(
        "INSERT INTO registered_balance_change"
        " SELECT 1, 2, n, now() FROM generate_series(1, 12345) n"
    )
    session.execute("ANALYZE registered_balance_change")
    table = "registered_balance_change"
    assert scans.estimate_rows_count(transaction, table) == 12345


def test_of_a_table_that_was_never_analyzed_the_size_tells_how_many_rows_it_has(
    make_shard: Callable[[], str],
) -> None:
    with connect(make_shard(), application_name="scan", autocommit=True) as new:
        statements = Transaction(new.cursor())
        new.execute("CREATE TABLE untouched (n text) WITH (autovacuum_enabled = off)")
        reltuples = "SELECT reltuples FROM pg_class WHERE relname = 'untouched'"
        assert new.execute(reltuples).fetchone() == (-1,)
        assert scans.estimate_rows_count(statements, "untouched") == 0
        new.execute("INSERT INTO untouched SELECT repeat('x', 400) FROM generate_series(1, 1000)")
        assert new.execute(reltuples).fetchone() == (-1,)
        assert 500 < scans.estimate_rows_count(statements, "untouched") < 2000
