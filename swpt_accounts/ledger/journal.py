"""What every change of a principal leaves behind, and the proof that a batch adds up."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

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


class BooksDoNotBalance(Exception):
    """The batch at hand would create or destroy money: a defect, so nothing may be written."""


def prove_balanced(
    entries: Iterable[JournalEntry],
    *,
    principals_before: dict[AccountKey, int],
    accounts: dict[AccountKey, Account],
    received: Iterable[PendingBalanceChange],
    sent: Iterable[PendingBalanceChange],
) -> None:
    """Raise `BooksDoNotBalance` unless a batch's changes add up, by account and by currency.

    For every account, the journal's entries lead from the principal before
    the batch to the one after it. For every currency, the amounts in the
    journal plus what was sent to other shards less what was received from
    them make zero.
    """
    expected = dict(principals_before)
    totals: defaultdict[int, int] = defaultdict(int)
    for entry in entries:
        key = entry.debtor_id, entry.creditor_id
        expected[key] = expected.get(key, 0) + entry.amount - entry.clipped_amount
        if expected[key] != entry.principal:
            raise BooksDoNotBalance(
                f"journal entry {entry.journal_number} of account {key} leaves a principal of"
                f" {entry.principal}, but {expected[key]} follows from the entries before it"
            )
        totals[entry.debtor_id] += entry.amount
    for change in sent:
        totals[change.debtor_id] += change.principal_delta
    for change in received:
        totals[change.debtor_id] -= change.principal_delta
    for key, account in accounts.items():
        if account.principal != expected.get(key, 0):
            raise BooksDoNotBalance(
                f"account {key} would have a principal of {account.principal},"
                f" but its journal says {expected.get(key, 0)}"
            )
    for debtor_id, total in totals.items():
        if total != 0:
            raise BooksDoNotBalance(
                f"the changes in the currency of debtor {debtor_id} make {total} instead of 0"
            )
