"""Whether this machine and the database agree about what time it is."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from swpt_accounts.store.transaction import Transaction

_READ_CLOCK: Final = "SELECT clock_timestamp()"


class TimeUncertain(Exception):
    """Nobody knows what time it is, so nothing that depends on it may be done: wait, and look."""


def require_agreement(
    transaction: Transaction, clock: Callable[[], datetime], skew_max: timedelta
) -> datetime:
    """Return the time by `clock`; raise `TimeUncertain` if the database's is another one.

    However long the question takes, it does not count as a difference. The time
    is that at which it was asked: had the clock been set forward since, nobody
    would have noticed.
    """
    before = clock()
    [(answer,)] = transaction.fetch(_READ_CLOCK, ())
    after = clock()
    if max(answer - after, before - answer) > skew_max:
        direction = "ahead of" if answer > after else "behind"
        raise TimeUncertain(
            f"the database's clock is {abs(answer - after)} {direction} this machine's, which says"
            f" {after.isoformat()}. Allowed: a difference of {skew_max}. One of them is wrong: set"
            " it right"
        )
    return before
