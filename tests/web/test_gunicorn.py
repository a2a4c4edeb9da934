"""The application in gunicorn: forked workers, many threads, and a graceful end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.web.asking import ask

PROJECT = Path(__file__).parents[2]
COMMAND = ["-m", "gunicorn", "--preload", "--workers", "2", "--threads", "3", "--no-control-socket"]
BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'swpt_accounts web' AND wait_event_type = 'Lock'
"""

OpenAccount = Callable[..., None]


class Gunicorn:
    def __init__(self, shard_url: str) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *COMMAND,
                    *("--bind", f"fd://{listener.fileno()}"),
                    "tests.web.preloaded:app",
                ],
                cwd=PROJECT,
                env=os.environ | {"SHARD_URL": shard_url},
                pass_fds=[listener.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        self.await_line("Booting worker")

    def await_line(self, words: str) -> None:
        assert self.process.stderr
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if words in line:
                return
        raise AssertionError(f"gunicorn ended without saying {words!r}: {''.join(seen)}")


@pytest.fixture
def gunicorn(shard_url: str) -> Iterator[Gunicorn]:
    gunicorn = Gunicorn(shard_url)
    yield gunicorn
    gunicorn.process.kill()
    gunicorn.process.communicate()


def test_forked_workers_do_not_share_connections(
    gunicorn: Gunicorn, open_account: OpenAccount
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
    gunicorn: Gunicorn,
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
