"""What every change of a principal leaves behind, and the proof that a batch adds up."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import NamedTuple

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.values import AccountKey


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """One change of one account's principal.

    `journal_number` counts from 1 without gaps for each account. `principal`
    is the account's principal after the change: the one before plus `amount`
    less `clipped_amount`, which is the part that did not fit into 64 bits.
    At least one of `transfer_id` and `change_id` is given.
    """

    debtor_id: int
    creditor_id: int
    creation_date: date
    journal_number: int
    applied_at: datetime
    committed_at: datetime
    amount: int
    clipped_amount: int
    principal: int
    coordinator_type: str
    other_creditor_id: int
    transfer_id: int | None
    change_id: int | None
    transfer_note_format: str
    transfer_note: str


class Position(NamedTuple):
    """How far an account's journal goes: its latest entry's number and principal."""

    journal_number: int
    principal: int

    @classmethod
    def of(cls, account: Account) -> "Position":
        """Return what the account itself says."""
        return cls(account.last_journal_number, account.principal)


class BooksDoNotBalance(Exception):
    """The batch at hand would create or destroy money: a defect, so nothing may be written."""


_NOTHING_YET = Position(0, 0)


def prove_balanced(
    entries: Iterable[JournalEntry],
    *,
    before: dict[AccountKey, Position],
    accounts: dict[AccountKey, Account],
    received: Iterable[PendingBalanceChange],
    sent: Iterable[PendingBalanceChange],
    purged: Mapping[AccountKey, Position],
) -> None:
    """Raise `BooksDoNotBalance` unless a batch's changes add up, by account and by currency.

    For every account, the journal's entries lead without a gap from the
    position before the batch to the one after it. For every currency, the
    amounts in the journal plus what was sent to other shards less what was
    received from them make zero. A purged account takes nothing with it.
    """
    positions = dict(before)
    totals: defaultdict[int, int] = defaultdict(int)
    for entry in entries:
        key = entry.debtor_id, entry.creditor_id
        number, principal = positions.get(key, _NOTHING_YET)
        expected = Position(number + 1, principal + entry.amount - entry.clipped_amount)
        if expected != (entry.journal_number, entry.principal):
            raise BooksDoNotBalance(
                f"account {key} gets journal entry {entry.journal_number}, which leaves a principal"
                f" of {entry.principal}, but entry {expected.journal_number} with"
                f" {expected.principal} follows from the ones before it"
            )
        positions[key] = expected
        totals[entry.debtor_id] += entry.amount
    for change in sent:
        totals[change.debtor_id] += change.principal_delta
    for change in received:
        totals[change.debtor_id] -= change.principal_delta
    _require_positions(positions, accounts)
    for key, position in purged.items():
        if position.principal != 0:
            raise BooksDoNotBalance(f"account {key} is purged with {position.principal} on it")
    for debtor_id, total in totals.items():
        if total != 0:
            raise BooksDoNotBalance(
                f"the changes in the currency of debtor {debtor_id} make {total} instead of 0"
            )


def _require_positions(
    positions: dict[AccountKey, Position], accounts: dict[AccountKey, Account]
) -> None:
    if unknown := positions.keys() - accounts.keys():
        raise BooksDoNotBalance(f"there are journal entries of unknown accounts: {sorted(unknown)}")
    for key, account in accounts.items():
        expected = positions.get(key, _NOTHING_YET)
        if Position.of(account) != expected:
            raise BooksDoNotBalance(
                f"account {key} would have {account.last_journal_number} journal entries and a"
                f" principal of {account.principal}, but its journal says"
                f" {expected.journal_number} and {expected.principal}"
            )
