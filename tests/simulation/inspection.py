"""The tables against the auditor's books: every row, every column."""

from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from swpt_accounts.ledger.journal import JournalEntry
from tests.simulation.auditor import Auditor
from tests.simulation.books import AccountBook
from tests.simulation.discrepancy import require, require_equal
from tests.simulation.expected_events import key_of
from tests.simulation.reading import account_columns
from tests.simulation.rows import Rows, Shard


def inspect(shards: Sequence[Shard], tables: Sequence[Rows], auditor: Auditor) -> None:
    """Check that all shards together hold exactly what the books say, each its own part."""
    for shard, rows in zip(shards, tables, strict=True):
        for debtor_id, creditor_id, *_ in chain(rows.accounts, rows.transfers):
            is_own = shard.realm.contains(debtor_id, creditor_id)
            require(is_own, f"account {debtor_id, creditor_id} is in the wrong shard")
        books = {k: b for k, b in auditor.books.items() if shard.realm.contains(*k)}
        require_equal("the accounts", rows.accounts.keys(), books.keys())
        for key, book in books.items():
            require_equal("an account", account_columns(rows.accounts[key]), book.columns)
        _inspect_transfers(rows, books.values())
        _inspect_journal(rows, books.values())
    registered = {key: moment for rows in tables for key, moment in rows.changes.items()}
    applied = {key: change.committed_at for key, change in auditor.received.items()}
    require_equal("the registered changes", registered, applied)


def _inspect_transfers(rows: Rows, books: Iterable[AccountBook]) -> None:
    announced = {key_of(event): event for book in books for event in book.prepared.values()}
    prepared = {
        key: transfer.announcement(transfer.prepared_at) for key, transfer in rows.transfers.items()
    }
    require_equal("the prepared transfers", prepared, announced)
    for transfer in rows.transfers.values():
        require(transfer.last_reminder_ts is None, f"nobody was reminded of {transfer}")


def _inspect_journal(rows: Rows, books: Iterable[AccountBook]) -> None:
    postings = [
        JournalEntry(
            book.debtor_id,
            book.creditor_id,
            book.creation_date,
            number,
            **msgspec.structs.asdict(posting),
        )
        for book in sorted(books, key=lambda book: (book.debtor_id, book.creditor_id))
        for number, posting in enumerate(book.postings, start=1)
    ]
    require_equal("the journal", rows.journal, postings)
