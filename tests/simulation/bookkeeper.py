"""What the auditor enters into the books, and expects to be announced, whatever the reason is."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

import msgspec

from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import Event
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey, ChangeKey, TransferKey
from swpt_accounts.protocol.sharding import Realm
from tests.simulation import expected_events as expected
from tests.simulation.books import UNKNOWN_ID_MIN, AccountBook, Posting
from tests.simulation.discrepancy import require, require_equal


class BookKeeper:
    """Keeps the books of all shards, and follows the events of the batch at hand."""

    _realm: Realm
    _facts: Facts
    _now: datetime
    _events: deque[Event]
    _prepared_now: set[TransferKey]
    _has_effect: bool

    def __init__(self, policy: Policy) -> None:
        self.books: dict[AccountKey, AccountBook] = {}
        self.closed: list[AccountBook] = []
        self.finalized: set[TransferKey] = set()
        self.received: dict[ChangeKey, PendingBalanceChange] = {}
        self.sent: dict[ChangeKey, PendingBalanceChange] = {}
        self._policy = policy
        self._handlers: dict[type, Callable[[Any], None]] = {}
        self._unknown_ids = count(UNKNOWN_ID_MIN)

    def _expect(self, event: Event) -> None:
        require(bool(self._events), f"{event} was not announced")
        require_equal("what is announced", self._events.popleft(), event)

    def _announce(self, book: AccountBook) -> None:
        book.is_update_due = False
        book.update_pending_since = None
        book.last_update_sent_ts = max(self._now, book.last_update_sent_ts)
        self._expect(expected.account_update(book, self._policy, self._now))

    def _live(self, debtor_id: int, creditor_id: int) -> AccountBook | None:
        book = self.books.get((debtor_id, creditor_id))
        return None if book is None or book.is_deleted else book

    def _revived(self, debtor_id: int, creditor_id: int) -> AccountBook:
        """Return the book of an account that is to live now, whatever it was before."""
        key = debtor_id, creditor_id
        book = self.books.get(key)
        if book is None:
            book = self.books[key] = AccountBook.open(*key, self._now)
        if book.is_deleted:
            book.is_deleted = False
            book.is_update_due = True
        return book

    # -- money ---------------------------------------------------------------

    def _move(self, debtor_id: int, creditor_id: int, posting: Posting) -> None:
        """Enter a change of an account, and the opposite one of the other party.

        A change of an account of another shard is announced, with an id. Of
        others the id is not known here, if they have one.
        """
        other = posting.other_creditor_id
        is_local = self._realm.contains(debtor_id, other)
        change_id = self._announced_change_id() if not is_local else next(self._unknown_ids)
        if not is_local or posting.transfer_id is None:
            posting = msgspec.structs.replace(posting, change_id=change_id)
        opposite = msgspec.structs.replace(
            posting, amount=-posting.amount, other_creditor_id=creditor_id
        )
        self._post(debtor_id, creditor_id, posting)
        if is_local:
            self._post(debtor_id, other, opposite)
            return
        change = expected.balance_change(opposite, debtor_id, other, change_id)
        key = debtor_id, creditor_id, change.change_id
        require(key not in self.sent, f"id reused: {change}")
        self.sent[key] = change
        self._expect(change)

    def _announced_change_id(self) -> int:
        """Ids are drawn from a sequence: whatever the next one announced is, it must be new."""
        for event in self._events:
            if isinstance(event, PendingBalanceChange):
                return event.change_id
        require(False, "another shard was not told of a commit")  # noqa: FBT003
        raise AssertionError

    def _post(self, debtor_id: int, creditor_id: int, posting: Posting) -> None:
        book = self._revived(debtor_id, creditor_id)
        entered = book.post(posting)
        is_hidden = 0 < posting.amount <= book.negligible_amount
        if creditor_id == 0 or (is_hidden and posting.coordinator_type != "agent"):
            return
        book.last_transfer_number += 1
        book.last_transfer_committed_at = posting.committed_at
        self._expect(expected.account_transfer(book, entered))
