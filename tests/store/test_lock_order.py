"""Everybody locks in the same order, so that nobody waits for somebody who waits for them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import msgspec
import psycopg
import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import NO_FACTS
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import account_id
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import accounts, changes, transfers
from swpt_accounts.store.transaction import Database, Transaction
from swpt_accounts.workers.ledger_batch import LedgerBatch
from tests import factories
from tests.simulation.observer import check_tables
from tests.simulation.reading import read_rows
from tests.store.undone import undone
from tests.workers.waiting import eventually

NOW = factories.NOW + timedelta(hours=1)
WAITS_FOR_A_LOCK = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = %s AND wait_event_type = 'Lock'
"""
FREE_ACCOUNTS = "SELECT creditor_id FROM account ORDER BY creditor_id FOR UPDATE SKIP LOCKED"
FREE_TRANSFERS = """
    SELECT transfer_id FROM prepared_transfer ORDER BY transfer_id FOR UPDATE SKIP LOCKED
"""
LOCK_ACCOUNT = "SELECT FROM account WHERE creditor_id = %s FOR UPDATE"
LOCK_TRANSFER = "SELECT FROM prepared_transfer WHERE transfer_id = %s FOR UPDATE"
D = factories.DEBTOR_ID


def create(database: Database, created: Sequence[Account]) -> None:
    new = [msgspec.structs.replace(account, is_created=True) for account in created]
    with database.transaction() as transaction:
        accounts.save(transaction, sorted(new, key=lambda account: account.key), {})


@contextmanager
def waiting(
    make_client: Callable[[str], Database],
    session: psycopg.Connection,
    obstacle: Callable[[Transaction], Any],
    work: Callable[[Transaction], Any],
) -> Iterator[None]:
    """Do some work in a transaction that has run into an obstacle made by another one."""

    def run() -> None:
        with undone(make_client("worker")) as transaction:
            work(transaction)

    with ThreadPoolExecutor(1) as executor:
        with undone(make_client("obstacle")) as transaction:
            obstacle(transaction)
            running = executor.submit(run)
            eventually(
                "the worker waits for the obstacle",
                lambda: session.execute(WAITS_FOR_A_LOCK, ("worker",)).fetchone(),
            )
            yield
        running.result(60)


@pytest.mark.parametrize("obstacle", [1, 4, 9])
def test_accounts_are_locked_in_the_order_of_their_keys(
    make_client: Callable[[str], Database], session: psycopg.Connection, obstacle: int
) -> None:
    ids = range(10)
    create(make_client("before"), [factories.account(creditor_id=n) for n in ids])
    keys = [(D, n) for n in (7, 2, 9, 0, 4, 1, 8, 3, 6, 5)]
    with waiting(
        make_client,
        session,
        lambda t: t.execute(LOCK_ACCOUNT, (obstacle,)),
        lambda t: accounts.lock_and_load(t, keys),
    ):
        free = [creditor_id for (creditor_id,) in session.execute(FREE_ACCOUNTS)]
    assert free == [n for n in ids if n > obstacle]


@pytest.mark.parametrize("obstacle", [1, 4, 9])
def test_prepared_transfers_are_locked_in_the_order_of_their_keys(
    make_client: Callable[[str], Database], session: psycopg.Connection, obstacle: int
) -> None:
    ids = range(10)
    with make_client("before").transaction() as t:
        transfers.insert(
            t, [factories.prepared_transfer(transfer_id=n, coordinator_request_id=n) for n in ids]
        )
    keys = [(D, factories.SENDER_ID, n) for n in (7, 2, 9, 0, 4, 1, 8, 3, 6, 5)]
    with waiting(
        make_client,
        session,
        lambda t: t.execute(LOCK_TRANSFER, (obstacle,)),
        lambda t: transfers.lock_and_load(t, keys),
    ):
        free = [transfer_id for (transfer_id,) in session.execute(FREE_TRANSFERS)]
    assert free == [n for n in ids if n > obstacle]


def test_changes_are_registered_in_the_order_of_their_keys(
    make_client: Callable[[str], Database], session: psycopg.Connection
) -> None:
    """Who meets a change that is being registered holds smaller keys, and no greater ones."""
    keys = [(D, 3, 7), (D, 1, 1), (D, 3, 5), (D, 2, 9), (D, 4, 2)]
    taken = (D, 3, 5)
    with waiting(
        make_client,
        session,
        lambda t: changes.register(t, {taken: NOW}),
        lambda t: changes.register(t, dict.fromkeys(keys, NOW)),
    ):
        with undone(make_client("later")) as transaction:
            transaction.execute("SET LOCAL lock_timeout = '60s'", ())
            greater = {key: NOW for key in keys if key > taken}
            assert changes.register(transaction, greater) == greater.keys()
        for smaller in (key for key in keys if key < taken):
            with undone(make_client("earlier")) as transaction:
                transaction.execute("SET LOCAL lock_timeout = '1ms'", ())
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    changes.register(transaction, {smaller: NOW})


