"""A database server that is frozen: its connections stay open, and nothing comes from them."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.store import connection, outbox
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database, DatabaseUnavailable
from swpt_accounts.wiring import utc_now
from tests.factories import every_event, pending_balance_change
from tests.workers.cable import Cable, cable
from tests.workers.running import make_consumption, make_flusher, running
from tests.workers.waiting import eventually
from tests.workers.wire import Wire


@pytest.fixture
def frozen(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cable, str]]:
    """A cable to the server, and the URL of those at its near end, who are not very patient."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS_MAX", 1.0)
    with cable(postgres_url) as (laid, url):
        separator = "&" if "?" in url else "?"
        yield laid, f"{url}{separator}connect_timeout=2"


def test_an_answer_is_waited_for_only_so_long(frozen: tuple[Cable, str]) -> None:
    to_database, url = frozen
    with connect(url, application_name="tests", autocommit=True) as session:
        session.execute("SELECT pg_sleep(0.5)")
        assert list(session.notifies(timeout=0.3)) == []
        with to_database.held(), pytest.raises(psycopg.OperationalError, match="for 1 seconds"):
            session.execute("SELECT 1")
        assert session.closed


def test_one_who_is_more_patient_gets_the_answer(frozen: tuple[Cable, str]) -> None:
    _, url = frozen
    with connect(url, application_name="tests", answer_seconds=20) as session:
        assert session.execute("SELECT 1 FROM pg_sleep(1.5)").fetchone() == (1,)


def test_a_transaction_without_an_answer_is_given_up_and_the_next_one_is_not(
    frozen: tuple[Cable, str],
) -> None:
    to_database, url = frozen
    database = Database(url, application_name="tests")
    with to_database.held(), pytest.raises(DatabaseUnavailable), database.transaction():
        pass  # Not even a connection is made.
    with database.transaction() as transaction:
        transaction.fetch("SELECT 1", ())
        with to_database.held(), pytest.raises(psycopg.OperationalError, match="not answered"):
            transaction.fetch("SELECT 1", ())
    with database.transaction() as transaction:
        assert transaction.fetch("SELECT 1", ()) == [(1,)]
    database.close()


def test_a_consumer_says_so_goes_on_later_and_is_stopped_meanwhile(
    frozen: tuple[Cable, str],
    broker_url: str,
    queue: str,
    wire: Wire,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    to_database, url = frozen

    def applied_count() -> int:
        row = shard.execute("SELECT coalesce(sum(principal), 0)::int FROM account").fetchone()
        assert row is not None
        return int(row[0])

    def pay(*numbers: int) -> None:
        wire.send(*(pending_balance_change(change_id=n, principal_delta=1) for n in numbers))

    with running(make_consumption(url, broker_url, queue)):
        pay(1)
        eventually("one is applied", lambda: applied_count() == 1)
        with to_database.held():
            pay(2, 3)
            eventually("it says so", lambda: "the database cannot be used" in caplog.text)
        eventually("the others are, too", lambda: applied_count() == 3)
    with ExitStack() as after_the_stop, running(make_consumption(url, broker_url, queue)):
        pay(4)
        eventually("it is at work", lambda: applied_count() == 4)
        after_the_stop.enter_context(to_database.held())
        pay(5)
        eventually("it has taken that", lambda: wire.ready_count(queue) == 0)
    eventually("what it had is in the queue again", lambda: wire.ready_count(queue) == 1)
    assert applied_count() == 4


def test_a_flusher_says_so_goes_on_later_and_is_stopped_meanwhile(
    frozen: tuple[Cable, str],
    postgres_url: str,
    broker_url: str,
    queue: str,  # With it, all exchanges exist.
    wire: Wire,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    to_database, url = frozen
    database = Database(postgres_url, application_name="tests: announce")
    wire.collect_all()

    def announce() -> None:
        with database.transaction() as transaction:
            outbox.append(transaction, map(encode, every_event()), utc_now())

    def left_count() -> int:
        [(count,)] = shard.execute("SELECT count(*) FROM outbox").fetchall()
        return int(count)

    with ExitStack() as after_the_stop, running(make_flusher(url, broker_url)):
        announce()
        eventually("all is sent", lambda: left_count() == 0)
        with to_database.held():
            announce()
            eventually("it says so", lambda: "has not answered" in caplog.text)
        eventually("the others are, too", lambda: left_count() == 0)
        after_the_stop.enter_context(to_database.held())
    database.close()
