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
    texts = []
    before, text = None, "NULL"
    for value in values:
        # Most of what a batch writes happens at its one moment.
        if value is not before:
            before, text = value, "NULL" if value is None else value.isoformat()
        texts.append(text)
    return "{" + ",".join(texts) + "}"


def truths(values: Iterable[bool]) -> str:
    """Return the literal of a boolean array."""
    return "{" + ",".join("t" if value else "f" for value in values) + "}"


def row_ids(values: Iterable[str]) -> str:
    """Return the literal of an array of `tid`s, each of which has a comma in it."""
    return "{" + ",".join(f'"{value}"' for value in values) + "}"
