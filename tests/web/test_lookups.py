"""Answers go on when the database comes and goes, and never change anything there."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from swpt_accounts.store import lookups as store_lookups
from swpt_accounts.store.lookups import AccountLookups
from swpt_accounts.store.transaction import DatabaseUnavailable
from tests.workers.cable import cable

OpenAccount = Callable[..., None]
T = TypeVar("T")

OF_THE_API = "FROM pg_stat_activity WHERE application_name = 'swpt_accounts web'"


class Clock:
    """A clock that only moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Asking:
    """Asks from threads, while an event loop in another one finds the answers."""

    def __init__(self, url: str, *, connections_max: int, clock: Clock) -> None:
        self.lookups = AccountLookups(url, connections_max=connections_max, clock=clock)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    def is_reachable(self, debtor_id: int, creditor_id: int) -> bool:
        return self.run(self.lookups.is_reachable(debtor_id, creditor_id))

    def config_data(self, debtor_id: int, creditor_id: int) -> str | None:
        return self.run(self.lookups.config_data(debtor_id, creditor_id))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        self.run(self.lookups.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


@contextmanager
def asking(url: str, clock: Clock, *, connections_max: int = 3) -> Iterator[Asking]:
    asking = Asking(url, connections_max=connections_max, clock=clock)
    try:
        yield asking
    finally:
        asking.close()


@pytest.fixture
def lookups(shard_url: str, clock: Clock) -> Iterator[Asking]:
    with asking(shard_url, clock) as lookups:
        yield lookups


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


def test_a_standby_can_answer(shard_url: str, open_account: OpenAccount, clock: Clock) -> None:
    open_account(1, 2, config_data="here")
    options = quote("-c default_transaction_read_only=on")
    with asking(f"{shard_url}?options={options}", clock, connections_max=1) as lookups:
        assert lookups.is_reachable(1, 2)
        assert lookups.config_data(1, 2) == "here"


def test_connections_that_a_restart_has_broken_are_replaced_unnoticed(
    lookups: Asking, shard: psycopg.Connection, open_account: OpenAccount
) -> None:
    open_account(1, 2)
    for _ in range(3):
        with ThreadPoolExecutor(3) as threads:
            assert all(threads.map(lambda _: lookups.is_reachable(1, 2), range(30)))
        shard.execute(f"SELECT pg_terminate_backend(pid, 10000) {OF_THE_API}")
        assert lookups.is_reachable(1, 2)


def test_an_absent_database_is_answered_for_and_found_again(
    lookups: Asking,
    clock: Clock,
    administrator: psycopg.Connection,
    shard_url: str,
    open_account: OpenAccount,
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_account(1, 2, config_data="here")
    assert lookups.config_data(1, 2) == "here"

    with closed_to_everybody(administrator, shard_url), caplog.at_level(logging.WARNING):
        for _ in range(50):
            with pytest.raises(DatabaseUnavailable):
                lookups.config_data(1, 2)
            with pytest.raises(DatabaseUnavailable):
                lookups.is_reachable(1, 2)
            assert lookups.is_reachable(1, 0)
    clock.now += 10
    assert lookups.config_data(1, 2) == "here"
    assert caplog.text.count("The database is away, ") == 1
    assert caplog.text.count("The database is back, ") == 1


def test_while_the_database_is_away_hardly_anybody_waits_for_it(clock: Clock) -> None:
    with asking("postgresql+psycopg://x@127.0.0.1:1/x", clock) as lookups:
        with pytest.raises(DatabaseUnavailable, match="connection failed"):
            lookups.is_reachable(1, 2)
        for _ in range(1000):
            with pytest.raises(DatabaseUnavailable, match="a moment ago"):
                lookups.is_reachable(1, 2)
        clock.now += 1
        with pytest.raises(DatabaseUnavailable, match="connection failed"):
            lookups.is_reachable(1, 2)


def test_a_frozen_database_keeps_nobody_waiting_and_is_found_again(
    shard_url: str, open_account: OpenAccount, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lookups, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(store_lookups, "_PAUSE_SECONDS", 0.0)
    open_account(1, 2)
    with cable(shard_url) as (to_database, url), asking(url, clock) as lookups:
        assert lookups.is_reachable(1, 2)
        with to_database.held(), pytest.raises(DatabaseUnavailable):
            lookups.is_reachable(1, 2)
        assert lookups.is_reachable(1, 2)


def test_a_question_that_takes_too_long_is_not_repeated(
    lookups: Asking, shard: psycopg.Connection
) -> None:
    with shard.transaction():
        shard.execute("LOCK TABLE account")
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            lookups.is_reachable(1, 2)
        with pytest.raises(DatabaseUnavailable, match="a moment ago"):
            lookups.is_reachable(1, 2)


def test_a_database_without_tables_is_no_answer(postgres_server_url: str, clock: Clock) -> None:
    with (
        asking(postgres_server_url, clock) as lookups,
        pytest.raises(DatabaseUnavailable, match="account"),
    ):
        lookups.is_reachable(1, 2)


def test_what_is_asked_meanwhile_is_looked_up_by_one_query(
    shard_url: str, shard: psycopg.Connection, open_account: OpenAccount, clock: Clock
) -> None:
    for creditor_id in range(1, 21):
        open_account(1, creditor_id, config_data=f"of {creditor_id}")

    async def ask_many(lookups: Asking) -> list[str | None]:
        numbers = [*range(1, 41)] * 2
        return await asyncio.gather(*(lookups.config_data(1, number) for number in numbers))

    with asking(shard_url, clock, connections_max=1) as asked:
        assert asked.config_data(1, 1) == "of 1"
        found = asked.run(ask_many(asked.lookups))
        [(query, count)] = shard.execute(
            "SELECT query, (SELECT count(*) FROM pg_stat_activity"
            f" WHERE application_name = 'swpt_accounts web') {OF_THE_API}"
        ).fetchall()
    assert found == [f"of {n}" if n <= 20 else None for n in range(1, 41)] * 2
    assert "unnest" in query
    assert count == 1


def test_a_question_that_comes_right_after_an_answer_is_answered(
    shard_url: str, open_account: OpenAccount, clock: Clock
) -> None:
    open_account(1, 2, config_data="here")

    async def ask_again_and_again(lookups: AccountLookups) -> list[str | None]:
        answers = []
        for _ in range(20):
            waiting = asyncio.create_task(lookups.config_data(1, 2))
            while not waiting.done():
                # Asked in each of the event loop's turns, also in the one after the answer.
                answers.append(asyncio.create_task(lookups.config_data(1, 2)))
                await asyncio.sleep(0)
        return await asyncio.wait_for(asyncio.gather(*answers), 20)

    with asking(shard_url, clock, connections_max=1) as asked:
        assert set(asked.run(ask_again_and_again(asked.lookups))) == {"here"}


def test_a_defect_is_no_silence(
    lookups: Asking, open_account: OpenAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*_arguments: object) -> None:
        raise ZeroDivisionError

    open_account(1, 2)
    with monkeypatch.context() as patched:
        patched.setattr(AccountLookups, "_find", break_down)
        for _ in range(10):
            with pytest.raises(DatabaseUnavailable):
                lookups.is_reachable(1, 2)
    assert lookups.is_reachable(1, 2)


def test_whoever_goes_away_leaves_the_others_their_answer(
    lookups: Asking, shard: psycopg.Connection, open_account: OpenAccount
) -> None:
    open_account(1, 2, config_data="here")

    async def ask_and_leave() -> str | None:
        leaving = asyncio.create_task(lookups.lookups.config_data(1, 2))
        staying = asyncio.create_task(lookups.lookups.config_data(1, 2))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert lookups.run(ask_and_leave()) == "here"


def test_many_at_once_share_few_connections(
    lookups: Asking, shard: psycopg.Connection, open_account: OpenAccount
) -> None:
    for creditor_id in range(1, 41):
        open_account(1, creditor_id, config_data=f"of {creditor_id}")
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda number: lookups.config_data(1, number), range(1, 501)))
    assert found == [f"of {number}" if number <= 40 else None for number in range(1, 501)]
    [(count,)] = shard.execute(f"SELECT count(*) {OF_THE_API}").fetchall()
    assert 1 <= count <= 3


def test_sessions_run_in_utc_and_do_not_run_for_long(
    lookups: Asking, open_account: OpenAccount
) -> None:
    open_account(1, 2)
    assert lookups.is_reachable(1, 2)
    for setting, value in {"statement_timeout": "4s", "TimeZone": "UTC"}.items():
        [connection] = lookups.lookups._idle
        cursor = lookups.run(connection.execute(f"SHOW {setting}".encode()))
        assert lookups.run(cursor.fetchone()) == (value,)
