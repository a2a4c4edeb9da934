"""What balances should grow to, computed from the specification in exact decimals."""

import math
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

_DIGITS = 80
_MICROSECONDS_IN_YEAR = 31_557_600_000_000
_MICROSECOND = timedelta(microseconds=1)


def balance_at(principal: int, rate: float, since: str, until: str) -> Decimal:
    """Return what a principal with no interest, at `rate` percent a year, has become.

    The moments are those of messages.
    """
    elapsed = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    with localcontext(prec=_DIGITS):
        years = Decimal(elapsed // _MICROSECOND) / _MICROSECONDS_IN_YEAR
        return principal * ((1 + Decimal(rate) / 100).ln() * years).exp()


def whole_balance_at(principal: int, rate: float, since: str, until: str) -> int:
    """Return the same, rounded down."""
    return math.floor(balance_at(principal, rate, since, until))
