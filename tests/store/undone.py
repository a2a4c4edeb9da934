"""Transactions that come to nothing."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from swpt_accounts.store.transaction import Database, Transaction


class Undone(Exception):
    """What a transaction is given up for."""


@contextmanager
def undone(database: Database) -> Iterator[Transaction]:
    """Roll back where `Database.transaction` would commit."""
    with suppress(Undone), database.transaction() as transaction:
        yield transaction
        raise Undone
