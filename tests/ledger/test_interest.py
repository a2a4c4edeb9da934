"""Growth of balances with time (protocol.rst, Interest and Demurrage).

Expected values come from a second, independent computation with 80 digits.
"""

import math
from datetime import timedelta
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger import interest
from swpt_accounts.ledger.values import MAX_INT64

YEAR = timedelta(days=365.25)
DAY = timedelta(days=1)

MOMENTS = st.timedeltas(timedelta(0), timedelta(days=365 * 20))
RATES = st.integers(-50_000_000, 100_000_000).map(lambda millionths: millionths / 1e6)


def exact_growth(rate: float, period: timedelta) -> Decimal:
    """Return exp(k(rate) * period) - 1."""
    with localcontext(prec=80):
        years = Decimal(period // timedelta(microseconds=1)) / Decimal(31_557_600_000_000)
        return ((1 + Decimal(rate) / 100).ln() * years).exp() - 1


def exact_interest(principal: int, accumulated: float, rate: float, elapsed: timedelta) -> Decimal:
    with localcontext(prec=80):
        balance = principal + Decimal(accumulated)
        return Decimal(accumulated) + balance * exact_growth(rate, elapsed)


@pytest.mark.parametrize(
    ("rate", "period", "factor"),
    [
        pytest.param(-50.0, 30 * DAY, 0.9446582976965447, id="demurrage of 30 days"),
        pytest.param(-50.0, 90 * DAY, 0.8429935098773893, id="demurrage of 90 days"),
        pytest.param(-50.0, YEAR, 0.5, id="demurrage of a year"),
        pytest.param(5.0, YEAR, 1.05, id="five percents for a year"),
        pytest.param(100.0, YEAR, 2.0, id="doubled in a year"),
        pytest.param(100.0, 10 * YEAR, 1024.0, id="doubled ten times"),
    ],
)
def test_the_published_factors(rate: float, period: timedelta, factor: float) -> None:
    assert float(exact_growth(rate, period) + 1) == pytest.approx(factor, rel=1e-15)
    grown = 10**12 + interest.accumulated_interest(10**12, 0.0, rate, period)
    assert grown == pytest.approx(factor * 1e12, rel=1e-15)


def test_a_year_has_a_quarter_of_a_day_more_than_365() -> None:
    assert timedelta(seconds=interest.SECONDS_IN_YEAR) == YEAR
    assert interest.DEMURRAGE_RATE == -50.0


@pytest.mark.parametrize(
    ("principal", "accumulated", "rate", "elapsed", "expected"),
    [
        pytest.param(10_000, 0.0, 5.0, YEAR, 500.0, id="a whole number is found exactly"),
        pytest.param(10_000, 0.0, -50.0, YEAR, -5000.0, id="also when the balance shrinks"),
        pytest.param(10_000, 0.0, 5.0, 100 * DAY, 134.476358628, id="part of a year"),
        pytest.param(9_000, 1000.0, 5.0, YEAR, 1500.0, id="interest bears interest"),
        pytest.param(0, 100.0, 100.0, YEAR, 200.0, id="interest alone bears interest"),
        pytest.param(10_000, -2000.0, 100.0, YEAR, 6000.0, id="negative interest lessens it"),
        pytest.param(10_000, 7.5, 0.0, YEAR, 7.5, id="no rate, no growth"),
        pytest.param(10_000, 7.5, 5.0, timedelta(0), 7.5, id="no time, no growth"),
        pytest.param(10_000, 7.5, 5.0, -DAY, 7.5, id="time before the last change is no time"),
        pytest.param(0, 0.0, 5.0, YEAR, 0.0, id="nothing does not grow"),
        pytest.param(-10_000, 7.5, 5.0, YEAR, 7.5, id="a debt does not grow"),
        pytest.param(-10_000, 7.5, -50.0, YEAR, 7.5, id="a debt does not shrink"),
        pytest.param(100, -100.0, 5.0, YEAR, -100.0, id="a balance of exactly zero stays"),
        pytest.param(100, -100.5, 5.0, YEAR, -100.5, id="a balance just below zero stays"),
        pytest.param(100, -99.5, 100.0, YEAR, -99.0, id="a balance just above zero grows"),
        pytest.param(-5, 10.0, 100.0, YEAR, 15.0, id="interest may outweigh a debt"),
    ],
)
def test_accumulated_interest(
    principal: int, accumulated: float, rate: float, elapsed: timedelta, expected: float
) -> None:
    result = interest.accumulated_interest(principal, accumulated, rate, elapsed)
    assert result == pytest.approx(expected, rel=1e-9)
    if expected.is_integer():
        assert result == expected


@pytest.mark.parametrize("rate", [-50.0, -0.001, 1e-9, 0.5, 33.333, 100.0])
@pytest.mark.parametrize(
    "principal",
    [
        1,
        2**53 - 1,
        2**53 + 1,
        1234567,
        MAX_INT64 - 1,
        MAX_INT64,
    ],
)
def test_interest_at_64_bit_boundaries_is_the_exact_one_rounded_once(
    principal: int, rate: float
) -> None:
    for elapsed in (timedelta(microseconds=1), DAY, 5 * YEAR):
        expected = float(exact_interest(principal, 0.25, rate, elapsed))
        assert interest.accumulated_interest(principal, 0.25, rate, elapsed) == expected


@given(st.integers(1, MAX_INT64), st.floats(-1e6, 1e6), RATES, MOMENTS)
@settings(max_examples=150, deadline=None)
def test_interest_is_the_exact_one_rounded_once(
    principal: int, accumulated: float, rate: float, elapsed: timedelta
) -> None:
    result = interest.accumulated_interest(principal, accumulated, rate, elapsed)
    if principal + Fraction(accumulated) <= 0 or elapsed == timedelta(0) or rate == 0.0:
        assert result == accumulated
    else:
        assert result == float(exact_interest(principal, accumulated, rate, elapsed))


@given(st.integers(1, MAX_INT64), RATES, MOMENTS)
@settings(max_examples=150, deadline=None)
def test_a_positive_balance_never_shrinks_below_zero(
    principal: int, rate: float, elapsed: timedelta
) -> None:
    result = interest.accumulated_interest(principal, 0.0, rate, elapsed)
    assert Fraction(principal) + Fraction(result) >= 0


def test_interest_is_contained_far_beyond_any_principal() -> None:
    for years in (100, 7900):
        result = interest.accumulated_interest(MAX_INT64, 0.0, 100.0, years * YEAR)
        assert result == interest.INTEREST_MAX
    assert interest.contain_interest(-math.inf) == -interest.INTEREST_MAX
    assert interest.contain_interest(1e300) == interest.INTEREST_MAX
    assert interest.contain_interest(-0.3) == -0.3


@pytest.mark.parametrize(
    ("rate", "contained"),
    [(-50.1, -50.0), (-1e300, -50.0), (100.1, 100.0), (1e300, 100.0), (1e-50, 1e-50), (2.5, 2.5)],
)
def test_rates_are_contained(rate: float, contained: float) -> None:
    assert interest.contain_rate(rate) == contained


# -- what is due to late transfers ------------------------------------------


@pytest.mark.parametrize("amount", [1, -1, 10_000, -10_000, 2**53 + 1, MAX_INT64, -MAX_INT64])
@pytest.mark.parametrize(
    ("previous_days", "previous_rate", "current_days", "current_rate"),
    [
        pytest.param(0, 5.0, 10, 5.0, id="late at the current rate"),
        pytest.param(10, 5.0, 0, 7.0, id="late at the previous rate"),
        pytest.param(7, 5.0, 3, -10.0, id="late over a change of the rate"),
        pytest.param(7, 0.0, 3, 20.0, id="the previous rate was zero"),
        pytest.param(7, -50.0, 3, 0.0, id="the current rate is zero"),
    ],
)
def test_due_interest_is_the_exact_one_rounded_once(
    amount: int, previous_days: int, previous_rate: float, current_days: int, current_rate: float
) -> None:
    with localcontext(prec=80):
        expected = amount * (
            (1 + exact_growth(previous_rate, previous_days * DAY))
            * (1 + exact_growth(current_rate, current_days * DAY))
            - 1
        )
    due = interest.due_interest(
        amount,
        late_at_previous_rate=previous_days * DAY,
        previous_rate=previous_rate,
        late_at_current_rate=current_days * DAY,
        current_rate=current_rate,
    )
    assert due == pytest.approx(float(expected), rel=1e-15)
    assert (due > 0) == (expected > 0)


@pytest.mark.parametrize(
    ("late", "rate"),
    [
        pytest.param(timedelta(0), 5.0, id="not late"),
        pytest.param(-DAY, 5.0, id="committed in the future"),
        pytest.param(DAY, 0.0, id="at no rate"),
    ],
)
def test_nothing_is_due(late: timedelta, rate: float) -> None:
    due = interest.due_interest(
        1000,
        late_at_previous_rate=late,
        previous_rate=rate,
        late_at_current_rate=late,
        current_rate=rate,
    )
    assert due == 0.0


# -- demurrage ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("locked_amount", "locked_for", "remainder"),
    [
        pytest.param(1000, timedelta(0), 1000, id="at once: all of it"),
        pytest.param(1000, -DAY, 1000, id="the clock went back: all of it"),
        pytest.param(1000, timedelta(microseconds=1), 999, id="a moment later: rounded down"),
        pytest.param(1000, 30 * DAY, 944, id="after 30 days: 94.4658 percents"),
        pytest.param(1000, 90 * DAY, 842, id="after 90 days: 84.2994 percents"),
        pytest.param(1000, YEAR, 500, id="after a year: exactly one half"),
        pytest.param(0, 90 * DAY, 0, id="of nothing: nothing"),
        pytest.param(MAX_INT64, YEAR, MAX_INT64 // 2, id="the largest amount, rounded down"),
    ],
)
def test_what_demurrage_leaves_of_a_locked_amount(
    locked_amount: int, locked_for: timedelta, remainder: int
) -> None:
    assert interest.worst_remainder(locked_amount, locked_for) == remainder


@given(st.integers(0, MAX_INT64), MOMENTS)
@settings(max_examples=150, deadline=None)
def test_demurrage_is_rounded_down_exactly(locked_amount: int, locked_for: timedelta) -> None:
    with localcontext(prec=80):
        remainder = locked_amount * (1 + exact_growth(-50.0, locked_for))
        # Half a unit of the last digit is more than the error of either computation.
        low, high = (
            math.floor(remainder - Decimal("1e-25")),
            math.floor(remainder + Decimal("1e-25")),
        )
    assert low <= interest.worst_remainder(locked_amount, locked_for) <= high
