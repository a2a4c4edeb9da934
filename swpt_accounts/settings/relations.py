"""What must hold between two settings, or between a setting and the present time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from swpt_accounts.settings.variables import Settings


@dataclass(frozen=True)
class Relation:
    """`refusal` returns the problem, given good values for `attributes`; None if there is none."""

    attributes: tuple[str, ...]
    refusal: Callable[[Settings, datetime], str | None]


def _commit_period_outlasts_messages(settings: Settings, _now: datetime) -> str | None:
    if settings.app_prepared_transfer_max_delay_days >= settings.app_message_max_delay_days:
        return None
    return (
        f"APP_PREPARED_TRANSFER_MAX_DELAY_DAYS: {settings.app_prepared_transfer_max_delay_days:g}"
        " is not allowed: a transfer could not be committed any more when the message that"
        " prepared it arrives. Allowed: at least APP_MESSAGE_MAX_DELAY_DAYS"
        f" ({settings.app_message_max_delay_days:g})."
    )


def _commit_period_outlasts_intranet(settings: Settings, _now: datetime) -> str | None:
    if settings.app_prepared_transfer_max_delay_days >= settings.app_intranet_extreme_delay_days:
        return None
    return (
        f"APP_PREPARED_TRANSFER_MAX_DELAY_DAYS: {settings.app_prepared_transfer_max_delay_days:g}"
        " is not allowed: a deadline could pass while messages between shards are still under"
        " way. Allowed: at least APP_INTRANET_EXTREME_DELAY_DAYS"
        f" ({settings.app_intranet_extreme_delay_days:g})."
    )


def _archive_keeps_what_may_come_again(settings: Settings, now: datetime) -> str | None:
    threshold = settings.remove_from_archive_threshold_date
    latest = now - timedelta(days=settings.app_intranet_extreme_delay_days)
    if threshold <= latest:
        return None
    return (
        f"REMOVE_FROM_ARCHIVE_THRESHOLD_DATE: {threshold.isoformat()} is not allowed: a balance"
        " change that comes again after it was forgotten would be applied twice. Allowed: at least"
        f" APP_INTRANET_EXTREME_DELAY_DAYS ({settings.app_intranet_extreme_delay_days:g}) in the"
        f" past, so not after {latest.isoformat(timespec='seconds')}."
    )


def _chores_have_a_queue_of_their_own(settings: Settings, _now: datetime) -> str | None:
    same_broker = settings.chores_broker_url == settings.protocol_broker_url
    if not same_broker or settings.chores_broker_queue != settings.protocol_broker_queue:
        return None
    return (
        f"CHORES_BROKER_QUEUE: {settings.chores_broker_queue!r} is not allowed: chores and SMP"
        " messages would get into one queue. Allowed: any other name than PROTOCOL_BROKER_QUEUE."
    )


RELATIONS: Final = (
    Relation(
        (
            "protocol_broker_url",
            "protocol_broker_queue",
            "chores_broker_url",
            "chores_broker_queue",
        ),
        _chores_have_a_queue_of_their_own,
    ),
    Relation(
        ("app_prepared_transfer_max_delay_days", "app_message_max_delay_days"),
        _commit_period_outlasts_messages,
    ),
    Relation(
        ("app_prepared_transfer_max_delay_days", "app_intranet_extreme_delay_days"),
        _commit_period_outlasts_intranet,
    ),
    Relation(
        ("remove_from_archive_threshold_date", "app_intranet_extreme_delay_days"),
        _archive_keeps_what_may_come_again,
    ),
)
