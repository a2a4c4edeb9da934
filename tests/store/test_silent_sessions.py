"""Sessions whose process is frozen: the database server takes from them what they hold."""

import select
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from swpt_accounts.store import connection
from swpt_accounts.store.connection import HOLDS_LOCKS, connect
from tests.workers.waiting import eventually

LOCK = 4711


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same options, but with shorter times."""
    options = connection.SESSION_OPTIONS.replace("=10s", "=500ms")
    assert options.count("=500ms") == 2
    monkeypatch.setattr(connection, "SESSION_OPTIONS", options)


@contextmanager
def session(
    url: str, options: str = "", *, autocommit: bool = True
) -> Iterator[psycopg.Connection]:
    with connect(
        url, application_name="tests", autocommit=autocommit, session_options=options
    ) as made:
        made.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield made


def is_free(url: str) -> bool:
    with connect(url, application_name="tests", autocommit=True) as other:
        row = other.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        return row == (True,)


@pytest.mark.usefixtures("_impatient")
def test_every_session_is_closed_that_is_silent_within_a_transaction(postgres_url: str) -> None:
    with session(postgres_url, autocommit=False) as silent:
        eventually("the lock is free", lambda: is_free(postgres_url))
        with pytest.raises(errors.IdleInTransactionSessionTimeout):
            silent.execute("SELECT 1")


def test_a_session_that_holds_locks_is_closed_when_it_is_silent(postgres_url: str) -> None:
    options = HOLDS_LOCKS.replace("=10s", "=500ms")
    with session(postgres_url, options) as silent:
        eventually("the lock is free", lambda: is_free(postgres_url))
        with pytest.raises(errors.IdleSessionTimeout):
            silent.execute("SELECT 1")


@pytest.mark.usefixtures("_impatient")
def test_a_session_is_closed_that_does_not_read_what_it_has_asked_for(postgres_url: str) -> None:
    if conninfo_to_dict(postgres_url.replace("+psycopg", "")).get("host", "/")[0] == "/":
        pytest.skip("over a local socket nobody notices")
    with session(postgres_url) as silent:
        silent.pgconn.send_query(b"SELECT repeat('x', 100000) FROM generate_series(1, 1000)")
        silent.pgconn.flush()
        assert select.select([silent.fileno()], [], [], 60)[0]
        eventually("the lock is free", lambda: is_free(postgres_url))
        silent.close()
