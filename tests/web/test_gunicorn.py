"""The application in gunicorn: forked workers, many threads, and a graceful end."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.web.asking import ask
from tests.web.serving import Server, served

BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'swpt_accounts web' AND wait_event_type = 'Lock'
"""

OpenAccount = Callable[..., None]


@pytest.fixture
def gunicorn(shard_url: str) -> Iterator[Server]:
    with served(shard_url, workers=2) as server:
        yield server


def test_forked_workers_do_not_share_connections(
    gunicorn: Server, open_account: OpenAccount
) -> None:
    for creditor_id in range(1, 101):
        open_account(1, creditor_id, config_data=f"of {creditor_id}")
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(
            lambda number: ask(gunicorn.url, f"/accounts/1/{number}/config"), range(1, 201)
        )
    for number, (status, _, body) in enumerate(answers, start=1):
        assert (status, body) == ((200, f"of {number}".encode()) if number <= 100 else (404, b""))


def test_what_was_begun_is_answered_before_the_server_ends(
    gunicorn: Server,
    administrator: psycopg.Connection,
    shard: psycopg.Connection,
    open_account: OpenAccount,
) -> None:
    open_account(1, 2, config_data="here")
    with ThreadPoolExecutor(1) as threads:
        with shard.transaction():
            shard.execute("LOCK TABLE account")
            answer = threads.submit(ask, gunicorn.url, "/accounts/1/2/config")
            while administrator.execute(BLOCKED).fetchone() == (0,):
                assert not answer.done()
            gunicorn.process.send_signal(signal.SIGTERM)
            gunicorn.await_line("Handling signal: term")
            assert not answer.done()
        assert answer.result(timeout=30).body == b"here"
    assert gunicorn.process.wait(timeout=30) == 0
