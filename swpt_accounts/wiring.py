"""The composition root: settings in, running parts out.

Each command imports only what it needs, so that a command for RabbitMQ never
loads the database driver, and the other way round.
"""

import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from swpt_accounts.broker.dead_letters import DeadLetter
    from swpt_accounts.broker.publisher import Outcome
    from swpt_accounts.ledger.policy import Policy
    from swpt_accounts.settings import Settings

# While one batch is being applied, the next one is on its way.
_PREFETCHED_BATCHES = 2
_PREFETCH_COUNT_MAX = 65_535

# How long the broker may take to confirm a page. Much longer than it ever
# should, since what was not confirmed in time is sent again.
_CONFIRM_TIMEOUT_SECONDS = 60.0


def utc_now() -> datetime:
    """The clock that every worker is given."""
    return datetime.now(UTC)


def policy_of(settings: "Settings") -> "Policy":
    """Return the operator's delays and limits, as the rules of the ledger see them."""
    from swpt_accounts.ledger.policy import Policy

    return Policy(
        message_delay_max=timedelta(days=settings.app_message_max_delay_days),
        commit_period=timedelta(days=settings.app_prepared_transfer_max_delay_days),
        archive_threshold=settings.remove_from_archive_threshold_date,
    )


# -- setting up ----------------------------------------------------------


def configure_database(settings: "Settings") -> None:
    """Bring the database schema up to date."""
    from swpt_accounts.store.schema import upgrade

    upgrade(settings.postgres_url)


def await_migrations(settings: "Settings") -> None:
    """Wait, for as long as it takes, until the database schema is up to date."""
    from swpt_accounts.store.schema import await_current

    await_current(settings.postgres_url)


def configure_chores_queue(settings: "Settings") -> None:
    """Declare the queue of chores."""
    from swpt_accounts.broker.topology import declare_chores_queue

    declare_chores_queue(settings.chores_broker_url, settings.chores_broker_queue)


def subscribe(_settings: "Settings", url: str, queue: str, routing_key: str) -> None:
    """Declare all exchanges, the queue with its dead letters, and bind them."""
    from swpt_accounts.broker.topology import subscribe

    subscribe(url, queue, routing_key)


def unsubscribe(
    _settings: "Settings",
    url: str,
    queue: str,
    routing_key: str,
    chores_url: str,
    chores_queue: str,
) -> None:
    """Remove the queue's binding, and the queue of chores."""
    from swpt_accounts.broker.topology import unsubscribe

    unsubscribe(url, queue, routing_key, chores_url, chores_queue)


def delete_queue(_settings: "Settings", url: str, queue: str) -> None:
    """Wait until the queue is empty, and delete it."""
    from swpt_accounts.broker.topology import delete_queue

    delete_queue(url, queue)


# -- dead letters --------------------------------------------------------


def list_dead_letters(_settings: "Settings", url: str, queue: str) -> list["DeadLetter"]:
    """Return all dead letters of a queue, the oldest first."""
    from swpt_accounts.broker.dead_letters import read_all

    return read_all(url, queue)


def send_back_dead_letters(
    _settings: "Settings", url: str, queue: str, offsets: Sequence[int]
) -> "dict[int, Outcome]":
    """Publish the chosen dead letters to their queue again; return what became of each."""
    from swpt_accounts.broker.dead_letters import send_back

    return send_back(url, queue, offsets)


# -- working -------------------------------------------------------------


def consume_messages(
    settings: "Settings", *, url: str, queue: str, processes: int, prefetch_count: int
) -> int:
    """Apply the protocol's messages until stopped; `prefetch_count` is the largest batch."""
    from swpt_accounts.broker.consumer import Consumer
    from swpt_accounts.broker.publisher import Publisher
    from swpt_accounts.protocol.sharding import Realm
    from swpt_accounts.store.transaction import Database
    from swpt_accounts.web.fetch_client import FetchClient
    from swpt_accounts.workers import supervisor
    from swpt_accounts.workers.consume import Consumption
    from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
    from swpt_accounts.workers.intake import MessageIntake
    from swpt_accounts.workers.ledger_batch import LedgerBatch
    from swpt_accounts.workers.stopping import Stopping

    window = min(_PREFETCHED_BATCHES * prefetch_count, _PREFETCH_COUNT_MAX)

    def work(stopping: Stopping) -> None:
        _spare_the_garbage_collector()
        database = Database(settings.postgres_url, application_name="consume_messages")
        fetch_client = FetchClient(
            settings.fetch_api_url,
            timeout_seconds=settings.app_fetch_api_timeout_seconds,
            connections_max=settings.app_fetch_connections,
            cache_size=settings.app_fetch_data_cache_size,
            dns_cache_seconds=settings.app_fetch_dns_cache_seconds,
        )
        realm = Realm.parse(settings.protocol_broker_queue_routing_key)
        intake = MessageIntake(
            LedgerBatch(database, realm, policy_of(settings), utc_now), fetch_client.gather
        )
        consumption = Consumption(
            lambda: Consumer(url, queue, prefetch_count=window),
            intake.handle,
            DeadLetterOffice(
                lambda: Publisher(url, confirm_timeout_seconds=_CONFIRM_TIMEOUT_SECONDS),
                utc_now,
                queue=queue,
            ),
            batch_size_max=prefetch_count,
        )
        try:
            consumption.run(stopping)
        finally:
            fetch_client.close()
            database.close()

    return supervisor.run(processes, work)


def flush(
    settings: "Settings",
    *,
    message_types: Sequence[str] | None,
    processes: int,
    wait_seconds: float,
    quit_early: bool,
) -> int:
    """Send what is in the outbox until stopped; `None` stands for all message types."""
    from swpt_accounts.broker.publisher import Publisher
    from swpt_accounts.protocol.routing import MESSAGE_TYPES
    from swpt_accounts.workers import supervisor
    from swpt_accounts.workers.flush import Flusher
    from swpt_accounts.workers.stopping import Stopping

    def work(stopping: Stopping) -> None:
        _spare_the_garbage_collector()
        Flusher(
            settings.postgres_url,
            lambda: Publisher(
                settings.protocol_broker_url, confirm_timeout_seconds=_CONFIRM_TIMEOUT_SECONDS
            ),
            message_types or MESSAGE_TYPES,
            utc_now,
            poll_seconds=wait_seconds,
            quit_early=quit_early,
        ).run(stopping)

    return supervisor.run(processes, work)


def make_web_app(settings: "Settings") -> "Flask":
    """Return the fetch API, which connects to the database when it is first asked."""
    from swpt_accounts.protocol.sharding import Realm
    from swpt_accounts.store.lookups import AccountLookups
    from swpt_accounts.web.fetch_api import create_app

    lookups = AccountLookups(settings.postgres_url, connections_max=settings.webserver_threads)
    return create_app(lookups, Realm.parse(settings.protocol_broker_queue_routing_key))


def _spare_the_garbage_collector() -> None:
    """Leave what was imported out of its rounds: it will never be garbage."""
    gc.collect()
    gc.freeze()
