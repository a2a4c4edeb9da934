"""Pages of rows: each row once, in the order of the keys, at the same cost in any table."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from swpt_accounts.ledger.values import EPOCH, MAX_INT64, MIN_INT64
from swpt_accounts.store import accounts, pages, transfers
from swpt_accounts.store.connection import connect
from swpt_accounts.store.pages import Key
from swpt_accounts.store.transaction import Database, Transaction
from tests import factories
from tests.factories import NOW
from tests.store.explaining import Explaining, nodes_of
from tests.workers.databases import temporary_database

IDS = (MIN_INT64, MIN_INT64 + 1, -(2**32), -1, 0, 1, 2**32, MAX_INT64 - 1, MAX_INT64)
MICROSECOND = timedelta(microseconds=1)

sizes = pytest.mark.parametrize("count_max", [1, 2, 7, 80, 81, 82, 1000])


@pytest.fixture
def transaction(database: Database) -> Iterator[Transaction]:
    with database.transaction() as transaction:
        yield transaction


Read = Callable[[Key], tuple[list[Any], Key]]


def read_all(read: Read, first: Key, count_max: int) -> list[Any]:
    """Read page after page, until one is not full."""
    found: list[Any] = []
    after = first
    while True:
        rows, last = read(after)
        found += rows
        assert len(rows) <= count_max
        if len(rows) < count_max:
            return found
        after = last


# -- each row once ------------------------------------------------------------


@sizes
def test_each_account_is_on_one_page_whatever_its_key_is(
    transaction: Transaction, count_max: int
) -> None:
    keys = [(d, c) for d in IDS for c in IDS]
    made = [factories.account(debtor_id=d, creditor_id=c, is_created=True) for d, c in keys]
    random.Random(1).shuffle(made)
    accounts.save(transaction, made, {})

    def read(after: Key) -> tuple[list[Any], Key]:
        page = pages.read_accounts(transaction, after, count_max)
        return page, page[-1].key if page else ()

    found = read_all(read, (), count_max)
    assert [account.key for account in found] == keys
    assert found == sorted(
        (factories.account(debtor_id=d, creditor_id=c) for d, c in keys), key=lambda a: a.key
    )


@sizes
def test_each_transfer_is_on_one_page_whatever_its_key_is(
    transaction: Transaction, count_max: int
) -> None:
    keys = [(d, c, t) for d in IDS[::4] for c in IDS[::4] for t in IDS]
    made = [
        factories.prepared_transfer(
            debtor_id=d,
            creditor_id=c,
            transfer_id=t,
            coordinator_id=c,
            coordinator_request_id=t,
            last_reminder_ts=NOW if t % 2 else None,
        )
        for d, c, t in keys
    ]
    shuffled = random.Random(1).sample(made, len(made))
    transfers.insert(transaction, shuffled)

    def read(after: Key) -> tuple[list[Any], Key]:
        page = pages.read_transfers(transaction, after, count_max)
        return page, page[-1].key if page else ()

    assert read_all(read, (), count_max) == made


@sizes
def test_each_waiting_account_is_on_one_page_those_who_have_waited_longest_first(
    transaction: Transaction, count_max: int
) -> None:
    moments = [NOW - n * MICROSECOND for n in (5, 1, 0)]
    keys = [(m, d, c) for m in moments for d in IDS[::4] for c in IDS]
    assert len(keys) == 81
    made = [
        factories.account(
            # An account waits once, so the moment goes into the key too.
            debtor_id=d if m == NOW else d ^ (moments.index(m) + 1),
            creditor_id=c,
            update_pending_since=m,
            is_created=True,
        )
        for m, d, c in keys
    ]
    later = factories.account(debtor_id=7, update_pending_since=NOW + MICROSECOND, is_created=True)
    never = factories.account(debtor_id=8, is_created=True)
    accounts.save(transaction, [*random.Random(1).sample(made, len(made)), later, never], {})

    def read(after: Any) -> tuple[list[Any], Key]:
        page = pages.read_waiting_accounts(transaction, NOW, after, count_max)
        assert all(key == waiting[1:] for waiting, key in page)
        return [waiting for waiting, _ in page], page[-1][0] if page else ()

    before_all = (EPOCH, MIN_INT64, MIN_INT64)
    assert read_all(read, before_all, count_max) == sorted(
        (a.update_pending_since, a.debtor_id, a.creditor_id) for a in made
    )


def test_rows_behind_the_page_may_come_and_go(transaction: Transaction) -> None:
    def add(*creditor_ids: int) -> None:
        made = [factories.account(creditor_id=n, is_created=True) for n in creditor_ids]
        accounts.save(transaction, made, {})

    add(*range(10, 20))
    last = pages.read_accounts(transaction, (), 5)[-1].key
    assert last == (factories.DEBTOR_ID, 14)
    accounts.delete(transaction, [last, (factories.DEBTOR_ID, 16)])
    add(1, 2, 3, 100)
    found = [a.creditor_id for a in pages.read_accounts(transaction, last, 100)]
    assert found == [15, 17, 18, 19, 100]


def test_an_empty_table_has_one_empty_page(transaction: Transaction) -> None:
    assert pages.read_accounts(transaction, (), 10) == []
    assert pages.read_transfers(transaction, (), 10) == []
    assert pages.read_waiting_accounts(transaction, NOW, (EPOCH, 0, 0), 10) == []
    assert pages.forget_changes(transaction, (), 10, NOW) == ((), 0, 0)


# -- forgetting changes -----------------------------------------------------------

REGISTER = """
    INSERT INTO registered_balance_change (debtor_id, other_creditor_id, change_id, committed_at)
    VALUES (%s, %s, %s, %s)
