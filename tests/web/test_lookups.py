"""Answers go on when the database comes and goes, and never change anything there."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.lookups import AccountLookups
from swpt_accounts.store.transaction import DatabaseUnavailable
from swpt_accounts.web.fetch_api import create_app
from tests.web.asking import ask, served

OpenAccount = Callable[..., None]

OF_THE_API = "FROM pg_stat_activity WHERE application_name = 'swpt_accounts web'"


class Clock:
    """A clock that only moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lookups(shard_url: str, clock: Clock) -> Iterator[AccountLookups]:
    lookups = AccountLookups(shard_url, connections_max=3, clock=clock)
    yield lookups
    lookups.close()


@contextmanager
def closed_to_everybody(administrator: psycopg.Connection, url: str) -> Iterator[None]:
    """Break all connections to a database, and let nobody in."""
    name = make_url(url).database
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    administrator.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
    administrator.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [name]
    )
    try:
        yield
    finally:
        administrator.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def test_a_standby_can_answer(shard_url: str, open_account: OpenAccount) -> None:
    open_account(1, 2, config_data="here")
    options = quote("-c default_transaction_read_only=on")
    lookups = AccountLookups(f"{shard_url}?options={options}", connections_max=1)
    assert lookups.is_reachable(1, 2)
    assert lookups.config_data(1, 2) == "here"
    lookups.close()


def test_connections_that_a_restart_has_broken_are_replaced_unnoticed(
    lookups: AccountLookups, shard: psycopg.Connection, open_account: OpenAccount
) -> None:
    open_account(1, 2)
    for _ in range(3):
        with ThreadPoolExecutor(3) as threads:
            assert all(threads.map(lambda _: lookups.is_reachable(1, 2), range(30)))
        shard.execute(f"SELECT pg_terminate_backend(pid, 10000) {OF_THE_API}")
        assert lookups.is_reachable(1, 2)


def test_an_absent_database_is_answered_for_and_found_again(
    lookups: AccountLookups,
    clock: Clock,
    administrator: psycopg.Connection,
    shard_url: str,
    open_account: OpenAccount,
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_account(1, 2, config_data="here")
    with served(create_app(lookups, Realm.parse("#"))) as url:
        assert ask(url, "/accounts/1/2/config").body == b"here"

        with closed_to_everybody(administrator, shard_url), caplog.at_level(logging.WARNING):
            for question in ("config", "reachable"):
                for _ in range(50):
                    status, headers, body = ask(url, f"/accounts/1/2/{question}")
                    assert (status, headers["Cache-Control"]) == (503, "no-store")
                    assert body == b"The database is away.\n"
                assert ask(url, "/accounts/healthz").status == 200
            assert ask(url, "/accounts/1/0/reachable").status == 204

        answered = None
        while answered is None or answered.status == 503:
            clock.now += 10  # Each failing attempt waits for a connection.
            answered = ask(url, "/accounts/1/2/config")
        assert answered.body == b"here"
    assert caplog.text.count("The database is away, ") == 1


def test_while_the_database_is_away_hardly_anybody_waits_for_it(clock: Clock) -> None:
    lookups = AccountLookups("postgresql+psycopg://x@127.0.0.1:1/x", connections_max=1, clock=clock)
    with pytest.raises(DatabaseUnavailable, match="couldn't get a connection"):
        lookups.is_reachable(1, 2)
    for _ in range(1000):
        with pytest.raises(DatabaseUnavailable, match="a moment ago"):
            lookups.is_reachable(1, 2)
    clock.now += 1
    with pytest.raises(DatabaseUnavailable, match="couldn't get a connection"):
        lookups.is_reachable(1, 2)
    lookups.close()


def test_a_question_that_takes_too_long_is_not_repeated(
    lookups: AccountLookups, shard: psycopg.Connection
) -> None:
    with shard.transaction():
        shard.execute("LOCK TABLE account")
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            lookups.is_reachable(1, 2)
        with pytest.raises(DatabaseUnavailable, match="a moment ago"):
            lookups.is_reachable(1, 2)


def test_a_database_without_tables_is_no_answer(postgres_server_url: str, clock: Clock) -> None:
    lookups = AccountLookups(postgres_server_url, connections_max=1, clock=clock)
    with pytest.raises(DatabaseUnavailable, match="account"):
        lookups.is_reachable(1, 2)
    lookups.close()


def test_many_at_once_share_few_connections(
    lookups: AccountLookups, shard: psycopg.Connection, open_account: OpenAccount
) -> None:
    for creditor_id in range(1, 41):
        open_account(1, creditor_id, config_data=f"of {creditor_id}")
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda number: lookups.config_data(1, number), range(1, 501)))
    assert found == [f"of {number}" if number <= 40 else None for number in range(1, 501)]
    [(count,)] = shard.execute(f"SELECT count(*) {OF_THE_API}").fetchall()
    assert 1 <= count <= 3


def test_sessions_run_in_utc_and_do_not_run_for_long(
    lookups: AccountLookups, open_account: OpenAccount
) -> None:
    open_account(1, 2)
    assert lookups.is_reachable(1, 2)
    assert lookups._pool is not None
    with lookups._pool.connection() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("4s",)
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
