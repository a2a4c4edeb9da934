"""One account in exact decimals, as protocol.rst has it: Interest, and Periodic work.

Nothing is ever rounded here, except down to the whole units that are paid. A
node stores interest as a 64-bit float, so its interest may differ, by no more
than `error`: each time it is stored, it is rounded by at most half of its last
binary digit, and what was once rounded away grows with the balance, as money does.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from functools import cache
from typing import Final

from swpt_accounts.ledger.policy import Policy

EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
DAY: Final = timedelta(days=1)

_EXACT: Final = Context(prec=70)
_HALF_OF_THE_LAST_DIGIT: Final = Decimal(2) ** -53
_MICROSECOND: Final = timedelta(microseconds=1)
_YEAR: Final = Decimal(timedelta(seconds=31_557_600) // _MICROSECOND)
_ZERO: Final = Decimal(0)


class TooCloseToCall(Exception):
    """A float cannot tell on which side of a threshold the exact number is."""


@cache
def _yearly_exponent(rate: float) -> Decimal:
    return _EXACT.ln(_EXACT.add(1, _EXACT.divide(Decimal(rate), 100)))


def exponent(rate: float, period: timedelta) -> Decimal:
    """Return k(rate) · period, or zero for a period that is none."""
    if period <= timedelta(0):
        return _ZERO
    years = _EXACT.divide(Decimal(period // _MICROSECOND), _YEAR)
    return _EXACT.multiply(_yearly_exponent(rate), years)


def whole(number: Decimal, error: Decimal) -> int:
    """Return a number rounded down, if its error leaves no doubt about it."""
    floor = int(number.to_integral_value(ROUND_FLOOR))
    if error and min(number - floor, floor + 1 - number) <= error:
        raise TooCloseToCall
    return floor


@dataclass
class Lock:
    """What is locked for one prepared transfer."""

    amount: int
    recipient_id: int
    prepared_at: datetime
    deadline: datetime
    final_interest_rate_ts: datetime
    told_at: datetime


@dataclass
class ExactAccount:
    """What is on one account, and what time makes of it; `history` helps to find mistakes."""

    debtor_id: int
    creditor_id: int
    opened_on: date
    changed_at: datetime
    principal: int = 0
    interest: Decimal = _ZERO
    error: Decimal = _ZERO
    rate: float = 0.0
    previous_rate: float = 0.0
    rate_since: datetime = EPOCH
    iri: str = ""
    config: tuple[datetime, int] = EPOCH, 0
    document: str = ""
    flags: int = 0
    negligible_amount: float = 0.0
    is_deleted: bool = False
    paid_at: datetime = EPOCH
    tried_at: datetime = EPOCH
    locks: dict[int, Lock] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)

    @property
    def is_root(self) -> bool:
        """Tell whether this is the debtor's account."""
        return self.creditor_id == 0

    @property
    def locked(self) -> int:
        """Everything that is locked."""
        return sum(lock.amount for lock in self.locks.values())

    def note(self, now: datetime, what: str) -> None:
        """Write down what has happened, and what came of it."""
        self.history.append(f"{now} {what}: {self.principal} and {self.interest:.20}")

    # -- Interest ----------------------------------------------------------

    def interest_at(self, now: datetime) -> tuple[Decimal, Decimal]:
        """Return the interest accumulated until now, and its error."""
        balance = _EXACT.add(self.principal, self.interest)
        if balance <= 0 or self.rate == 0.0:
            return self.interest, self.error
        growth = _EXACT.exp(exponent(self.rate, now - self.changed_at))
        interest = _EXACT.subtract(_EXACT.multiply(balance, growth), self.principal)
        return interest, self.error * growth + abs(interest) * _HALF_OF_THE_LAST_DIGIT

    def accrue(self, now: datetime, due: Decimal = _ZERO) -> None:
        """Bring the interest up to date, and add what is due to a late transfer."""
        interest, error = self.interest_at(now)
        self.interest = _EXACT.add(interest, due)
        self.error = error + (abs(due) + abs(self.interest)) * _HALF_OF_THE_LAST_DIGIT
        self.changed_at = max(now, self.changed_at)

    def due_interest(self, amount: int, committed_at: datetime, now: datetime) -> Decimal:
        """Return what an amount committed in the past has missed."""
        end = max(committed_at, now)
        change = min(self.rate_since, end)
        earlier = exponent(self.previous_rate, change - committed_at)
        later = exponent(self.rate, min(end - committed_at, end - change))
        growth = _EXACT.exp(_EXACT.add(earlier, later))
        return _EXACT.multiply(amount, _EXACT.subtract(growth, 1))

    def credit(self, amount: int, committed_at: datetime, now: datetime) -> None:
        """Apply one side of a movement."""
        self.accrue(now, self.due_interest(amount, committed_at, now))
        self.principal += amount
        self.note(now, f"{amount:+} as of {committed_at}")

    def available(self, now: datetime, amount: int) -> int:
        """Return the available amount; it is compared with `amount`, so must not be near to it."""
        lowest = -int(self.negligible_amount) if self.is_root else 0
        interest, error = self.interest_at(now)
        rest = self.principal - self.locked - lowest
        far = abs(_EXACT.add(rest - amount, interest)) > 2
        return rest + whole(interest, Decimal(0) if far else error)

    def set_rate(self, rate: float, now: datetime) -> None:
        """Change the rate from now on."""
        self.accrue(now)
        self.previous_rate, self.rate, self.rate_since = self.rate, rate, now
        self.note(now, f"rate {rate}")

    # -- Periodic work -----------------------------------------------------

    def is_rate_change_due(self, rate: float, policy: Policy, now: datetime) -> bool:
        """See Interest rate changes."""
        is_free = now - self.rate_since >= policy.message_delay_max + DAY
        return not self.is_root and not self.is_deleted and rate != self.rate and is_free

    def payment_due(self, policy: Policy, now: datetime) -> int:
        """Return what has to be paid now, or zero. See Interest payments."""
        is_early = now - self.paid_at < policy.capitalization_interval_min
        if self.is_root or self.is_deleted or is_early:
            return 0
        amount = whole(*self.interest_at(now))
        threshold = Decimal(str(policy.interest_to_principal_ratio_max)) * (1 + abs(self.principal))
        return amount if abs(amount) > threshold else 0

    def is_attempt_due(self, policy: Policy, now: datetime) -> bool:
        """Tell whether to try to delete the account. See Deletion."""
        is_time = now - self.tried_at >= policy.deletion_attempts_interval_min
        return not self.is_deleted and self.flags % 2 == 1 and is_time

    def can_be_deleted(self, now: datetime) -> bool:
        """Tell whether nothing but a negligible amount would be lost. See Deletion."""
        if self.locks:
            return False
        if self.is_root:
            return self.principal == 0
        interest, error = self.interest_at(now)
        balance = _EXACT.add(self.principal, interest)
        excess = _EXACT.subtract(balance, max(Decimal(self.negligible_amount), Decimal(2)))
        if error and abs(excess) <= error:
            raise TooCloseToCall
        return excess <= 0

    def is_purge_due(self, policy: Policy, now: datetime) -> bool:
        """See Purge."""
        delay = policy.intranet_delay_max + policy.commit_period + 2 * DAY
        is_old = self.opened_on < (now - 3 * DAY).date()
        return self.is_deleted and now - self.changed_at > delay and is_old

    def is_reminder_due(self, lock: Lock, policy: Policy, now: datetime) -> bool:
        """See Reminders."""
        return now - lock.told_at >= max(policy.reminder_interval, policy.message_delay_max)

    def pay(self, amount: int, now: datetime) -> None:
        """Add interest to the principal."""
        self.credit(amount, now, now)
        self.interest = _EXACT.subtract(self.interest, amount)
        self.error += abs(self.interest) * _HALF_OF_THE_LAST_DIGIT
        self.paid_at = now
        self.note(now, "paid")

    def delete(self, now: datetime) -> int:
        """End the account's life; return what is left on it."""
        remainder = self.principal
        if remainder:
            self.credit(-remainder, now, now)
        self.accrue(now)
        self.principal, self.interest, self.error, self.is_deleted = 0, _ZERO, _ZERO, True
        self.note(now, f"deleted with {remainder}")
        return remainder
