"""The auditor: keeps books of its own from the commands that go in, and checks what comes out.

It knows the protocol, but nothing of working sets, batches, or tables: it
takes one command after the other, and says what must follow from it.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from swpt_accounts.ledger.chores import Chore
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
from swpt_accounts.protocol.sharding import Realm
from tests.simulation import expected_events as expected
from tests.simulation.books import MAX_INT64, AccountBook, Currency, Posting, read_currency
from tests.simulation.discrepancy import require
from tests.simulation.expected_events import coordinator_of, creditor_of, key_of
from tests.simulation.growth import certain_remainder
from tests.simulation.upkeep_audit import UpkeepAuditor


class Auditor(UpkeepAuditor):
    """Audits all shards together."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._handlers |= {
            ConfigureAccount: self._configure,
            PrepareTransfer: self._prepare,
            FinalizeTransfer: self._finalize,
            PendingBalanceChange: self._receive,
        }

    def observe(
        self,
        realm: Realm,
        commands: Sequence[Command | Chore],
        facts: Facts,
        now: datetime,
        events: Sequence[Event],
    ) -> bool:
        """Check what one batch has announced; return whether it may have changed anything."""
        self._realm, self._facts, self._now = realm, facts, now
        self._events = deque(events)
        self._prepared_now = set()
        self._has_effect = False
        for command in commands:
            self._handlers[type(command)](command)
        due = [book for book in self.books.values() if book.is_update_due]
        for book in sorted(due, key=lambda book: (book.debtor_id, book.creditor_id)):
            self._announce(book)
        require(not self._events, f"nothing asked for {list(self._events)}")
        return self._has_effect

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
        if begins and not is_root:
            known = self._currency(command.debtor_id)
            if known is not None:
                self._follow(book, known)

    def _currency(self, debtor_id: int) -> Currency | None:
        """Return what the shard at hand knows about a currency."""
        if not self._realm.contains(debtor_id, 0):
            document = self._facts.root_config_data.get(debtor_id)
            return None if document is None else read_currency(document)
        return self._own_currency(debtor_id)

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
            recipient = creditor_of(transfer.recipient)
            assert recipient is not None
            posting = Posting(
                applied_at=self._now,
                committed_at=committed_at,
                amount=-amount,
                clipped_amount=0,
                principal=0,
                coordinator_type=command.coordinator_type,
                other_creditor_id=recipient,
                transfer_id=command.transfer_id,
                change_id=None,
                transfer_note_format=command.transfer_note_format,
                transfer_note=command.transfer_note,
            )
            self._move(command.debtor_id, command.creditor_id, posting)
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
