"""A shard's database, and what accounts there are in it."""

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from swpt_accounts.store.connection import connect

INSERT_ACCOUNT = """
INSERT INTO account (
    debtor_id, creditor_id, creation_date, last_change_ts, last_transfer_id, last_update_sent_ts,
    config_flags, config_data, is_deleted
)
VALUES (%s, %s, '2026-01-01', now(), 0, now(), %s, %s, %s)
"""


@pytest.fixture(scope="session")
def shard_url(
    administrator: psycopg.Connection, postgres_server_url: str, template_database: str
) -> Iterator[str]:
    """The URL of a database with all tables: one for all tests, since they only read it."""
    name = f"test_web_{uuid.uuid4().hex}"
    administrator.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template_database)
        )
    )
    yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def shard(shard_url: str) -> Iterator[psycopg.Connection]:
    """A session in a shard without accounts."""
    with connect(shard_url, application_name="tests", autocommit=True) as session:
        session.execute("TRUNCATE account")
        yield session


@pytest.fixture
def open_account(shard: psycopg.Connection) -> Callable[..., None]:
    def open_account(
        debtor_id: int,
        creditor_id: int,
        *,
        config_data: str = "",
        config_flags: int = 0,
        is_deleted: bool = False,
    ) -> None:
        shard.execute(
            INSERT_ACCOUNT, [debtor_id, creditor_id, config_flags, config_data, is_deleted]
        )

    return open_account
