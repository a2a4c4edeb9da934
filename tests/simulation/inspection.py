"""The tables against the auditor's books: every row, every column."""

from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from swpt_accounts.ledger.journal import JournalEntry
from tests.simulation.auditor import Auditor
from tests.simulation.books import UNKNOWN_ID_MIN, AccountBook
from tests.simulation.discrepancy import require, require_equal
from tests.simulation.expected_events import key_of
from tests.simulation.reading import account_columns
from tests.simulation.rows import Rows, Shard, journal_order


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
        closed = [b for b in auditor.closed if shard.realm.contains(b.debtor_id, b.creditor_id)]
        _inspect_journal(rows, [*closed, *books.values()], auditor)
    registered = {key: moment for rows in tables for key, moment in rows.changes.items()}
    applied = {key: change.committed_at for key, change in auditor.received.items()}
    require_equal("the registered changes", registered, applied)


def _inspect_transfers(rows: Rows, books: Iterable[AccountBook]) -> None:
    books = list(books)
    announced = {key_of(event): event for book in books for event in book.prepared.values()}
    prepared = {
        key: transfer.announcement(transfer.prepared_at) for key, transfer in rows.transfers.items()
    }
    require_equal("the prepared transfers", prepared, announced)
    noted = {key: transfer.last_reminder_ts for key, transfer in rows.transfers.items()}
    reminded = {
        key_of(event): book.reminded.get(event.transfer_id)
        for book in books
        for event in book.prepared.values()
    }
    require_equal("the moments of reminders", noted, reminded)


def _inspect_journal(rows: Rows, books: Iterable[AccountBook], auditor: Auditor) -> None:
    entries = [
        JournalEntry(
            book.debtor_id,
            book.creditor_id,
            book.creation_date,
            number,
            **msgspec.structs.asdict(posting),
        )
        for book in books
        for number, posting in enumerate(book.postings, start=1)
    ]
    entries.sort(key=journal_order)
    require_equal("the journal", rows.journal, _with_ids(entries, rows.journal, auditor))


def _with_ids(
    expected: Sequence[JournalEntry], observed: Sequence[JournalEntry], auditor: Auditor
) -> list[JournalEntry]:
    """Put in the ids of changes that no message has told of: any, but each only once."""
    require_equal("the number of journal entries", len(observed), len(expected))
    ids: dict[int, int | None] = {}
    complete = []
    for entry, found in zip(expected, observed, strict=True):
        number = entry.change_id
        if number is not None and number >= UNKNOWN_ID_MIN:
            change_id = ids.setdefault(number, found.change_id)
            entry = msgspec.structs.replace(entry, change_id=change_id)  # noqa: PLW2901
            is_new = (found.debtor_id, found.creditor_id, change_id) not in auditor.sent
            require(is_new and change_id is not None, f"{found} has a wrong id")
        complete.append(entry)
    require(len(ids) == len(set(ids.values())), "an id is used for several changes")
    return complete
