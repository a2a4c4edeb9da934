"""One database for the folder, emptied for each test: for the store, and for an observer."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from swpt_accounts.store.connection import connect
from swpt_accounts.store.models import db
from swpt_accounts.store.transaction import Database


@pytest.fixture(scope="session")
def folder_url(
    administrator: psycopg.Connection, postgres_server_url: str, template_database: str
) -> Iterator[str]:
    """The URL of a database with all tables."""
    name = f"test_store_{uuid.uuid4().hex}"
    database = sql.Identifier(name)
    template = sql.Identifier(template_database)
    administrator.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, template))
    yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture
def session(folder_url: str) -> Iterator[psycopg.Connection]:
    """A session of an observer, which sees only what has been committed; no table has any rows."""
    with connect(folder_url, application_name="observer", autocommit=True) as connection:
        for table in db.metadata.tables:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        yield connection


@pytest.fixture
def make_client(
    folder_url: str, session: psycopg.Connection
) -> Iterator[Callable[[str], Database]]:
    """Call it with a name for one more client of the database."""
    with ExitStack() as stack:

        def make(name: str) -> Database:
            client = Database(folder_url, application_name=name)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def database(make_client: Callable[[str], Database]) -> Database:
    """A client of the database."""
    return make_client("client")
