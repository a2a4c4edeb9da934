"""The tables against the auditor's books: every row, every column."""

from collections.abc import Sequence
from itertools import chain

import msgspec

from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.transfer import PreparedTransfer
from tests.simulation.auditor import Auditor
from tests.simulation.books import AccountBook
from tests.simulation.discrepancy import require, require_equal
from tests.simulation.expected_events import creditor_of, key_of
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


def _inspect_transfers(rows: Rows, books: Sequence[AccountBook]) -> None:
    prepared = {
        key_of(event): PreparedTransfer(
            *key_of(event),
            event.coordinator_type,
            event.coordinator_id,
            event.coordinator_request_id,
            locked_amount=event.locked_amount,
            recipient_creditor_id=creditor_of(event.recipient),
            prepared_at=event.prepared_at,
            final_interest_rate_ts=event.final_interest_rate_ts,
            demurrage_rate=event.demurrage_rate,
            deadline=event.deadline,
        )
        for book in books
        for event in book.prepared.values()
    }
    require_equal("the prepared transfers", rows.transfers, prepared)


def _inspect_journal(rows: Rows, books: Sequence[AccountBook]) -> None:
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