def test_a_locked_account_is_loaded_as_it_was_left_and_written_where_it_is(
    make_client: Callable[[str], Database], session: psycopg.Connection
) -> None:
    account = factories.account()
    create(make_client("before"), [account])
    process = ThreadPoolExecutor(1)

    def add_one() -> None:
        with make_client("worker").transaction() as transaction:
            locked = accounts.lock_and_load(transaction, [account.key])
            loaded = locked[account.key].account
            loaded.principal += 1
            accounts.save(transaction, [loaded], locked)

    with process, make_client("obstacle").transaction() as transaction:
        transaction.execute("UPDATE account SET principal = 77", ())
        running = process.submit(add_one)
        eventually(
            "the worker waits",
            lambda: session.execute(WAITS_FOR_A_LOCK, ("worker",)).fetchone(),
        )
    running.result(60)
    assert session.execute("SELECT principal FROM account").fetchall() == [(78,)]


# -- hundreds of batches that all touch the same rows, in opposite orders ---------------

ROUNDS = 100
CREDITOR_IDS = range(0x0000020100000001, 0x0000020100000009)


class Worker:
    """Pays from each account to its neighbour, in its own order, in batch after batch."""

    def __init__(self, database: Database, number: int) -> None:
        self.attempts_count = 0
        self._batch = LedgerBatch(database, Realm.parse("#"), Policy(), self._look_at_the_clock)
        self._number = number
        self._creditor_ids = CREDITOR_IDS if number % 2 else CREDITOR_IDS[::-1]
        self._transfers: list[PreparedTransfer] = []

    def _look_at_the_clock(self) -> datetime:
        self.attempts_count += 1
        return NOW

    def batch(self, turn: int, session: psycopg.Connection) -> None:
        """Ask for new transfers, end those asked for before, and receive and configure some."""
        commands = [
            *self._finalize(session),
            *(self._prepare(turn, creditor_id) for creditor_id in self._creditor_ids),
            *(self._receive(turn, creditor_id) for creditor_id in self._creditor_ids[:3]),
            *(self._configure(turn, creditor_id) for creditor_id in self._creditor_ids[::3]),
        ]
        self._batch.apply(commands, self._batch.needs_of(commands), NO_FACTS)

    def _finalize(self, session: psycopg.Connection) -> list[Command]:
        prepared = [
            transfer
            for transfer in read_rows(session).transfers.values()
            if transfer.coordinator_request_id % 10 == self._number
        ]
        order = {creditor_id: n for n, creditor_id in enumerate(self._creditor_ids)}
        prepared.sort(key=lambda transfer: order[transfer.creditor_id])
        return [factories.finalize_transfer(t, committed_amount=1) for t in prepared]

    def _prepare(self, turn: int, creditor_id: int) -> Command:
        neighbour = CREDITOR_IDS[(creditor_id - CREDITOR_IDS[0] + 1) % len(CREDITOR_IDS)]
        return factories.prepare_transfer(
            creditor_id=creditor_id,
            recipient=account_id(neighbour),
            coordinator_request_id=10 * turn + self._number,
        )

    def _receive(self, turn: int, creditor_id: int) -> Command:
        # The same changes are received by all, each once.
        return factories.pending_balance_change(
            creditor_id=creditor_id,
            change_id=turn,
            other_creditor_id=creditor_id + 2**41,
            principal_delta=1,
        )

    def _configure(self, turn: int, creditor_id: int) -> Command:
        return factories.configure_account(creditor_id=creditor_id, seqnum=turn)


def test_batches_in_opposite_orders_never_deadlock(
    make_client: Callable[[str], Database], session: psycopg.Connection, folder_url: str
) -> None:
    count = 3
    create(make_client("before"), [factories.account(creditor_id=n) for n in CREDITOR_IDS])
    workers = [Worker(make_client(f"worker {n}"), n) for n in range(count)]
    barrier = Barrier(count)

    def work(worker: Worker) -> None:
        with psycopg.connect(session.info.dsn, password=session.info.password) as own:
            own.autocommit = True
            for turn in range(1, ROUNDS + 1):
                barrier.wait(60)
                worker.batch(turn, own)

    with ThreadPoolExecutor(count) as executor:
        list(executor.map(work, workers))
    assert [worker.attempts_count for worker in workers] == [ROUNDS] * count
    rows = read_rows(session)
    check_tables([rows], [])
    assert len(rows.changes) == ROUNDS * 3 * 2
    assert sum(entry.amount > 0 for entry in rows.journal) > ROUNDS
