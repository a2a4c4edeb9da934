"""Databases that several tests use."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

REFUSED = "refused"
"""The constraint on accounts that a test may add, to have the database refuse one of them."""

_CLEAN = f"""
    DELETE FROM account;
    DELETE FROM prepared_transfer;
    DELETE FROM registered_balance_change;
    DELETE FROM outbox;
    DELETE FROM undelivered_message;
    DELETE FROM journal;
    DELETE FROM scan;
    DELETE FROM waiting_message;
    DELETE FROM parked_message;
    ALTER TABLE account DROP CONSTRAINT IF EXISTS {REFUSED};
    DROP FUNCTION IF EXISTS refuse_at_commit, be_full, skip_update CASCADE;
"""


@contextmanager
def temporary_database(
    administrator: psycopg.Connection, server_url: str, template: str = "template1"
) -> Iterator[str]:
    """Make a database like the template; give its URL, and drop it at the end."""
    name = f"test_{uuid.uuid4().hex}"
    make, drop = (
        sql.SQL(s) for s in ("CREATE DATABASE {} TEMPLATE {}", "DROP DATABASE {} (FORCE)")
    )
    administrator.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    administrator.execute(drop.format(sql.Identifier(name)))


def clean(session: psycopg.Connection) -> None:
    """Remove all that an earlier test may have left in a shard's database."""
    session.execute(_CLEAN)  # type: ignore[arg-type]
