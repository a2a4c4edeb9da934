"""Values reach the database exactly, as array literals and as rows of a COPY."""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swpt_accounts.store.arrays import moments, numbers, row_ids, truths
from swpt_accounts.store.transaction import Database
from tests.store import values

READ_BACK = "SELECT {} FROM unnest(%s::{}[]) WITH ORDINALITY AS a (value, n) ORDER BY n"
EACH: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
    "int4": (numbers, [-(2**31), -1, 0, 1, 2**31 - 1]),
    "int8": (numbers, values.INTEGERS),
    "float8": (numbers, values.FLOATS),
    "timestamptz": (moments, values.MOMENTS),
    "bool": (truths, [True, False, True]),
    "text": (list, values.TEXTS),
    "tid": (row_ids, ["(0,1)", "(4294967294,65535)"]),
    "bytea": (list, [b"", b"\0", b"\\x00", b'"{}"', bytes(range(256))]),
}
many = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_back(database: Database, type_: str, array: Any) -> list[Any]:
    with database.transaction() as transaction:
        value = "value::text" if type_ == "tid" else "value"
        read_back = READ_BACK.format(value, type_)
        return [row[0] for row in transaction.fetch(read_back, (array,))]


def same(observed: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Compare by what is written, in which 0.0 and -0.0 differ."""
    return [repr(value) for value in observed] == [repr(value) for value in expected]


@pytest.mark.parametrize("type_", EACH)
def test_the_extremes_are_exact(database: Database, type_: str) -> None:
    write, extremes = EACH[type_]
    assert same(read_back(database, type_, write(extremes)), extremes)


@pytest.mark.parametrize("type_", EACH)
def test_an_array_may_be_empty(database: Database, type_: str) -> None:
    write, _ = EACH[type_]
    assert read_back(database, type_, write([])) == []


@many
@given(floats=st.lists(st.floats(allow_nan=False)), instants=st.lists(values.moments))
def test_floats_and_moments_are_exact(
    database: Database, floats: list[float], instants: list[Any]
) -> None:
    assert same(read_back(database, "float8", numbers(floats)), floats)
    assert same(read_back(database, "timestamptz", moments(instants)), instants)


@pytest.mark.parametrize("type_", sorted(EACH.keys() - {"tid"}))
def test_a_copied_row_is_exact(database: Database, session: psycopg.Connection, type_: str) -> None:
    _, extremes = EACH[type_]
    session.execute("DROP TABLE IF EXISTS copied")
    session.execute(f"CREATE TABLE copied (n int4, value {type_})")
    with database.transaction() as transaction:
        rows = list(enumerate(extremes))
        transaction.copy("COPY copied FROM STDIN (FORMAT BINARY)", ("int4", type_), rows)
    with database.transaction() as transaction:
        copied = transaction.fetch("SELECT value FROM copied ORDER BY n", ())
    assert same([row[0] for row in copied], extremes)
