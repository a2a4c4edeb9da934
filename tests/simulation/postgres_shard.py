"""A shard on a real PostgreSQL: batches as the consumers apply them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import cast

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.outgoing import LANES_PER_MESSAGE_TYPE, OutgoingMessage
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database, Transaction
from swpt_accounts.workers.chore_sender import ChoreSender
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.scan_accounts import AllAccounts
from swpt_accounts.workers.scan_transfers import AllTransfers
from swpt_accounts.workers.scanner import Session
from tests.simulation.reading import insert_account, read_rows
from tests.simulation.rows import Rows

LANES = range(len(MESSAGE_TYPES) * LANES_PER_MESSAGE_TYPE)
TABLES = ("account", "prepared_transfer", "registered_balance_change", "journal", "outbox")


PAGE_SIZE = 7

# Only what a scan finds is of interest here, not whom it tells.
_NOBODY = cast("ChoreSender", None)


class Crash(Exception):
    """Stands for the death of a process just before its commit."""


class DyingDatabase:
    """Runs all statements of a transaction, but never its commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Roll back when the block ends."""
        with self._database.transaction() as transaction:
            yield transaction
            raise Crash


class PostgresShard:
    """Applies batches through `LedgerBatch`, and reads the tables with statements of its own."""

    def __init__(self, postgres_url: str, realm: Realm, policy: Policy) -> None:
        self.realm = realm
        self._policy = policy
        self._now: datetime | None = None
        self._database = Database(postgres_url, application_name="simulation")
        self._session = connect(postgres_url, application_name="observer", autocommit=True)
        self._batch = LedgerBatch(self._database, realm, policy, self._clock)
        self._dying_batch = msgspec.structs.replace(
            self._batch,
            database=DyingDatabase(self._database),
        )

    def _clock(self) -> datetime:
        assert self._now is not None
        return self._now

    def apply(
        self, commands: Sequence[Command | Chore], facts: Facts, now: datetime
    ) -> list[OutgoingMessage]:
        """Apply a batch, commit it, and empty the outbox."""
        self._now = now
        self._batch.apply(commands, self._batch.needs_of(commands), facts)
        page = outbox.take_page(self._session, LANES, count_max=1_000_000, bytes_max=1_000_000_000)
        outbox.delete(self._session, [row.id for row in page])
        return [message.message for message in page]

    def crash(self, commands: Sequence[Command | Chore], facts: Facts, now: datetime) -> None:
        """Do everything for a batch except the commit."""
        self._now = now
        try:
            self._dying_batch.apply(commands, self._batch.needs_of(commands), facts)
        except Crash:
            return
        raise AssertionError("a batch without a transaction")

    def scan(self, documents: Mapping[int, str | None], now: datetime) -> list[Chore]:
        """Look at all pages of the tables as the scans do."""

        def gather_facts(_: Collection[AccountKey], debtor_ids: Collection[int]) -> Facts:
            return Facts({}, {d: documents[d] for d in debtor_ids if d in documents})

        looks = (
            AllAccounts(self.realm, self._policy, gather_facts).look,
            AllTransfers(self.realm, self._policy).look,
        )
        chores: list[Chore] = []
        with self._database.transaction() as transaction:
            session = Session(transaction, _NOBODY, now)
            for look in looks:
                seen = look(session, (), PAGE_SIZE)
                while seen.rows_count:
                    chores += seen.chores
                    seen = look(session, seen.last_key, PAGE_SIZE)
        return chores

    def rows(self) -> Rows:
        """Read the tables."""
        return read_rows(self._session)

    def put_account(self, account: Account) -> None:
        """Write an account as it is given."""
        with self._session.transaction():
            self._session.execute(
                "DELETE FROM account WHERE debtor_id = %s AND creditor_id = %s", account.key
            )
            insert_account(self._session, account)

    def empty(self) -> None:
        """Remove all rows, and forget which change ids have been used."""
        for table in TABLES:
            self._session.execute(f"DELETE FROM {table}")
        self._session.execute("ALTER SEQUENCE change_id_seq RESTART")

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
        self._session.close()
