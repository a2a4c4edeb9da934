"""Commands that take the protocol's messages in, send them out, and answer questions."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from swpt_accounts.wiring.parts import (
    CONFIRM_TIMEOUT_SECONDS,
    make_consumption,
    make_dead_letter_office,
    make_fetch_client,
    policy_of,
    realm_of,
    spare_the_garbage_collector,
    utc_now,
)

if TYPE_CHECKING:
    import falcon.asgi

    from swpt_accounts.settings import Settings

# Interest that is reckoned some minutes too early or too late is put right by
# itself, and stopping all payments would be worse. Scans and chores, which can
# wait, stop at once (CLOCK_SKEW_MAX in workers/scanner.py).
_CLOCK_SKEW_MAX = timedelta(minutes=10)


def consume_messages(
    settings: "Settings", *, url: str, queue: str, processes: int, prefetch_count: int
) -> int:
    """Apply the protocol's messages until stopped; `prefetch_count` is the largest batch."""
    from swpt_accounts.store.connection import HOLDS_LOCKS
    from swpt_accounts.store.transaction import Database
    from swpt_accounts.workers import supervisor
    from swpt_accounts.workers.intake import MessageIntake
    from swpt_accounts.workers.ledger_batch import LedgerBatch
    from swpt_accounts.workers.parking import Parking
    from swpt_accounts.workers.stopping import Stopping
    from swpt_accounts.workers.waiting_room import WaitingRoom

    def work(stopping: Stopping) -> None:
        spare_the_garbage_collector()
        database = Database(
            settings.postgres_url,
            application_name="consume_messages",
            session_options=HOLDS_LOCKS,
        )
        ledger_batch = LedgerBatch(
            database, realm_of(settings), policy_of(settings), utc_now, _CLOCK_SKEW_MAX
        )
        fetch_client = make_fetch_client(settings)
        office = make_dead_letter_office(url, queue)
        intake = MessageIntake(
            ledger_batch,
            fetch_client,
            Parking(database, office, utc_now),
            WaitingRoom(database, fetch_client, utc_now),
        )
        try:
            make_consumption(url, intake, office, prefetch_count).run(stopping)
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
        spare_the_garbage_collector()
        Flusher(
            settings.postgres_url,
            lambda: Publisher(
                settings.protocol_broker_url, confirm_timeout_seconds=CONFIRM_TIMEOUT_SECONDS
            ),
            message_types or MESSAGE_TYPES,
            utc_now,
            poll_seconds=wait_seconds,
            quit_early=quit_early,
        ).run(stopping)

    return supervisor.run(processes, work)


def make_web_app(settings: "Settings") -> "falcon.asgi.App[Any, Any]":
    """Return the fetch API, which connects to the database when it is first asked."""
    from swpt_accounts.store.lookups import AccountLookups
    from swpt_accounts.web.fetch_api import create_app

    lookups = AccountLookups(settings.postgres_url, connections_max=settings.webserver_threads)
    return create_app(lookups, realm_of(settings))
