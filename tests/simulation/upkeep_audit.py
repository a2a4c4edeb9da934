"""What scans must find, and what must follow from chores (protocol.rst, Periodic work)."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from swpt_accounts.ledger import chores
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.events import AccountPurge, PreparedTransfer
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.sharding import Realm
from tests.simulation import expected_events as expected
from tests.simulation.bookkeeper import BookKeeper
from tests.simulation.books import MAX_INT64, AccountBook, Currency, Posting, read_currency

DAY: Final = timedelta(days=1)


class UpkeepAuditor(BookKeeper):
    """Audits the scans of all shards, and the chores that they send."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._handlers |= {
            chores.SendAccountUpdate: self._send_update,
            chores.ChangeInterestRate: self._change_rate,
            chores.UpdateDebtorInfo: self._update_info,
            chores.CapitalizeInterest: self._pay_interest,
            chores.TryToDeleteAccount: self._try_to_delete,
            chores.PurgeAccount: self._purge,
            chores.RemindOfTransfer: self._remind,
        }

    def due(
        self, realm: Realm, documents: Mapping[int, str | None], now: datetime
    ) -> Iterator[Chore]:
        """Yield what a scan must find; `documents` are those of other shards' currencies."""
        self._now = now
        for key, book in self.books.items():
            if not realm.contains(*key):
                continue
            yield from self._due_to_time(book)
            if realm.contains(book.debtor_id, 0):
                currency = self._own_currency(book.debtor_id)
            else:
                document = documents.get(book.debtor_id)
                currency = None if document is None else read_currency(document)
            if currency is not None:
                yield from self._due_to_currency(book, currency)

    def _due_to_time(self, book: AccountBook) -> Iterator[Chore]:
        key = book.debtor_id, book.creditor_id
        if self._is_purge_due(book):
            yield chores.PurgeAccount(*key)
        if self._is_attempt_due(book):
            yield chores.TryToDeleteAccount(*key)
        if self._payment_due(book):
            yield chores.CapitalizeInterest(*key)
        if self._is_update_due(book):
            yield chores.SendAccountUpdate(*key)
        for transfer in book.prepared.values():
            if self._is_reminder_due(book, transfer):
                yield chores.RemindOfTransfer(*key, transfer.transfer_id)

    def _due_to_currency(self, book: AccountBook, currency: Currency) -> Iterator[Chore]:
        key = book.debtor_id, book.creditor_id
        if self._is_rate_change_due(book, currency.rate):
            yield chores.ChangeInterestRate(*key, currency.rate, self._now)
        if self._is_info_change_due(book, currency.info):
            sha256 = currency.sha256.hex().upper()
            yield chores.UpdateDebtorInfo(
                *key, currency.iri, currency.content_type, sha256, self._now
            )

    def _own_currency(self, debtor_id: int) -> Currency | None:
        root = self.books.get((debtor_id, 0))
        return None if root is None else read_currency(root.config_data)

    # -- Interest rate changes ---------------------------------------------

    def _is_rate_change_due(self, book: AccountBook, rate: float) -> bool:
        interval = self._policy.message_delay_max + DAY
        return (
            not (book.is_root or book.is_deleted)
            and rate != book.interest_rate
            and self._now - book.last_interest_rate_change_ts >= interval
        )

    def _is_info_change_due(self, book: AccountBook, info: tuple[str, str, bytes]) -> bool:
        return not (book.is_root or book.is_deleted) and info != book.debtor_info

    def _follow(self, book: AccountBook, currency: Currency) -> None:
        """Note what an account is told about its currency."""
        self._follow_rate(book, currency.rate)
        self._follow_info(book, currency.info)

    def _follow_rate(self, book: AccountBook, rate: float) -> None:
        if self._is_rate_change_due(book, rate):
            book.set_rate(rate, self._now)
            book.is_update_due = self._has_effect = True

    def _follow_info(self, book: AccountBook, info: tuple[str, str, bytes]) -> None:
        if self._is_info_change_due(book, info):
            book.set_debtor_info(info, self._now)
            book.is_update_due = self._has_effect = True

    def _change_rate(self, chore: chores.ChangeInterestRate) -> None:
        book = self._live(chore.debtor_id, chore.creditor_id)
        if book is not None and chore.ts + DAY >= self._now:
            self._follow_rate(book, min(max(chore.interest_rate, -50.0), 100.0))

    def _update_info(self, chore: chores.UpdateDebtorInfo) -> None:
        book = self._live(chore.debtor_id, chore.creditor_id)
        if book is not None and chore.ts + DAY >= self._now:
            sha256 = bytes.fromhex(chore.debtor_info_sha256)
            info = chore.debtor_info_iri, chore.debtor_info_content_type, sha256
            self._follow_info(book, info)

    # -- Interest payments -------------------------------------------------

    def _payment_due(self, book: AccountBook) -> int:
        """Return what has to be paid now, or zero."""
        waited = self._now - book.last_interest_capitalization_ts
        if book.is_root or book.is_deleted or waited < self._policy.capitalization_interval_min:
            return 0
        principal = book.principal
        amount = math.floor(book.interest_at(self._now))
        lowest, highest = -MAX_INT64 - min(principal, 0), MAX_INT64 - max(principal, 0)
        amount = min(max(amount, lowest), highest)
        ratio = abs(amount) / (1 + abs(principal))
        return amount if ratio > self._policy.interest_to_principal_ratio_max else 0

    def _pay_interest(self, chore: chores.CapitalizeInterest) -> None:
        book = self._live(chore.debtor_id, chore.creditor_id)
        amount = self._payment_due(book) if book else 0
        if book is None or amount == 0:
            return
        self._move_from_root(book, amount, "interest")
        book.note_interest_paid(amount, self._now)

    def _move_from_root(self, book: AccountBook, amount: int, kind: str) -> None:
        self._has_effect = True
        posting = Posting(
            applied_at=self._now,
            committed_at=max(self._now, book.last_change_ts),
            amount=amount,
            clipped_amount=0,
            principal=0,
            coordinator_type=kind,
            other_creditor_id=0,
            transfer_id=None,
            change_id=None,
            transfer_note_format="",
            transfer_note="",
        )
        self._move(book.debtor_id, book.creditor_id, posting)

    # -- Deletion, Purge ---------------------------------------------------

    def _is_attempt_due(self, book: AccountBook) -> bool:
        waited = self._now - book.last_deletion_attempt_ts
        is_time = waited >= self._policy.deletion_attempts_interval_min
        return not book.is_deleted and book.config_flags % 2 == 1 and is_time

    def _try_to_delete(self, chore: chores.TryToDeleteAccount) -> None:
        book = self._live(chore.debtor_id, chore.creditor_id)
        if book is None or not self._is_attempt_due(book):
            return
        self._has_effect = True
        book.last_deletion_attempt_ts = self._now
        balance = book.principal + Fraction(book.interest_at(self._now))
        is_negligible = balance <= max(book.negligible_amount, 2)
        if book.prepared or not (book.principal == 0 if book.is_root else is_negligible):
            return
        if book.principal:
            self._move_from_root(book, -book.principal, "delete")
        book.delete(self._now)

    def _is_purge_due(self, book: AccountBook) -> bool:
        policy = self._policy
        delay = policy.intranet_delay_max + policy.commit_period + 2 * DAY
        is_old = book.creation_date < (self._now - 3 * DAY).date()
        return book.is_deleted and self._now - book.last_change_ts > delay and is_old

    def _purge(self, chore: chores.PurgeAccount) -> None:
        key = chore.debtor_id, chore.creditor_id
        book = self.books.get(key)
        if book is not None and self._is_purge_due(book):
            self._has_effect = True
            self.closed.append(self.books.pop(key))
            self._expect(AccountPurge(*key, book.creation_date, self._now))

    # -- Heartbeats, Reminders ---------------------------------------------

    def _is_update_due(self, book: AccountBook) -> bool:
        policy, now = self._policy, self._now
        if book.is_deleted:
            return False
        since = book.update_pending_since
        if since is not None and now - since >= policy.account_update_delay:
            return True
        silence_max = max(policy.heartbeat_interval, policy.message_delay_max)
        return now - book.last_update_sent_ts >= silence_max

    def _send_update(self, chore: chores.SendAccountUpdate) -> None:
        book = self._live(chore.debtor_id, chore.creditor_id)
        if book is not None and self._is_update_due(book):
            book.is_update_due = self._has_effect = True

    def _is_reminder_due(self, book: AccountBook, transfer: PreparedTransfer) -> bool:
        told_at = book.reminded.get(transfer.transfer_id, transfer.prepared_at)
        policy = self._policy
        return self._now - told_at >= max(policy.reminder_interval, policy.message_delay_max)

    def _remind(self, chore: chores.RemindOfTransfer) -> None:
        key = chore.debtor_id, chore.creditor_id, chore.transfer_id
        book = self.books.get(key[:2])
        transfer = book.prepared.get(chore.transfer_id) if book else None
        if book is None or transfer is None or key in self._prepared_now:
            return
        if self._is_reminder_due(book, transfer):
            self._has_effect = True
            book.reminded[chore.transfer_id] = self._now
            self._expect(expected.reminder(transfer, self._now))
