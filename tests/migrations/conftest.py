"""Databases without any tables, for tests of how tables come to be."""

import os
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from psycopg import sql

from swpt_accounts.store.connection import connect


@pytest.fixture
def make_database() -> Iterator[Callable[[], str]]:
    """Call it for the URL of a new, empty database; it is dropped after the test."""
    server_url = os.environ.get("POSTGRES_URL")
    if not server_url:
        if os.environ.get("CI") == "true":
            pytest.fail("POSTGRES_URL is not set.")
        pytest.skip("POSTGRES_URL is not set.")
    names: list[str] = []
    with connect(server_url, application_name="tests", autocommit=True) as session:

        def make() -> str:
            name = f"test_migrations_{uuid.uuid4().hex}"
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            names.append(name)
            return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))

        yield make
        for name in names:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(make_database: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return make_database()
