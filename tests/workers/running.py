"""Workers put together as `wiring` does it, but running in a thread of the test."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.message import Delivery
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers.chore_intake import ChoreIntake
from swpt_accounts.workers.consume import Consumption
from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
from swpt_accounts.workers.flush import Flusher
from swpt_accounts.workers.intake import MessageIntake, Settled
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.scanner import CLOCK_SKEW_MAX
from swpt_accounts.workers.stopping import Stopping
from tests.workers.waiting import SECONDS

Handle = Callable[[Sequence[Delivery]], Settled]


class Worker(Protocol):
    def run(self, stopping: Stopping) -> None: ...


def nobody_answers(_recipients: Collection[AccountKey], _debtors: Collection[int]) -> Facts:
    return NO_FACTS


def make_consumption(
    postgres_url: str,
    broker_url: str,
    queue: str,
    *,
    routing_key: str = "#",
    batch_size_max: int = 100,
    around_handle: Callable[[Handle], Handle] = lambda handle: handle,
) -> "Consuming":
    """A consumer of messages. `around_handle` may look at what is handled."""
    database = Database(postgres_url, application_name="tests: consumer")
    ledger_batch = LedgerBatch(database, Realm.parse(routing_key), Policy(), utc_now)
    consumption = Consumption(
        lambda: Consumer(broker_url, queue, prefetch_count=2 * batch_size_max),
        around_handle(MessageIntake(ledger_batch, nobody_answers).handle),
        DeadLetterOffice(
            lambda: Publisher(broker_url, confirm_timeout_seconds=SECONDS), utc_now, queue=queue
        ),
        batch_size_max=batch_size_max,
    )
    return Consuming(consumption, database)


def make_chores_consumption(
    postgres_url: str,
    broker_url: str,
    queue: str,
    *,
    routing_key: str = "#",
    policy: Policy | None = None,
    clock: Callable[[], datetime] = utc_now,
    batch_size_max: int = 100,
) -> "Consuming":
    """A consumer of chores."""
    database = Database(postgres_url, application_name="tests: chores")
    ledger_batch = LedgerBatch(
        database, Realm.parse(routing_key), policy or Policy(), clock, CLOCK_SKEW_MAX
    )
    consumption = Consumption(
        lambda: Consumer(broker_url, queue, prefetch_count=2 * batch_size_max),
        ChoreIntake(ledger_batch).handle,
        DeadLetterOffice(
            lambda: Publisher(broker_url, confirm_timeout_seconds=SECONDS), utc_now, queue=queue
        ),
        batch_size_max=batch_size_max,
    )
    return Consuming(consumption, database)


@dataclass
class Consuming:
    consumption: Consumption
    database: Database

    def run(self, stopping: Stopping) -> None:
        try:
            self.consumption.run(stopping)
        finally:
            self.database.close()


def make_flusher(
    postgres_url: str,
    broker_url: str,
    message_types: Sequence[str] = MESSAGE_TYPES,
    **options: Any,
) -> Flusher:
    return Flusher(
        postgres_url,
        lambda: Publisher(broker_url, confirm_timeout_seconds=SECONDS),
        message_types,
        utc_now,
        **{"poll_seconds": 0.1, **options},
    )


@contextmanager
def running(*workers: Worker) -> Iterator[list[Future[None]]]:
    """Run the workers until the block ends. What ends one of them early is raised then."""
    stopping = Stopping()
    with ThreadPoolExecutor(len(workers)) as pool:
        ends = [pool.submit(worker.run, stopping) for worker in workers]
        try:
            yield ends
        finally:
            stopping.request()
        for end in ends:
            end.result(SECONDS)
