"""The auditor: keeps books of its own from the commands that go in, and checks what comes out.

It knows the protocol, but nothing of working sets, batches, or tables: it
takes one command after the other, and says what must follow from it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.events import Event, PreparedTransfer
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey, ChangeKey, TransferKey
from swpt_accounts.protocol.sharding import Realm
from tests.simulation import expected_events as expected
from tests.simulation.books import MAX_INT64, AccountBook, Posting, read_currency
from tests.simulation.discrepancy import require, require_equal
from tests.simulation.expected_events import coordinator_of, creditor_of, key_of
from tests.simulation.growth import certain_remainder


class Auditor:
    """Audits all shards together."""

    def __init__(self, policy: Policy) -> None:
        self.books: dict[AccountKey, AccountBook] = {}
        self.finalized: set[TransferKey] = set()
        self.received: dict[ChangeKey, PendingBalanceChange] = {}
        self.sent: dict[ChangeKey, PendingBalanceChange] = {}
        self._policy = policy
        self._handlers: dict[type, Callable[[Any], None]] = {
            ConfigureAccount: self._configure,
            PrepareTransfer: self._prepare,
            FinalizeTransfer: self._finalize,
            PendingBalanceChange: self._receive,
        }

    def observe(
        self,
        realm: Realm,
        commands: Sequence[Command],
        facts: Facts,
        now: datetime,
        events: Sequence[Event],
    ) -> bool:
        """Check what one batch has announced; return whether it may have changed anything."""
        self._realm, self._facts, self._now = realm, facts, now
        self._events = deque(events)
        self._prepared_now: set[TransferKey] = set()
        self._has_effect = False
        for command in commands:
            self._handlers[type(command)](command)
        due = [book for book in self.books.values() if book.is_update_due]
        for book in sorted(due, key=lambda book: (book.debtor_id, book.creditor_id)):
            self._announce(book)
        require(not self._events, f"nothing asked for {list(self._events)}")
        return self._has_effect

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

    # -- ConfigureAccount --------------------------------------------------

    def _configure(self, command: ConfigureAccount) -> None:
        book = self.books.get((command.debtor_id, command.creditor_id))
        if book is None:
            if command.ts + self._policy.message_delay_max < self._now:
                return
        elif not expected.is_later(command, book):
            return
        is_root = command.creditor_id == 0
        currency = read_currency(command.config_data)
        if currency is None or (command.config_data and not is_root):
            self._expect(expected.rejection(command, self._now))
            return
        self._has_effect = True
        begins = book is None or book.is_deleted
        book = self._revived(command.debtor_id, command.creditor_id)
        book.last_config_ts, book.last_config_seqnum = command.ts, command.seqnum
        book.config_flags, book.config_data = command.config_flags, command.config_data
        book.negligible_amount = command.negligible_amount
        book.touch(self._now)
        book.is_update_due = True
        document = self._document_of_currency(command.debtor_id)
        if begins and not is_root and document is not None:
            known = read_currency(document)
            if known is not None:
                interval = self._policy.message_delay_max + timedelta(days=1)
                book.set_currency(known, self._now, interval)

    def _document_of_currency(self, debtor_id: int) -> str | None:
        if not self._realm.contains(debtor_id, 0):
            return self._facts.root_config_data.get(debtor_id)
        root = self.books.get((debtor_id, 0))
        return None if root is None else root.config_data

    # -- PrepareTransfer ---------------------------------------------------

    def _prepare(self, command: PrepareTransfer) -> None:
        require(bool(self._events), f"{command} got no answer")
        book = self._live(command.debtor_id, command.creditor_id)
        for transfer in book.prepared.values() if book else ():
            if coordinator_of(transfer) == coordinator_of(command):
                self._expect(expected.reminder(transfer, self._now))
                return
        recipient = creditor_of(command.recipient)
        amount = 0
        if book is not None:
            room = MAX_INT64 - book.locked
            amount = max(0, min(command.max_locked_amount, book.spendable(self._now), room))
        refusal = self._refusal(command, book, recipient, amount)
        if refusal is not None:
            is_unreachable = refusal.endswith("_UNREACHABLE")
            total = 0 if book is None or is_unreachable else book.locked
            self._expect(expected.refusal(command, refusal, total, self._now))
            return
        assert book is not None
        self._has_effect = True
        book.last_transfer_id += 1
        event = expected.preparation(
            command, book.last_transfer_id, amount, self._policy, self._now
        )
        self._expect(event)
        book.prepared[event.transfer_id] = event
        self._prepared_now.add(key_of(event))

    def _refusal(
        self,
        command: PrepareTransfer,
        book: AccountBook | None,
        recipient: int | None,
        amount: int,
    ) -> str | None:
        if recipient is None or not self._is_reachable(command, recipient):
            return "RECIPIENT_IS_UNREACHABLE"
        if book is None:
            return "SENDER_IS_UNREACHABLE"
        if command.coordinator_type == "agent" and not expected.have_one_agent(
            command.creditor_id, recipient
        ):
            return "RECIPIENT_IS_UNREACHABLE"
        if recipient == command.creditor_id:
            return "RECIPIENT_SAME_AS_SENDER"
        if book.last_interest_rate_change_ts > command.final_interest_rate_ts:
            return "NEWER_INTEREST_RATE"
        if amount < command.min_locked_amount:
            return "INSUFFICIENT_AVAILABLE_AMOUNT"
        return None

    def _is_reachable(self, command: PrepareTransfer, recipient: int) -> bool:
        if command.coordinator_type == "agent" or recipient == 0:
            return True
        if not self._realm.contains(command.debtor_id, recipient):
            return self._facts.reachable[command.debtor_id, recipient]
        book = self.books.get((command.debtor_id, recipient))
        return book is not None and book.accepts_transfers

    # -- FinalizeTransfer --------------------------------------------------

    def _finalize(self, command: FinalizeTransfer) -> None:
        key = key_of(command)
        book = self._live(command.debtor_id, command.creditor_id)
        transfer = book.prepared.get(command.transfer_id) if book else None
        if (
            book is None
            or transfer is None
            or key in self._prepared_now
            or coordinator_of(transfer) != coordinator_of(command)
        ):
            return
        require(key not in self.finalized, f"transfer {key} is finalized a second time")
        self._has_effect = True
        self.finalized.add(key)
        status = self._verdict(command, transfer, book)
        del book.prepared[command.transfer_id]
        amount = command.committed_amount if status == "OK" else 0
        committed_at = max(self._now, transfer.prepared_at)
        self._expect(expected.finalization(transfer, amount, status, book.locked, committed_at))
        if amount:
            self._move(command, transfer, committed_at)
        if amount > transfer.locked_amount:
            is_covered = book.spendable(self._now) >= 0
            require(is_covered, f"{command} has spent what was not there: {book}")

    def _verdict(
        self, command: FinalizeTransfer, transfer: PreparedTransfer, book: AccountBook
    ) -> str:
        amount = command.committed_amount
        if amount == 0:
            return "OK"
        if self._now > transfer.deadline:
            return "TIMEOUT"
        if book.last_interest_rate_change_ts > transfer.final_interest_rate_ts:
            return "NEWER_INTEREST_RATE"
        if amount <= book.spendable(self._now) + transfer.locked_amount:
            return "OK"
        secured = transfer.locked_amount
        if not book.is_root:
            secured = certain_remainder(secured, self._now - transfer.prepared_at)
        return "OK" if amount <= secured else "INSUFFICIENT_AVAILABLE_AMOUNT"

    def _move(
        self, command: FinalizeTransfer, transfer: PreparedTransfer, committed_at: datetime
    ) -> None:
        recipient = creditor_of(transfer.recipient)
        assert recipient is not None
        is_local = self._realm.contains(command.debtor_id, recipient)
        change_id = None if is_local else self._announced_change_id()
        posting = Posting(
            applied_at=self._now,
            committed_at=committed_at,
            amount=command.committed_amount,
            clipped_amount=0,
            principal=0,
            coordinator_type=command.coordinator_type,
            other_creditor_id=command.creditor_id,
            transfer_id=command.transfer_id,
            change_id=change_id,
            transfer_note_format=command.transfer_note_format,
            transfer_note=command.transfer_note,
        )
        debtor_id, sender = command.debtor_id, command.creditor_id
        debit = msgspec.structs.replace(
            posting, amount=-posting.amount, other_creditor_id=recipient
        )
        self._post(debtor_id, sender, debit)
        if change_id is None:
            self._post(debtor_id, recipient, posting)
        else:
            change = expected.balance_change(posting, debtor_id, recipient, change_id)
            require((debtor_id, sender, change_id) not in self.sent, f"id reused: {change}")
            self.sent[debtor_id, sender, change_id] = change
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

    # -- PendingBalanceChange ----------------------------------------------

    def _receive(self, change: PendingBalanceChange) -> None:
        key = change.debtor_id, change.other_creditor_id, change.change_id
        if change.committed_at < self._policy.archive_threshold or key in self.received:
            return
        self._has_effect = True
        self.received[key] = change
        self._post(
            change.debtor_id,
            change.creditor_id,
            Posting(
                applied_at=self._now,
                committed_at=change.committed_at,
                amount=change.principal_delta,
                clipped_amount=0,
                principal=0,
                coordinator_type=change.coordinator_type,
                other_creditor_id=change.other_creditor_id,
                transfer_id=None,
                change_id=change.change_id,
                transfer_note_format=change.transfer_note_format,
                transfer_note=change.transfer_note,
            ),
        )
