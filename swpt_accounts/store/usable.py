"""Whether batches can be written to a database, before messages are taken for it."""

from typing import Final

import psycopg

from swpt_accounts.store.transaction import DatabaseUnavailable, Transaction

_READ_ONLY: Final = "the database is read-only: a standby, or set to be so"
_LOOK: Final = """
    SELECT current_setting('transaction_read_only'), to_regclass('parked_message') IS NOT NULL
"""
_WRITE: Final = """
    INSERT INTO parked_message (kind, reason, body_sha256, body, parked_at)
    VALUES ('probe', 'never committed', '', '', now()) RETURNING id
"""
_REMOVE: Final = "DELETE FROM parked_message WHERE id = %s"


def require_writable(session: psycopg.Connection) -> None:
    """Raise `psycopg.errors.ReadOnlySqlTransaction` where nothing can be written."""
    row = session.execute("SHOW transaction_read_only").fetchone()
    if row is None or row[0] != "off":
        raise psycopg.errors.ReadOnlySqlTransaction(_READ_ONLY)


def require_usable(transaction: Transaction) -> None:
    """Raise `DatabaseUnavailable` unless a row can be written, and removed again."""
    [(is_read_only, has_tables)] = transaction.fetch(_LOOK, ())
    if is_read_only != "off":
        raise DatabaseUnavailable(_READ_ONLY)
    if not has_tables:
        raise DatabaseUnavailable(
            "it does not have the tables of this version; `swpt_accounts configure` makes them"
        )
    [(id_,)] = transaction.fetch(_WRITE, ())
    transaction.execute(_REMOVE, (id_,))
