"""Growth of balances with time (protocol.rst, Interest).

One arithmetic serves every rule. A balance is an integer principal and an
accumulated interest, which is stored as a 64-bit float. A float alone cannot
hold principals beyond 2^53, so growth is computed in decimals, far more
precisely than needed, and then the *interest* (never the balance) is rounded
to the float that would be stored. So the balance that a rule sees is exactly
the one it would see after storing and loading the account; and where the
mathematical result is a whole number, the rounding finds it, while a decimal
one digit short would lose a whole unit to `floor`.
"""

import math
from datetime import timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Final

SECONDS_IN_YEAR: Final = 31_557_600
INTEREST_RATE_MIN: Final = -50.0
INTEREST_RATE_MAX: Final = 100.0
DEMURRAGE_RATE: Final = -50.0
"""The worst rate that can occur, and so the rate promised to coordinators."""

INTEREST_MAX: Final = 1e24
"""Accumulated interest is contained in ± this, far beyond what a principal can hold."""

# A principal has 19 digits before the point; the rest is for the fraction.
_EXACT: Final = Context(prec=50)
_MICROSECONDS_IN_YEAR: Final = Decimal(SECONDS_IN_YEAR * 1_000_000)
_ONE: Final = Decimal(1)
_MICROSECOND: Final = timedelta(microseconds=1)
_ZERO: Final = timedelta(0)


@lru_cache(maxsize=1000)
def _yearly_exponent(rate: float) -> Decimal:
    return _EXACT.ln(_EXACT.add(_ONE, _EXACT.divide(Decimal(rate), Decimal(100))))


def _exponent(rate: float, period: timedelta) -> Decimal:
    years = _EXACT.divide(Decimal(period // _MICROSECOND), _MICROSECONDS_IN_YEAR)
    return _EXACT.multiply(_yearly_exponent(rate), years)


def contain_rate(rate: float) -> float:
    """Contain a yearly rate, in percents, in the range that accounts may have."""
    return min(max(rate, INTEREST_RATE_MIN), INTEREST_RATE_MAX)


def contain_interest(interest: float) -> float:
    """Contain accumulated interest in the range that can be stored."""
    return min(max(interest, -INTEREST_MAX), INTEREST_MAX)


def accumulated_interest(principal: int, interest: float, rate: float, elapsed: timedelta) -> float:
    """Return the interest accumulated when `elapsed` has passed since `interest` was right.

    Only a positive balance grows or shrinks, by `rate` percents a year,
    compounded continuously.
    """
    if rate == 0.0 or elapsed <= _ZERO or principal + math.floor(interest) < 0:
        return interest
    balance = _EXACT.add(Decimal(principal), Decimal(interest))
    growth = _EXACT.subtract(_EXACT.exp(_exponent(rate, elapsed)), _ONE)
    earned = _EXACT.multiply(balance, growth)
    return contain_interest(float(_EXACT.add(Decimal(interest), earned)))


def due_interest(
    amount: int,
    *,
    late_at_previous_rate: timedelta,
    previous_rate: float,
    late_at_current_rate: timedelta,
    current_rate: float,
) -> float:
    """Return the interest that `amount` would have earned, had it been applied in time."""
    exponent = Decimal(0)
    if previous_rate != 0.0 and late_at_previous_rate > _ZERO:
        exponent = _exponent(previous_rate, late_at_previous_rate)
    if current_rate != 0.0 and late_at_current_rate > _ZERO:
        exponent = _EXACT.add(exponent, _exponent(current_rate, late_at_current_rate))
    if not exponent:
        return 0.0
    growth = _EXACT.subtract(_EXACT.exp(exponent), _ONE)
    return contain_interest(float(_EXACT.multiply(Decimal(amount), growth)))


def worst_remainder(locked_amount: int, locked_for: timedelta) -> int:
    """Return what is certain to remain of a locked amount: all of it less the demurrage."""
    if locked_for <= _ZERO:
        return locked_amount
    share = _EXACT.exp(_exponent(DEMURRAGE_RATE, locked_for))
    return math.floor(_EXACT.multiply(Decimal(locked_amount), share))
