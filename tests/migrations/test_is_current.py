"""Waiting for a schema that somebody else upgrades."""

import logging
import socket
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest

from swpt_accounts.store import schema
from swpt_accounts.store.connection import connect


def read_only(url: str) -> str:
    return f"{url}?options={quote('-c default_transaction_read_only=on')}"


@pytest.fixture
def nobody_there() -> Iterator[str]:
    """The URL of a database server that does not exist."""
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        yield f"postgresql+psycopg://127.0.0.1:{bound_but_not_listening.getsockname()[1]}/x"


def test_an_empty_database_is_not_current(database: str) -> None:
    assert not schema.is_current(database)


def test_a_read_only_session_suffices_to_look(database: str) -> None:
    with (
        connect(read_only(database), application_name="tests", autocommit=True) as session,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        session.execute("CREATE TABLE x (id int)")

    assert not schema.is_current(read_only(database))
    schema.upgrade(database)
    assert schema.is_current(read_only(database))
    assert schema.await_current(read_only(database))


def test_looking_does_not_wait_for_a_running_upgrade(database: str) -> None:
    with connect(database, application_name="tests") as upgrading:
        upgrading.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        upgrading.execute("SELECT pg_advisory_xact_lock(7277816997830721647)")
        assert not schema.is_current(database)
        upgrading.rollback()


def test_looking_does_not_wait_for_a_lock_that_somebody_has_forgotten(database: str) -> None:
    schema.upgrade(database)
    with connect(database, application_name="tests") as forgotten:
        forgotten.execute("LOCK TABLE alembic_version")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            schema.is_current(database)


def test_waiting_ends_when_the_schema_has_become_current(database: str) -> None:
    pauses: list[float] = []

    def upgrade_in_the_second_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            schema.upgrade(database)

    assert schema.await_current(database, wait=upgrade_in_the_second_pause)
    assert pauses == [10.0, 10.0]


def test_an_absent_database_is_waited_for(
    nobody_there: str, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []

    def give_up_in_the_third_pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 3

    with caplog.at_level(logging.WARNING):
        assert not schema.await_current(nobody_there, wait=give_up_in_the_third_pause)
    assert len(pauses) == 3
    assert caplog.text.count("cannot be reached") == 1
