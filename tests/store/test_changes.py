"""Balance changes: each received one is registered once, and ids never repeat."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.values import ChangeKey
from swpt_accounts.store import changes
from swpt_accounts.store.transaction import Database
from tests.store import values
from tests.store.undone import undone

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REGISTERED = """
    SELECT debtor_id, other_creditor_id, change_id, committed_at FROM registered_balance_change
"""

keys = st.tuples(values.int64s, values.int64s, values.int64s)


def register(database: Database, changes_: dict[ChangeKey, datetime]) -> set[ChangeKey]:
    with database.transaction() as transaction:
        return changes.register(transaction, changes_)


def registered(session: psycopg.Connection) -> dict[ChangeKey, datetime]:
    return {(row[0], row[1], row[2]): row[3] for row in session.execute(REGISTERED)}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.dictionaries(keys, values.moments, max_size=5),
    second=st.dictionaries(keys, values.moments, max_size=5),
)
def test_only_what_was_not_registered_before_is_new(
    database: Database,
    session: psycopg.Connection,
    first: dict[ChangeKey, datetime],
    second: dict[ChangeKey, datetime],
) -> None:
    session.execute("DELETE FROM registered_balance_change")
    assert register(database, first) == first.keys()
    both = second | first
    assert register(database, both) == second.keys() - first.keys()
    assert register(database, both) == set()
    assert registered(session) == both


def test_changes_of_different_parties_have_ids_of_their_own(database: Database) -> None:
    assert register(database, {(1, 2, 3): MOMENT}) == {(1, 2, 3)}
    others = {(1, 2, 4): MOMENT, (1, 3, 3): MOMENT, (2, 2, 3): MOMENT}
    assert register(database, {(1, 2, 3): MOMENT, **others}) == others.keys()


def test_a_repetition_does_not_change_when_a_change_was_committed(
    database: Database, session: psycopg.Connection
) -> None:
    register(database, {(1, 2, 3): MOMENT})
    register(database, {(1, 2, 3): MOMENT + timedelta(days=1)})
    assert registered(session) == {(1, 2, 3): MOMENT}


def test_what_was_not_committed_was_not_registered(database: Database) -> None:
    with undone(database) as transaction:
        assert changes.register(transaction, {(1, 2, 3): MOMENT}) == {(1, 2, 3)}
    assert register(database, {(1, 2, 3): MOMENT}) == {(1, 2, 3)}


def test_ids_never_repeat_whoever_draws_them_and_however_it_ends(
    make_client: Callable[[str], Database],
) -> None:
    drawn: list[int] = []

    def draw(number: int) -> None:
        client = make_client(f"client {number}")
        for turn in range(30):
            with undone(client) if turn % 3 else client.transaction() as transaction:
                ids = list(changes.next_ids(transaction, turn % 7))
            assert len(ids) == turn % 7
            drawn.extend(ids)
            if turn % 5 == 0:
                client.close()

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(draw, range(4)))
    assert len(drawn) == len(set(drawn)) == 4 * sum(turn % 7 for turn in range(30))
    assert min(drawn) > 0


def test_ids_grow_for_a_client(database: Database) -> None:
    with database.transaction() as transaction:
        ids = [*changes.next_ids(transaction, 3), *changes.next_ids(transaction, 200)]
    assert ids == sorted(ids)
