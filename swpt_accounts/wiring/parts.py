"""What several commands are put together from."""

import gc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swpt_accounts.ledger.policy import Policy
    from swpt_accounts.protocol.sharding import Realm
    from swpt_accounts.settings import Settings
    from swpt_accounts.web.fetch_client import FetchClient
    from swpt_accounts.workers.consume import Consumption, Intake
    from swpt_accounts.workers.dead_letter_office import DeadLetterOffice

# While one batch is being applied, the next one is on its way.
_PREFETCHED_BATCHES = 2

# What is here and not settled yet may take so much memory, whoever has sent it.
_WINDOW_BYTES_MAX = 56 * 1024 * 1024

# How long the broker may take to confirm a page. Much longer than it ever
# should, since what was not confirmed in time is sent again.
CONFIRM_TIMEOUT_SECONDS = 60.0


def utc_now() -> datetime:
    """The clock that every worker is given."""
    return datetime.now(UTC)


def policy_of(settings: "Settings") -> "Policy":
    """Return the operator's delays and limits, as the rules of the ledger see them."""
    from swpt_accounts.ledger.policy import Policy

    return Policy(
        message_delay_max=timedelta(days=settings.app_message_max_delay_days),
        commit_period=timedelta(days=settings.app_prepared_transfer_max_delay_days),
        intranet_delay_max=timedelta(days=settings.app_intranet_extreme_delay_days),
        archive_threshold=settings.remove_from_archive_threshold_date,
        account_update_delay=_account_update_delay(settings),
        heartbeat_interval=timedelta(days=settings.app_account_heartbeat_days),
        reminder_interval=timedelta(days=settings.app_prepared_transfer_remainder_days),
        capitalization_interval_min=timedelta(days=settings.app_min_interest_capitalization_days),
        interest_to_principal_ratio_max=settings.app_max_interest_to_principal_ratio,
        deletion_attempts_interval_min=timedelta(days=settings.app_deletion_attempts_min_days),
    )


def _account_update_delay(settings: "Settings") -> timedelta:
    seconds = settings.app_account_update_delay_seconds
    if seconds is not None:
        return timedelta(seconds=seconds)
    return min(timedelta(hours=1), timedelta(hours=settings.app_accounts_scan_hours))


def realm_of(settings: "Settings") -> "Realm":
    """Return which accounts belong to this shard."""
    from swpt_accounts.protocol.sharding import Realm

    return Realm.parse(settings.protocol_broker_queue_routing_key)


def make_fetch_client(settings: "Settings") -> "FetchClient":
    """Return who asks other shards; it belongs to the thread and process that uses it first."""
    from swpt_accounts.protocol.sharding import Groups
    from swpt_accounts.web.fetch_client import FetchClient

    return FetchClient(
        settings.fetch_api_url,
        timeout_seconds=settings.app_fetch_api_timeout_seconds,
        connections_max=settings.app_fetch_connections,
        cache_size=settings.app_fetch_data_cache_size,
        dns_cache_seconds=settings.app_fetch_dns_cache_seconds,
        groups=Groups.fit_for(realm_of(settings)),
    )


def make_dead_letter_office(url: str, queue: str) -> "DeadLetterOffice":
    """Return where deliveries go that can never be applied."""
    from swpt_accounts.broker.publisher import Publisher
    from swpt_accounts.workers.dead_letter_office import CONFIRM_SECONDS, DeadLetterOffice

    return DeadLetterOffice(
        lambda: Publisher(url, confirm_timeout_seconds=CONFIRM_SECONDS),
        utc_now,
        queue=queue,
    )


def make_consumption(
    url: str, intake: "Intake", office: "DeadLetterOffice", batch_size_max: int
) -> "Consumption":
    """Return what takes batches from the office's queue and buries what cannot be applied."""
    from swpt_accounts.broker.consumer import Consumer
    from swpt_accounts.broker.limits import PROPERTIES_BYTES_MAX
    from swpt_accounts.protocol.decoding import BODY_BYTES_MAX
    from swpt_accounts.workers.consume import Consumption

    window_max = _WINDOW_BYTES_MAX // (BODY_BYTES_MAX + PROPERTIES_BYTES_MAX)
    batch_size_max = min(batch_size_max, window_max // _PREFETCHED_BATCHES)
    window = _PREFETCHED_BATCHES * batch_size_max
    return Consumption(
        lambda: Consumer(url, office.queue, prefetch_count=window, body_bytes_max=BODY_BYTES_MAX),
        intake,
        office,
        batch_size_max=batch_size_max,
    )


def spare_the_garbage_collector() -> None:
    """Leave what was imported out of its rounds: it will never be garbage."""
    gc.collect()
    gc.freeze()
