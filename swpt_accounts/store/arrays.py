"""Columns of values as PostgreSQL array literals.

psycopg adapts a list item by item, in Python. For numbers, moments and truth
values, which need no quoting, joining their texts is several times faster.
"""

from collections.abc import Iterable
from datetime import datetime


def numbers(values: Iterable[int | float]) -> str:
    """Return the literal of an array of integers or floats (written so that they load exactly)."""
    return "{" + ",".join(map(repr, values)) + "}"


def moments(values: Iterable[datetime | None]) -> str:
    """Return the literal of a timestamptz array, in which None is NULL."""
    return "{" + ",".join(v.isoformat() if v is not None else "NULL" for v in values) + "}"


def truths(values: Iterable[bool]) -> str:
    """Return the literal of a boolean array."""
    return "{" + ",".join("t" if value else "f" for value in values) + "}"
