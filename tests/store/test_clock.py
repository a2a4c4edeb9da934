"""Two clocks are compared, and the time that a question takes is nobody's fault."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from swpt_accounts.store.clock import TimeUncertain, require_agreement
from swpt_accounts.store.transaction import Database, Transaction

SKEW_MAX = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def transaction(postgres_url: str) -> Iterator[Transaction]:
    database = Database(postgres_url, application_name="tests")
    with database.transaction() as transaction:
        yield transaction
    database.close()


def off_by(*errors: timedelta) -> Callable[[], datetime]:
    """A clock that is wrong by this much when it is first asked, by that much when next."""
    answers = iter(errors)
    return lambda: datetime.now(UTC) + next(answers)


@pytest.mark.parametrize("seconds", [0, 58, -58])
def test_the_time_is_this_machines_when_the_database_says_nearly_the_same(
    transaction: Transaction, seconds: float
) -> None:
    error = timedelta(seconds=seconds)
    earliest = datetime.now(UTC) + error
    now = require_agreement(transaction, off_by(error, error), SKEW_MAX)
    assert earliest <= now <= datetime.now(UTC) + error
    assert now.tzinfo is UTC


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (timedelta(seconds=62), "0:01:02.0"),
        (timedelta(hours=1), "1:00:00"),
        (timedelta(days=3652), "3652 days, 0:00:00"),
    ],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_nobody_knows_the_time_when_the_clocks_differ_by_more(
    transaction: Transaction, error: timedelta, words: str, direction: int
) -> None:
    clock = off_by(*[direction * error] * 2)

    with pytest.raises(TimeUncertain) as raised:
        require_agreement(transaction, clock, SKEW_MAX)

    which = {1: "behind", -1: "ahead of"}[direction]
    reason = str(raised.value)
    assert reason.startswith("the database's clock is ")
    assert f" {which} this machine's, which says " in reason
    assert "Allowed: a difference of 0:01:00." in reason
    if direction == 1:  # The time for the answer makes the difference smaller the other way.
        assert words in reason


def test_a_difference_that_is_allowed_is_a_matter_of_the_one_who_asks(
    transaction: Transaction,
) -> None:
    error = timedelta(minutes=5)
    with pytest.raises(TimeUncertain):
        require_agreement(transaction, off_by(error, error), SKEW_MAX)
    require_agreement(transaction, off_by(error, error), timedelta(minutes=10))


def test_a_long_wait_for_the_answer_is_no_difference(transaction: Transaction) -> None:
    hour = timedelta(hours=1)
    for before, after in ((-hour, SECOND), (-SECOND, hour), (-hour, hour)):
        require_agreement(transaction, off_by(before, after), SKEW_MAX)


def test_a_clock_that_jumps_while_the_database_is_being_asked_is_not_followed(
    transaction: Transaction,
) -> None:
    now = require_agreement(
        transaction, off_by(timedelta(0), timedelta(days=3652)), timedelta(minutes=1)
    )
    assert now <= datetime.now(UTC)
    for before, after in ((timedelta(days=3652), timedelta(0)), (timedelta(0), -SECOND * 62)):
        with pytest.raises(TimeUncertain):
            require_agreement(transaction, off_by(before, after), SKEW_MAX)
