"""The auditor's own arithmetic of interest: plain powers, in more digits than anybody needs."""

from datetime import timedelta
from decimal import Context, Decimal
from functools import reduce
from typing import Final

YEAR: Final = timedelta(days=365.25)
MICROSECOND: Final = timedelta(microseconds=1)
INTEREST_MAX: Final = 1e24

_CONTEXT: Final = Context(prec=80)


def growth(rate: float, period: timedelta) -> Decimal:
    """Return by which factor a balance grows in a period, at a rate in percents a year."""
    if rate == 0.0 or period <= timedelta(0):
        return Decimal(1)
    years = _CONTEXT.divide(Decimal(period // MICROSECOND), Decimal(YEAR // MICROSECOND))
    return _CONTEXT.power(_CONTEXT.divide(_CONTEXT.add(100, Decimal(rate)), 100), years)


def grown_interest(principal: int, interest: float, factor: Decimal) -> float:
    """Return the interest after the balance has grown by the factor, if it is positive."""
    balance = _CONTEXT.add(principal, Decimal(interest))
    if balance <= 0 or factor == 1:
        return interest
    return contained(_CONTEXT.subtract(_CONTEXT.multiply(balance, factor), principal))


def missed_interest(amount: int, *factors: Decimal) -> float:
    """Return what an amount would have earned, had it grown by all the factors."""
    growth_in_all = reduce(_CONTEXT.multiply, factors)
    return contained(_CONTEXT.multiply(amount, _CONTEXT.subtract(growth_in_all, 1)))


def contained(interest: Decimal | float) -> float:
    """Return the interest as the float that is stored."""
    return min(max(float(interest), -INTEREST_MAX), INTEREST_MAX)


def certain_remainder(locked_amount: int, locked_for: timedelta) -> int:
    """Return what must remain of a lock after the worst demurrage: half of it each year."""
    return int(_CONTEXT.multiply(locked_amount, growth(-50.0, locked_for)))
