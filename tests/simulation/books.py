"""The auditor's book of one account."""

import math
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

import msgspec

from swpt_accounts.ledger.events import PreparedTransfer
from tests.simulation.growth import contained, grown_interest, growth, missed_interest

EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
MAX_INT64: Final = 2**63 - 1
UNKNOWN_ID_MIN: Final = 2**63
"""Numbers from here on stand for change ids that nobody is told."""


def contained_amount(amount: int) -> int:
    """Return the nearest amount that an account may have."""
    return min(max(amount, -MAX_INT64), MAX_INT64)


class Currency(msgspec.Struct, frozen=True):
    """What a root account's configuration document says."""

    rate: float = 0.0
    limit: int = MAX_INT64
    iri: str = ""
    content_type: str = ""
    sha256: bytes = b""

    @property
    def info(self) -> tuple[str, str, bytes]:
        """What owners are told about the debtor."""
        return self.iri, self.content_type, self.sha256


def read_currency(document: str) -> Currency | None:
    """Return what a document says; None when it says nothing valid."""
    if not document:
        return Currency()
    try:
        content = msgspec.json.decode(document)
        info = content.get("info", {})
        currency = Currency(
            float(content.get("rate", 0.0)),
            content.get("limit", MAX_INT64),
            info.get("iri", ""),
            info.get("contentType", ""),
            bytes.fromhex(info.get("sha256", "")),
        )
    except (msgspec.DecodeError, AttributeError, ValueError):
        return None
    is_valid = content.get("type", "").startswith("RootConfigData")
    in_range = -50 <= currency.rate <= 100 and 0 <= currency.limit <= MAX_INT64
    return currency if is_valid and in_range else None


class Posting(msgspec.Struct, frozen=True):
    """One change of a principal, as the account's journal must have it."""

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


@dataclass
class AccountBook:
    """What the auditor knows of one account. The first fields are columns of the same names."""

    debtor_id: int
    creditor_id: int
    creation_date: date
    last_change_ts: datetime
    last_update_sent_ts: datetime
    last_transfer_id: int
    last_change_seqnum: int = 0
    principal: int = 0
    interest: float = 0.0
    interest_rate: float = 0.0
    previous_interest_rate: float = 0.0
    last_interest_rate_change_ts: datetime = EPOCH
    last_config_ts: datetime = EPOCH
    last_config_seqnum: int = 0
    config_flags: int = 0
    config_data: str = ""
    negligible_amount: float = 0.0
    debtor_info_iri: str = ""
    debtor_info_content_type: str = ""
    debtor_info_sha256: bytes = b""
    last_transfer_number: int = 0
    last_transfer_committed_at: datetime = EPOCH
    is_deleted: bool = False
    is_overflown: bool = False
    update_pending_since: datetime | None = None
    last_interest_capitalization_ts: datetime = EPOCH
    last_deletion_attempt_ts: datetime = EPOCH

    is_update_due: bool = True
    prepared: dict[int, PreparedTransfer] = field(default_factory=dict)
    reminded: dict[int, datetime] = field(default_factory=dict)
    postings: list[Posting] = field(default_factory=list)

    @classmethod
    def open(cls, debtor_id: int, creditor_id: int, now: datetime) -> "AccountBook":
        """Open a book for a new account."""
        days = (now.date() - EPOCH.date()).days
        return cls(debtor_id, creditor_id, now.date(), now, now, days * 2**40)

    @property
    def columns(self) -> dict[str, Any]:
        """What the account's row must hold, column by column."""
        own = {k: v for k, v in vars(self).items() if k not in NOT_COLUMNS}
        return own | {
            "total_locked_amount": self.locked,
            "pending_transfers_count": len(self.prepared),
            "last_journal_number": len(self.postings),
        }

    @property
    def is_root(self) -> bool:
        """Tell whether this is a debtor's account."""
        return self.creditor_id == 0

    @property
    def accepts_transfers(self) -> bool:
        """Tell whether transfers to the account may be prepared."""
        return not self.is_deleted and self.config_flags % 2 == 0

    @property
    def locked(self) -> int:
        """Everything that is locked for prepared transfers."""
        return sum(transfer.locked_amount for transfer in self.prepared.values())

    @property
    def lowest(self) -> int:
        """The balance below which nothing may be spent."""
        if not self.is_root:
            return 0
        limit = (read_currency(self.config_data) or Currency()).limit
        return -min(limit, contained_amount(math.floor(self.negligible_amount)))

    def interest_at(self, now: datetime) -> float:
        """Return the interest accumulated until now."""
        factor = growth(self.interest_rate, now - self.last_change_ts)
        return grown_interest(self.principal, self.interest, factor)

    def spendable(self, now: datetime) -> int:
        """Return what is neither locked nor needed to keep the lowest balance."""
        return self.principal + math.floor(self.interest_at(now)) - self.locked - self.lowest

    def touch(self, now: datetime, due: float = 0.0) -> None:
        """Note a meaningful change."""
        self.interest = contained(self.interest_at(now) + due)
        self.last_change_ts = max(now, self.last_change_ts)
        self.last_change_seqnum = (self.last_change_seqnum + 1 + 2**31) % 2**32 - 2**31
        self.update_pending_since = self.update_pending_since or now

    @property
    def debtor_info(self) -> tuple[str, str, bytes]:
        """What the owner has been told about the debtor."""
        return self.debtor_info_iri, self.debtor_info_content_type, self.debtor_info_sha256

    def set_debtor_info(self, info: tuple[str, str, bytes], now: datetime) -> None:
        """Note what the owner is told about the debtor."""
        self.touch(now)
        self.debtor_info_iri, self.debtor_info_content_type, self.debtor_info_sha256 = info

    def set_rate(self, rate: float, now: datetime) -> None:
        """Note a change of the interest rate."""
        self.touch(now)
        self.previous_interest_rate, self.interest_rate = self.interest_rate, rate
        self.last_interest_rate_change_ts = self.last_change_ts

    def note_interest_paid(self, amount: int, now: datetime) -> None:
        """Note that some interest has been added to the principal."""
        self.interest = contained(self.interest - amount)
        self.last_interest_capitalization_ts = now

    def delete(self, now: datetime) -> None:
        """Note that the account, on which nothing is left, does not live any more."""
        self.touch(now)
        self.interest = 0.0
        self.is_deleted = self.is_update_due = True

    def post(self, posting: Posting) -> Posting:
        """Enter a change of the principal, for which only `amount` is known."""
        now, begin = posting.applied_at, posting.committed_at
        end = max(begin, now)
        rate_change = min(max(self.last_interest_rate_change_ts, begin), end)
        missed = missed_interest(
            posting.amount,
            growth(self.previous_interest_rate, rate_change - begin),
            growth(self.interest_rate, end - rate_change),
        )
        self.touch(now, missed)
        principal = contained_amount(self.principal + posting.amount)
        clipped_amount = posting.amount - (principal - self.principal)
        self.principal = principal
        self.is_overflown |= clipped_amount != 0
        self.postings.append(
            msgspec.structs.replace(posting, principal=principal, clipped_amount=clipped_amount)
        )
        return self.postings[-1]


NOT_COLUMNS: Final = ("is_update_due", "prepared", "reminded", "postings")
