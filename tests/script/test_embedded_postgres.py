"""A private PostgreSQL keeps its port and its rows, whatever happens to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from embedded import EmbeddedPostgres, processes
from embedded.ports import is_free

SCRIPT = Path(__file__).resolve().parents[2] / "script"


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    # Pytest's temporary folders are closed to other users, as a home directory may be.
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    server.start()
    yield server
    server.stop()
    assert processes.left_over(server.folder) == []


def connect(server: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True)


def test_the_data_survive_a_stop_and_a_kill(postgres: EmbeddedPostgres) -> None:
    url = postgres.url
    with connect(postgres) as session:
        session.execute("CREATE TABLE kept (word text)")
    for end in (postgres.stop, postgres.kill):
        with connect(postgres) as session:
            session.execute("INSERT INTO kept VALUES ('safe')")
        end()
        assert is_free(postgres.port)
        postgres.start()
        assert postgres.url == url
    with connect(postgres) as session:
        assert session.execute("SELECT count(*) FROM kept").fetchone() == (2,)


def test_its_role_makes_databases_but_is_no_superuser(postgres: EmbeddedPostgres) -> None:
    with connect(postgres) as session:
        session.execute("CREATE DATABASE another")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("CREATE ROLE another SUPERUSER")


def test_nobody_gets_in_without_the_password(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=postgres.port, user="postgres", passfile="none")


def test_a_server_whose_script_was_killed_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    program = (
        "import os, signal, sys; from embedded import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(sys.argv[1], durable=False); server.start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, folder],
        env={**os.environ, "PYTHONPATH": str(SCRIPT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    abandoned = processes.left_over(folder)
    assert abandoned

    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    try:
        assert server.pid not in abandoned
        with connect(server) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    assert processes.left_over(folder) == []
