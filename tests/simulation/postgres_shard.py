"""A shard on a real PostgreSQL: batches as the consumers apply them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.outgoing import LANES_PER_MESSAGE_TYPE, OutgoingMessage
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database, Transaction
from swpt_accounts.workers.ledger_batch import LedgerBatch
from tests.simulation.reading import insert_account, read_rows
from tests.simulation.rows import Rows

LANES = range(len(MESSAGE_TYPES) * LANES_PER_MESSAGE_TYPE)
TABLES = ("account", "prepared_transfer", "registered_balance_change", "journal", "outbox")


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
        self, commands: Sequence[Command], facts: Facts, now: datetime
    ) -> list[OutgoingMessage]:
        """Apply a batch, commit it, and empty the outbox."""
        self._now = now
        self._batch.apply(commands, self._batch.needs_of(commands), facts)
        page = outbox.take_page(self._session, LANES, 1_000_000)
        outbox.delete(self._session, page)
        return [message.message for message in page]

    def crash(self, commands: Sequence[Command], facts: Facts, now: datetime) -> None:
        """Do everything for a batch except the commit."""
        self._now = now
        try:
            self._dying_batch.apply(commands, self._batch.needs_of(commands), facts)
        except Crash:
            return
        raise AssertionError("a batch without a transaction")

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

    def last_change_id(self) -> int:
        """Return the change id that was drawn last."""
        row = self._session.execute("SELECT last_value FROM change_id_seq").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
        self._session.close()
