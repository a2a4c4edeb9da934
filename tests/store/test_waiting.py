"""Messages that wait: a second copy joins the first, and each is taken by one process."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from swpt_accounts.store import waiting
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import BATCH_SESSION, Database, Transaction
from swpt_accounts.store.waiting import Wait, WaitingKey, WaitingMessage
from tests.factories import NOW
from tests.store.explaining import Explaining, nodes_of

SECOND = timedelta(seconds=1)
BITS = 8


def message(n: int, attempts_count: int = 0) -> WaitingMessage:
    key = WaitingKey(1, n, "PrepareTransfer", n.to_bytes(32, "big"))
    return WaitingMessage(key, b'{"n":%d}' % n, attempts_count)


def wait(n: int, awaited_hash: int | None = None, after: timedelta = timedelta(0)) -> Wait:
    return Wait(message(n), f"reason {n % 2}", awaited_hash, NOW + after)


def hash_in(group: int, rest: int = 0) -> int:
    return (group << 24) + rest


def write(database: Database, *waits: Wait) -> None:
    with database.transaction() as transaction:
        waiting.insert(transaction, waits, NOW)


def taken(
    database: Database, *groups: int, bits: int = BITS, count_max: int = 100, now: Any = NOW
) -> list[int]:
    with database.transaction() as transaction:
        messages = waiting.take(transaction, groups, bits, count_max, now)
    return [m.key.creditor_id for m in messages]


def test_those_that_wait_for_time_are_taken_when_it_has_come_the_longest_due_first(
    database: Database,
) -> None:
    write(database, wait(1, after=3 * SECOND), wait(2, after=SECOND), wait(3, after=2 * SECOND))

    assert taken(database) == []
    assert taken(database, now=NOW + SECOND) == [2]
    assert taken(database, now=NOW + 9 * SECOND) == [2, 3, 1]
    assert taken(database, now=NOW + 9 * SECOND, count_max=2) == [2, 3]


def test_those_that_await_an_answer_are_taken_by_group(database: Database) -> None:
    write(
        database,
        wait(1, hash_in(0)),
        wait(2, hash_in(7, rest=5)),
        wait(3, hash_in(7, rest=2**24 - 1)),
        wait(4, hash_in(8)),
        wait(5, hash_in(255, rest=2**24 - 1)),
        wait(6, hash_in(7), after=SECOND),
        wait(7),
    )

    with database.transaction() as transaction:
        assert waiting.awaited_groups(transaction, BITS) == [0, 7, 8, 255]
        assert waiting.awaited_groups(transaction, 1) == [0, 1]
    assert taken(database) == [7]
    assert taken(database, 7) == [7, 2, 3]
    assert taken(database, 255, 0) == [7, 5, 1]
    assert taken(database, 0, bits=1) == [7, 1, 2, 3, 4]


def test_no_groups_are_awaited_where_nothing_waits(database: Database) -> None:
    with database.transaction() as transaction:
        assert waiting.awaited_groups(transaction, BITS) == []


def test_a_second_copy_joins_the_first(database: Database, session: psycopg.Connection) -> None:
    write(database, wait(1), wait(1), wait(2))
    write(database, wait(1, after=SECOND), wait(3))

    rows = session.execute(
        "SELECT creditor_id, attempts_count, next_attempt_at FROM waiting_message ORDER BY 1"
    ).fetchall()
    assert rows == [(n, 1, NOW) for n in (1, 2, 3)]


def test_what_is_put_back_waits_once_more(database: Database, session: psycopg.Connection) -> None:
    write(database, wait(1), wait(2))

    with database.transaction() as transaction:
        again = Wait(message(1, attempts_count=1), "another", hash_in(3), NOW + SECOND)
        waiting.put_back(transaction, [again])

    rows = session.execute(
        "SELECT creditor_id, reason, awaited_hash, attempts_count, next_attempt_at, waiting_since"
        " FROM waiting_message ORDER BY 1"
    ).fetchall()
    assert rows == [
        (1, "another", hash_in(3), 2, NOW + SECOND, NOW),
        (2, "reason 0", None, 1, NOW, NOW),
    ]


def test_what_another_process_has_locked_or_deleted_is_missing(
    make_client: Callable[[str], Database],
) -> None:
    one, two = make_client("one"), make_client("two")
    write(one, wait(1), wait(2), wait(3))
    keys = [message(n).key for n in (1, 2, 3)]

    with one.transaction() as first:
        assert waiting.lock(first, keys[:2]) == set(keys[:2])
        waiting.delete(first, keys[:1])
        with two.transaction() as second:
            assert waiting.lock(second, keys) == {keys[2]}
    with two.transaction() as second:
        assert waiting.lock(second, keys) == set(keys[1:])


def test_one_session_takes_waiting_messages_until_it_ends(
    make_client: Callable[[str], Database],
) -> None:
    one, two = make_client("one"), make_client("two")

    def claims(database: Database) -> bool:
        with database.transaction() as transaction:
            return waiting.claim(transaction)

    assert [claims(one), claims(two), claims(one)] == [True, False, True]
    one.close()
    assert [claims(two), claims(one)] == [True, False]


def test_the_summary_tells_how_many_wait_for_which_reason(database: Database) -> None:
    write(database, wait(1), wait(3, hash_in(1)), wait(2))

    with database.transaction() as transaction:
        first, second = waiting.summarize(transaction, 10)

    assert first == ("reason 1", 2, NOW, 1, 1)
    assert second == ("reason 0", 1, NOW, 1, 0)


COUNT = 3000

STATEMENTS: dict[str, tuple[Callable[[Transaction], object], int]] = {
    "groups": (lambda t: waiting.awaited_groups(t, BITS), 20),
    "due": (lambda t: waiting.take(t, [7], BITS, 10, NOW), 20),
    "locked": (lambda t: waiting.lock(t, [message(n).key for n in range(10)]), 10),
    "deleted": (lambda t: waiting.delete(t, [message(n).key for n in range(10)]), 10),
    "put back": (
        lambda t: waiting.put_back(t, [Wait(message(n, 1), "again", None, NOW) for n in range(10)]),
        10,
    ),
}
"""By name: a statement, and the most rows that it may look at."""


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.usefixtures("session")
def test_the_cost_does_not_grow_with_how_many_wait(
    database: Database, folder_url: str, statement: str
) -> None:
    write(database, *(wait(n, hash_in(n % 8) if n % 2 else None) for n in range(COUNT)))
    run, rows_max = STATEMENTS[statement]
    with connect(
        folder_url, application_name="tests", autocommit=True, session_options=BATCH_SESSION
    ) as session:
        explaining = Explaining(session)
        with session.transaction(force_rollback=True):
            run(explaining)

    [plan] = explaining.plans
    for node in nodes_of(plan):
        if node.get("Relation Name") == "waiting_message":
            assert node["Actual Rows"] * node["Actual Loops"] <= rows_max, node
            assert node.get("Rows Removed by Filter", 0) == 0, node
