"""The journal's partitions: one for each month, made ahead of time."""

import logging
from datetime import UTC, datetime
from typing import Final

import psycopg
from psycopg import sql

# `configure` adds the months that are missing each time a shard starts. A
# shard that runs longer than this without a start goes on without harm: its
# rows go to the default partition.
MONTHS_AHEAD: Final = 12

_ADVISORY_LOCK_KEY: Final = 5_602_915_338_704_217_093

_EXISTS: Final = "SELECT to_regclass(%s) IS NOT NULL"

# A table made first and attached afterwards does not lock the journal against
# writers, as CREATE TABLE ... PARTITION OF would.
_CREATE: Final = """
CREATE TABLE {partition} (LIKE journal INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)
"""
_ATTACH: Final = """
ALTER TABLE journal ATTACH PARTITION {partition} FOR VALUES FROM ({begin}) TO ({end})
"""

_logger = logging.getLogger(__name__)


def add_journal_months(connection: psycopg.Connection, now: datetime) -> list[str]:
    """Make the missing partitions from the month of `now` on; return their names.

    A month for which the default partition already holds rows is left to it,
    with a warning. The connection must be in autocommit mode; the partitions
    come all at once, or not at all.
    """
    added = []
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK_KEY])
        for _ in range(1 + MONTHS_AHEAD):
            name = f"journal_{month:%Y_%m}"
            end = _month_after(month)
            if not _exists(connection, name) and _add(connection, name, month, end):
                added.append(name)
            month = end
    return added


def _exists(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute(_EXISTS, [name]).fetchone()
    return row is not None and bool(row[0])


def _add(connection: psycopg.Connection, name: str, begin: datetime, end: datetime) -> bool:
    parts = {
        "partition": sql.Identifier(name),
        "begin": sql.Literal(begin.isoformat()),
        "end": sql.Literal(end.isoformat()),
    }
    try:
        with connection.transaction():
            connection.execute(sql.SQL(_CREATE).format(**parts))
            connection.execute(sql.SQL(_ATTACH).format(**parts))
    except psycopg.errors.CheckViolation:
        _logger.warning(
            "The journal gets no partition %s: rows of that month are in journal_default already,"
            " and stay there.",
            name,
        )
        return False
    return True


def _month_after(month: datetime) -> datetime:
    return month.replace(year=month.year + (month.month == 12), month=month.month % 12 + 1)
