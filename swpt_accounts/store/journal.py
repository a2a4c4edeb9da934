"""The journal: append-only."""

from collections.abc import Iterable
from typing import Final

import msgspec

from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.store.transaction import Transaction

COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(JournalEntry))
_COLUMN_TYPES: Final = (
    "int8",
    "int8",
    "date",
    "int8",
    "timestamptz",
    "timestamptz",
    "int8",
    "int8",
    "int8",
    "varchar",
    "int8",
    "int8",
    "int8",
    "varchar",
    "text",
)
_COPY: Final = f"COPY journal ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"


def append(transaction: Transaction, entries: Iterable[JournalEntry]) -> None:
    """Add entries to the journal."""
    rows = [msgspec.structs.astuple(entry) for entry in entries]
    if rows:
        transaction.copy(_COPY, _COLUMN_TYPES, rows)
