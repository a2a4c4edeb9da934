"""The journal: append-only, partitioned by month."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
import psycopg
from psycopg import sql

from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.store.transaction import Transaction

COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(JournalEntry))
_COLUMN_TYPES: Final = (
    "int8",
    "int8",
    "date",
    "int8",
    "timestamptz",
    "timestamptz",
    "int8",
    "int8",
    "int8",
    "varchar",
    "int8",
    "int8",
    "int8",
    "varchar",
    "text",
)
_COPY: Final = f"COPY journal ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"

MONTHS_AHEAD: Final = 3
"""Partitions are made this early, so that a node that is never configured again has time."""

# Creating a partition takes a short exclusive lock, for which transfers
# should not have to queue; what fails now is tried again tomorrow.
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '2s'"
_EXISTING: Final = """
    SELECT relid::regclass::text FROM pg_partition_tree('journal') WHERE isleaf
"""
_CREATE: Final = sql.SQL(
    "CREATE TABLE {partition} PARTITION OF journal FOR VALUES FROM ({start}) TO ({end})"
)


def append(transaction: Transaction, entries: Iterable[JournalEntry]) -> None:
    """Add entries to the journal."""
    rows = [msgspec.structs.astuple(entry) for entry in entries]
    if rows:
        transaction.copy(_COPY, _COLUMN_TYPES, rows)


def ensure_partitions(connection: psycopg.Connection, now: datetime) -> list[str]:
    """Create the partitions of this month and the next ones; return the names of the new.

    The connection must be in autocommit mode. Entries for which there is no
    partition go to the default one, so that a failure here (raised as
    `psycopg.Error`) loses nothing.
    """
    existing = {row[0] for row in connection.execute(_EXISTING)}
    created = []
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(1 + MONTHS_AHEAD):
        end = _next_month(start)
        name = f"journal_{start:%Y_%m}"
        if name not in existing:
            with connection.transaction():
                connection.execute(_LOCK_TIMEOUT)
                connection.execute(
                    _CREATE.format(
                        partition=sql.Identifier(name),
                        start=sql.Literal(start.isoformat()),
                        end=sql.Literal(end.isoformat()),
                    )
                )
            created.append(name)
        start = end
    return created


def _next_month(moment: datetime) -> datetime:
    if moment.month == 12:
        return moment.replace(year=moment.year + 1, month=1)
    return moment.replace(month=moment.month + 1)
