"""The operator's delays and limits, as the rules see them."""

from datetime import datetime, timedelta

import msgspec

from swpt_accounts.ledger.values import EPOCH


class Policy(msgspec.Struct, frozen=True):
    """One frozen value, made from the settings once, at start."""

    message_delay_max: timedelta = timedelta(days=7)
    """No message is expected to be under way for longer than this."""

    commit_period: timedelta = timedelta(days=90)
    """A prepared transfer can be committed for this long, unless its coordinator asks for less."""

    archive_threshold: datetime = EPOCH
    """Balance changes committed before this have been forgotten: their repetitions are dropped."""

    @property
    def rate_change_interval_min(self) -> timedelta:
        """The least time between two interest rate changes on one account."""
        return self.message_delay_max + timedelta(days=1)

    @property
    def account_update_ttl_seconds(self) -> int:
        """The time to live that AccountUpdate messages carry."""
        return int(self.message_delay_max.total_seconds())

    @property
    def commit_period_seconds(self) -> int:
        """The commit period that AccountUpdate messages carry."""
        return int(self.commit_period.total_seconds())
