"""The operator's delays and limits, as the rules see them."""

from datetime import datetime, timedelta

import msgspec

from swpt_accounts.ledger.values import EPOCH


class Policy(msgspec.Struct, frozen=True):
    """One frozen value, made from the settings once, at start."""

    message_delay_max: timedelta = timedelta(days=7)
    """No message is expected to be under way for longer than this."""

    intranet_delay_max: timedelta = timedelta(days=14)
    """The same between the shards of one node."""

    commit_period: timedelta = timedelta(days=90)
    """A prepared transfer can be committed for this long, unless its coordinator asks for less."""

    archive_threshold: datetime = EPOCH
    """Balance changes committed before this have been forgotten: their repetitions are dropped."""

    account_update_delay: timedelta = timedelta(hours=1)
    """So long the announcement of a changed balance may wait, for other changes to join it."""

    heartbeat_interval: timedelta = timedelta(days=7)
    """An account is announced at least so often."""

    reminder_interval: timedelta = timedelta(days=7)
    """A coordinator is reminded so often of a transfer that stays prepared."""

    capitalization_interval_min: timedelta = timedelta(days=14)
    """The least time between two interest payments to one account."""

    interest_to_principal_ratio_max: float = 0.0001
    """Interest that exceeds this part of the principal is paid; see `pays_all_interest`."""

    deletion_attempts_interval_min: timedelta = timedelta(days=14)
    """The least time between two attempts to delete an account."""

    @property
    def rate_change_interval_min(self) -> timedelta:
        """The least time between two interest rate changes on one account."""
        return self.message_delay_max + timedelta(days=1)

    @property
    def pays_all_interest(self) -> bool:
        """Tell whether every whole unit of interest is paid when it is found, however small.

        With no least interval between payments, nobody wants them to be few.
        """
        return not self.capitalization_interval_min

    @property
    def purge_delay(self) -> timedelta:
        """How long a deleted account is remembered: until nothing meant for it can come."""
        return self.intranet_delay_max + self.commit_period + timedelta(days=2)

    @property
    def account_update_ttl_seconds(self) -> int:
        """The time to live that AccountUpdate messages carry."""
        return int(self.message_delay_max.total_seconds())

    @property
    def commit_period_seconds(self) -> int:
        """The commit period that AccountUpdate messages carry."""
        return int(self.commit_period.total_seconds())
