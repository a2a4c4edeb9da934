"""Databases on a real PostgreSQL: migrated once, then cloned for each test that asks for one."""

import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from psycopg import Connection, sql
from sqlalchemy.engine import make_url

from swpt_accounts.store.connection import connect
from swpt_accounts.store.schema import upgrade


@pytest.fixture(scope="session")
def postgres_server_url() -> str:
    """The server's URL, with a database that may be connected to but is nobody's to change."""
    return url_or_skip("POSTGRES_URL")


@pytest.fixture(scope="session")
def administrator(postgres_server_url: str) -> Iterator[Connection]:
    """A connection that makes and drops databases; its role needs the right to do so."""
    with connect(
        postgres_server_url, application_name="tests: databases", autocommit=True
    ) as connection:
        yield connection


@pytest.fixture(scope="session")
def template_database(administrator: Connection, postgres_server_url: str) -> Iterator[str]:
    """The name of a database with all tables and no rows. Nobody stays connected to it."""
    name = _create(administrator, "template")
    upgrade(_url_of(postgres_server_url, name))
    yield name
    _drop(administrator, name)


@pytest.fixture
def make_database(
    administrator: Connection, postgres_server_url: str
) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a new, empty database; it is dropped after the test."""
    names: list[str] = []

    def make() -> str:
        names.append(_create(administrator, "empty"))
        return _url_of(postgres_server_url, names[-1])

    yield make
    for name in names:
        _drop(administrator, name)


@pytest.fixture
def make_shard(
    administrator: Connection, postgres_server_url: str, template_database: str
) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a new database with all tables and no rows, once for each shard."""
    names: list[str] = []

    def make() -> str:
        names.append(_create(administrator, "shard", template=template_database))
        return _url_of(postgres_server_url, names[-1])

    yield make
    for name in names:
        _drop(administrator, name)


@pytest.fixture
def postgres_url(make_shard: Callable[[], str]) -> str:
    """A database with all tables and no rows, as POSTGRES_URL would name it."""
    return make_shard()


def url_or_skip(variable: str) -> str:
    """What the variable names. A missing server skips the test on a laptop, and fails it in CI."""
    url = os.environ.get(variable, "")
    if url:
        return url
    reason = f"{variable} is not set; script/test sets it, and script/test --servers says to what."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _create(administrator: Connection, purpose: str, template: str = "template1") -> str:
    name = f"test_{purpose}_{uuid.uuid4().hex}"
    administrator.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
    )
    return name


def _drop(administrator: Connection, name: str) -> None:
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _url_of(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)
