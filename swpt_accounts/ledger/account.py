"""An account: what it holds, what may be spent, and the few verbs that change it."""

import math
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from swpt_accounts.ledger import interest, root_config
from swpt_accounts.ledger.root_config import DebtorInfo, RootConfig
from swpt_accounts.ledger.values import (
    CONFIG_SCHEDULED_FOR_DELETION,
    EPOCH,
    EPOCH_DATE,
    MAX_INT32,
    MAX_INT64,
    ROOT_CREDITOR_ID,
    AccountKey,
    account_id,
    clamp,
    next_seqnum,
)

PENDING_TRANSFERS_MAX: Final = MAX_INT32

# A re-created account must not give a transfer id twice, so ids begin with
# the day of creation. It leaves room for 2^40 transfers a day.
_TRANSFER_ID_DAY_SHIFT: Final = 40

_ZERO_PERIOD: Final = timedelta(0)


class Account(msgspec.Struct):
    """One account. Amounts are integers, rates percents a year, moments aware and in UTC.

    The last three fields are not stored: they tell what has become of the
    account in the batch at hand.
    """

    debtor_id: int
    creditor_id: int
    creation_date: date

    # These change with every transfer.
    last_change_seqnum: int
    last_change_ts: datetime
    principal: int
    interest: float
    last_transfer_number: int
    last_transfer_committed_at: datetime
    last_transfer_id: int
    total_locked_amount: int
    pending_transfers_count: int
    last_journal_number: int
    is_overflown: bool
    update_pending_since: datetime | None
    last_update_sent_ts: datetime

    # These change seldom.
    interest_rate: float
    last_interest_rate_change_ts: datetime
    previous_interest_rate: float
    last_config_ts: datetime
    last_config_seqnum: int
    negligible_amount: float
    config_flags: int
    config_data: str
    debtor_info_iri: str
    debtor_info_content_type: str
    debtor_info_sha256: bytes
    is_deleted: bool
    last_interest_capitalization_ts: datetime
    last_deletion_attempt_ts: datetime

    is_created: bool = False
    is_changed: bool = False
    is_update_due: bool = False

    @classmethod
    def create(cls, debtor_id: int, creditor_id: int, now: datetime) -> "Account":
        """Return a new account, holding nothing."""
        today = now.date()
        return cls(
            debtor_id=debtor_id,
            creditor_id=creditor_id,
            creation_date=today,
            last_change_seqnum=0,
            last_change_ts=now,
            principal=0,
            interest_rate=0.0,
            interest=0.0,
            last_interest_rate_change_ts=EPOCH,
            previous_interest_rate=0.0,
            last_config_ts=EPOCH,
            last_config_seqnum=0,
            negligible_amount=0.0,
            config_flags=0,
            config_data="",
            debtor_info_iri="",
            debtor_info_content_type="",
            debtor_info_sha256=b"",
            last_transfer_number=0,
            last_transfer_committed_at=EPOCH,
            last_transfer_id=(today - EPOCH_DATE).days << _TRANSFER_ID_DAY_SHIFT,
            total_locked_amount=0,
            pending_transfers_count=0,
            last_journal_number=0,
            is_deleted=False,
            is_overflown=False,
            update_pending_since=None,
            last_update_sent_ts=now,
            last_interest_capitalization_ts=EPOCH,
            last_deletion_attempt_ts=EPOCH,
            is_created=True,
            is_changed=True,
            is_update_due=True,
        )

    # -- what it is ------------------------------------------------------

    @property
    def key(self) -> AccountKey:
        """(debtor_id, creditor_id)"""
        return self.debtor_id, self.creditor_id

    @property
    def account_id(self) -> str:
        """The public identifier, by which others name the account as a recipient."""
        return account_id(self.creditor_id)

    @property
    def is_root(self) -> bool:
        """Tell whether this is the debtor's account, from which money is issued."""
        return self.creditor_id == ROOT_CREDITOR_ID

    @property
    def accepts_transfers(self) -> bool:
        """Tell whether new transfers to the account may be prepared."""
        return self.is_root or not (
            self.is_deleted or self.config_flags & CONFIG_SCHEDULED_FOR_DELETION
        )

    @property
    def has_too_many_transfers(self) -> bool:
        """Tell whether one more prepared transfer could not be counted."""
        return self.pending_transfers_count >= PENDING_TRANSFERS_MAX

    @property
    def root_config(self) -> RootConfig:
        """The currency's configuration, as this root account has it."""
        return root_config.parse(self.config_data) or root_config.DEFAULT_ROOT_CONFIG

    @property
    def debtor_info(self) -> DebtorInfo:
        """What the account's owner has been told about the debtor."""
        return DebtorInfo(
            self.debtor_info_iri, self.debtor_info_content_type, self.debtor_info_sha256
        )

    # -- what it holds ---------------------------------------------------

    def interest_at(self, now: datetime) -> float:
        """Return the interest accumulated until `now`."""
        if self.interest_rate == 0.0:
            return self.interest
        return interest.accumulated_interest(
            self.principal, self.interest, self.interest_rate, now - self.last_change_ts
        )

    def whole_balance(self, now: datetime) -> int:
        """Return principal and interest together, rounded down."""
        return self.principal + math.floor(self.interest_at(now))

    def payable_interest(self, now: datetime) -> int:
        """Return the whole units of accumulated interest that the principal has room for."""
        amount = math.floor(self.interest_at(now))
        return min(max(amount, -MAX_INT64 - self.principal), MAX_INT64 - self.principal)

    @property
    def lowest_balance(self) -> int:
        """The balance below which nothing may be spent.

        Zero, except for root accounts, which may issue up to the smaller one
        of the configured `limit` and the account's negligible amount.
        """
        if not self.is_root:
            return 0
        negligible_amount = min(math.floor(self.negligible_amount), MAX_INT64)
        return -min(self.root_config.limit, negligible_amount)

    def available_amount(self, now: datetime) -> int:
        """Return what may be locked for a new transfer; below zero when too much is locked.

        Never more than what the total of all locks has room for.
        """
        available_amount = self.whole_balance(now) - self.total_locked_amount - self.lowest_balance
        return min(clamp(available_amount), MAX_INT64 - self.total_locked_amount)

    def due_interest(self, amount: int, committed_at: datetime, now: datetime) -> float:
        """Return the interest lost to `amount` by being applied only now.

        See protocol.rst, Interest.
        """
        end = max(committed_at, now)
        rate_change = min(self.last_interest_rate_change_ts, end)
        return interest.due_interest(
            amount,
            late_at_previous_rate=max(_ZERO_PERIOD, rate_change - committed_at),
            previous_rate=self.previous_interest_rate,
            late_at_current_rate=min(end - committed_at, end - rate_change),
            current_rate=self.interest_rate,
        )

    # -- what changes it -------------------------------------------------

    def accrue(self, now: datetime, due: float = 0.0) -> None:
        """Bring the interest up to date, add what is `due`, and count a meaningful change."""
        self.interest = interest.contain_interest(self.interest_at(now) + due)
        if now > self.last_change_ts:
            self.last_change_ts = now
        self.last_change_seqnum = next_seqnum(self.last_change_seqnum)
        if self.update_pending_since is None:
            self.update_pending_since = now
        self.is_changed = True

    def add_to_principal(self, amount: int) -> int:
        """Add an amount, positive or not; return the part of it that did not fit."""
        before = self.principal
        self.principal = clamp(before + amount)
        clipped_amount = amount - (self.principal - before)
        if clipped_amount:
            self.is_overflown = True
        self.is_changed = True
        return clipped_amount

    def lock(self, amount: int) -> int:
        """Lock an amount for a new prepared transfer; return the transfer's id."""
        self.total_locked_amount += amount
        self.pending_transfers_count += 1
        self.last_transfer_id += 1
        self.is_changed = True
        return self.last_transfer_id

    def unlock(self, amount: int) -> None:
        """Forget a prepared transfer, for which `amount` was locked."""
        self.total_locked_amount -= amount
        self.pending_transfers_count -= 1
        self.is_changed = True

    def revive(self) -> None:
        """Bring a deleted account back to life."""
        self.is_deleted = False
        self.is_changed = True
        self.is_update_due = True

    def set_interest_rate(self, rate: float, now: datetime) -> None:
        """Change the interest rate; what has accumulated until now stays."""
        self.accrue(now)
        self.previous_interest_rate = self.interest_rate
        self.interest_rate = rate
        self.last_interest_rate_change_ts = self.last_change_ts
        self.is_update_due = True

    def set_debtor_info(self, info: DebtorInfo, now: datetime) -> None:
        """Change what the account's owner is told about the debtor."""
        self.accrue(now)
        self.debtor_info_iri = info.iri
        self.debtor_info_content_type = info.content_type
        self.debtor_info_sha256 = info.sha256
        self.is_update_due = True

    def note_interest_paid(self, amount: int, now: datetime) -> None:
        """Take from the interest what has been added to the principal."""
        self.interest = interest.contain_interest(self.interest - amount)
        self.last_interest_capitalization_ts = now
        self.is_changed = True

    def note_deletion_attempt(self, now: datetime) -> None:
        """Remember that deleting the account was tried."""
        self.last_deletion_attempt_ts = now
        self.is_changed = True

    def delete(self, now: datetime) -> None:
        """End the account's life. Its principal must have been moved away."""
        assert self.principal == 0, "an account that holds something is not deleted"
        self.accrue(now)
        self.interest = 0.0
        self.total_locked_amount = 0
        self.is_deleted = True
        self.is_update_due = True

    def require_update(self) -> None:
        """Have the account announced at the end of the batch."""
        self.is_changed = True
        self.is_update_due = True
