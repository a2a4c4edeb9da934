"""Where scans stand: who runs one, how far it has come, how much there is to look at."""

from datetime import datetime
from typing import Final

import msgspec
import psycopg

from swpt_accounts.store.pages import Key
from swpt_accounts.store.transaction import Transaction

# The first half of the keys of advisory locks; the second tells which scan.
_SCAN_LOCKS: Final = 0x53_57_50_03

_CLAIM: Final = "SELECT pg_try_advisory_lock(%s, %s)"
_HOLDER: Final = """
    SELECT a.pid, coalesce(host(a.client_addr), 'a local socket'), a.backend_start
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objid = %s AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TOUCH: Final = "SELECT 1"
_LOAD: Final = """
    SELECT position, rows_count, previous_rows_count, began_at FROM scan WHERE name = %s
"""
_SAVE: Final = """
    INSERT INTO scan (name, position, rows_count, previous_rows_count, began_at, saved_at)
    VALUES (%s, %s::bigint[], %s, %s, %s, %s)
    ON CONFLICT (name) DO UPDATE
    SET position = excluded.position,
        rows_count = excluded.rows_count,
        previous_rows_count = excluded.previous_rows_count,
        began_at = excluded.began_at,
        saved_at = excluded.saved_at
"""
_LAST_SAVED: Final = "SELECT saved_at FROM scan WHERE name = %s"
# Of a table that was never analyzed, only the size is known.
_ESTIMATE: Final = """
    SELECT CASE
        WHEN reltuples >= 0 THEN reltuples::bigint
        ELSE %s * (pg_relation_size(oid) / current_setting('block_size')::bigint)
    END
    FROM pg_class WHERE oid = %s::regclass
"""
_ROWS_IN_BLOCK: Final = 20


class Progress(msgspec.Struct):
    """One pass of a scan: it begins with an empty position, and ends when no rows are left."""

    began_at: datetime
    position: Key = ()
    rows_count: int = 0
    previous_rows_count: int = 0


def claim(connection: psycopg.Connection, number: int) -> bool:
    """Become the one who runs this scan, for as long as the connection lives, if nobody else is."""
    row = connection.execute(_CLAIM, (_SCAN_LOCKS, number)).fetchone()
    return row is not None and bool(row[0])


def holder(connection: psycopg.Connection, number: int) -> str:
    """Tell who runs this scan."""
    row = connection.execute(_HOLDER, (_SCAN_LOCKS, number)).fetchone()
    if row is None:
        return "somebody who has just ended"
    process_id, address, since = row
    return f"a client at {address}, since {since:%Y-%m-%d %H:%M:%S} (server process {process_id})"


def touch(transaction: Transaction) -> None:
    """Show the server that the session is alive, so that it keeps its claim."""
    transaction.fetch(_TOUCH, ())


def load(transaction: Transaction, name: str, now: datetime) -> Progress:
    """Return how far the scan has come, or the beginning of its first pass."""
    rows = transaction.fetch(_LOAD, (name,))
    if not rows:
        return Progress(began_at=now)
    position, rows_count, previous_rows_count, began_at = rows[0]
    return Progress(began_at, tuple(position), rows_count, previous_rows_count)


def last_saved(transaction: Transaction, name: str) -> datetime | None:
    """Return when the scan was last at work, or None when it never was."""
    rows = transaction.fetch(_LAST_SAVED, (name,))
    return rows[0][0] if rows else None


def save(transaction: Transaction, name: str, progress: Progress, now: datetime) -> None:
    """Remember how far the scan has come."""
    transaction.execute(
        _SAVE,
        (
            name,
            list(progress.position),
            progress.rows_count,
            progress.previous_rows_count,
            progress.began_at,
            now,
        ),
    )


def estimate_rows_count(transaction: Transaction, table: str) -> int:
    """Return about how many rows the table has, as the database's statistics say."""
    [(count,)] = transaction.fetch(_ESTIMATE, (_ROWS_IN_BLOCK, table))
    return int(count)