"""


def register(transaction: Transaction, *rows: tuple[int, int, int, datetime]) -> None:
    for row in rows:
        transaction.execute(REGISTER, row)


def left(transaction: Transaction) -> list[tuple[Any, ...]]:
    return transaction.fetch(
        "SELECT debtor_id, other_creditor_id, change_id FROM registered_balance_change"
        " ORDER BY 1, 2, 3",
        (),
    )


def test_only_what_was_committed_before_the_threshold_is_forgotten(
    transaction: Transaction,
) -> None:
    register(
        transaction,
        (1, 1, 1, NOW - MICROSECOND),
        (1, 1, 2, NOW),
        (1, 1, 3, NOW + MICROSECOND),
        (1, 1, 4, datetime(1, 1, 1, tzinfo=UTC)),
        (1, 1, 5, datetime(9999, 12, 31, tzinfo=UTC)),
    )
    assert pages.forget_changes(transaction, (), 10, NOW) == ((1, 1, 5), 5, 2)
    assert left(transaction) == [(1, 1, 2), (1, 1, 3), (1, 1, 5)]


def test_nothing_is_forgotten_beyond_the_page(transaction: Transaction) -> None:
    register(transaction, *((1, 1, n, NOW - MICROSECOND) for n in range(1, 11)))
    assert pages.forget_changes(transaction, (), 4, NOW) == ((1, 1, 4), 4, 4)
    assert pages.forget_changes(transaction, (1, 1, 4), 4, NOW) == ((1, 1, 8), 4, 4)
    assert left(transaction) == [(1, 1, 9), (1, 1, 10)]
    assert pages.forget_changes(transaction, (1, 1, 8), 4, NOW) == ((1, 1, 10), 2, 2)
    assert pages.forget_changes(transaction, (1, 1, 10), 4, NOW) == ((), 0, 0)


@sizes
def test_each_registered_change_is_on_one_page_whatever_its_key_is(
    transaction: Transaction, count_max: int
) -> None:
    keys = [(d, o, n) for d in IDS[::4] for o in IDS[::4] for n in IDS]
    register(transaction, *((*key, NOW) for key in random.Random(1).sample(keys, len(keys))))
    after: Key = ()
    seen = 0
    while True:
        last, seen_count, forgotten_count = pages.forget_changes(transaction, after, count_max, NOW)
        assert forgotten_count == 0
        assert last == (keys[seen + seen_count - 1] if seen_count else ())
        seen += seen_count
        if seen_count < count_max:
            break
        after = last
    assert seen == len(keys) == len(left(transaction))


# -- what it costs ------------------------------------------------------------------

ROWS_COUNT = 30_000
FILL = {
    "account": """
        INSERT INTO account (debtor_id, creditor_id, creation_date, last_change_ts,
            last_transfer_id, last_update_sent_ts, update_pending_since)
        SELECT n %% 7, hashint8(n), now(), now(), 0, now(),
            CASE WHEN n %% 10 = 0 THEN %s - n * interval '1 second' END
        FROM generate_series(1, %s) AS n ON CONFLICT DO NOTHING
    """,
    "prepared_transfer": """
        INSERT INTO prepared_transfer
        SELECT n %% 7, hashint8(n), n, 'direct', n, n, 0, 1, %s, now(), -50, now()
        FROM generate_series(1, %s) AS n
    """,
    "registered_balance_change": """
        INSERT INTO registered_balance_change
        SELECT n %% 7, hashint8(n), n, %s - (n %% 100) * interval '1 day'
        FROM generate_series(1, %s) AS n
    """,
}


@pytest.fixture(scope="module")
def filled(
    administrator: psycopg.Connection, postgres_server_url: str, template_database: str
) -> Iterator[psycopg.Connection]:
    """A session in a database with tens of thousands of rows, not in the order of their keys."""
    with (
        temporary_database(administrator, postgres_server_url, template_database) as url,
        connect(url, application_name="tests", autocommit=True) as session,
    ):
        for table, statement in FILL.items():
            session.execute(statement, [NOW, ROWS_COUNT])  # type: ignore[arg-type]
            session.execute(f"VACUUM ANALYZE {table}")  # type: ignore[arg-type]
        yield session


QUESTIONS: dict[str, Callable[[Transaction, int], object]] = {
    "accounts, first page": lambda t, n: pages.read_accounts(t, (), n),
    "accounts, later page": lambda t, n: pages.read_accounts(t, (3, 0), n),
    "transfers, first page": lambda t, n: pages.read_transfers(t, (), n),
    "transfers, later page": lambda t, n: pages.read_transfers(t, (3, 0, 0), n),
    "waiting accounts, first page": lambda t, n: pages.read_waiting_accounts(
        t, NOW, (EPOCH, MIN_INT64, MIN_INT64), n
    ),
    "waiting accounts, later page": lambda t, n: pages.read_waiting_accounts(
        t, NOW, (NOW - timedelta(hours=2), 3, 0), n
    ),
    "changes, first page": lambda t, n: pages.forget_changes(t, (), n, NOW - timedelta(days=50)),
    "changes, later page": lambda t, n: pages.forget_changes(
        t, (3, 0, 0), n, NOW - timedelta(days=50)
    ),
    "changes, nothing to forget": lambda t, n: pages.forget_changes(t, (3, 0, 0), n, EPOCH),
    "changes, everything to forget": lambda t, n: pages.forget_changes(
        t, (3, 0, 0), n, NOW + timedelta(days=1)
    ),
}


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "auto"])
@pytest.mark.parametrize("count_max", [10, 1000])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_page_is_found_by_an_index_and_costs_no_more_than_its_rows(
    filled: psycopg.Connection, question: str, count_max: int, plan_cache_mode: str
) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute(f"SET LOCAL plan_cache_mode = {plan_cache_mode}")  # type: ignore[arg-type]
        explaining = Explaining(filled)
        for _ in range(12):  # The driver prepares what it has seen five times.
            QUESTIONS[question](explaining, count_max)

    for plan in explaining.plans:
        kinds = [node["Node Type"] for node in nodes_of(plan)]
        assert "Seq Scan" not in kinds, kinds
        assert "Bitmap Heap Scan" not in kinds, kinds
        scanned = [n for n in nodes_of(plan) if n["Node Type"].startswith(("Index", "Tid"))]
        assert scanned, kinds
        assert all(n["Actual Rows"] * n["Actual Loops"] <= count_max for n in scanned), kinds
        sorted_counts = [n["Actual Rows"] for n in nodes_of(plan) if "Sort" in n["Node Type"]]
        assert all(count <= count_max for count in sorted_counts), kinds


def test_nothing_is_locked_by_looking(filled: psycopg.Connection) -> None:
    transaction = Transaction(filled.cursor())
    with filled.transaction(force_rollback=True):
        pages.read_accounts(transaction, (), 1000)
        pages.read_waiting_accounts(transaction, NOW, (EPOCH, MIN_INT64, MIN_INT64), 1000)
        pages.read_transfers(transaction, (), 1000)
        locked = filled.execute(
            "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid'"
        ).fetchall()
        assert {mode for (mode,) in locked} == {"AccessShareLock"}
        written = filled.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        assert written == (None,)
