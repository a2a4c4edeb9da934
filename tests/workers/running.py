"""Workers put together as `wiring` does it, but running in a thread of the test."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.protocol.sharding import GROUP_BITS_MIN, Groups, Realm
from swpt_accounts.store.connection import HOLDS_LOCKS
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers.chore_intake import ChoreIntake
from swpt_accounts.workers.consume import Consumption, Intake
from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
from swpt_accounts.workers.flush import Flusher
from swpt_accounts.workers.intake import Answers, MessageIntake
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.parking import Parking
from swpt_accounts.workers.scanner import CLOCK_SKEW_MAX
from swpt_accounts.workers.stopping import Stopping
from swpt_accounts.workers.waiting_room import WaitingRoom
from tests.workers.waiting import SECONDS


class Worker(Protocol):
    def run(self, stopping: Stopping) -> None: ...


class NobodyAnswers:
    """Stands for other shards where there are none."""

    groups = Groups(GROUP_BITS_MIN)

    def known(self, _recipients: Collection[AccountKey], _debtors: Collection[int]) -> Facts:
        return NO_FACTS

    gather = known

    def is_silent(self, _group: int) -> bool:
        return False


def make_consumption(
    postgres_url: str,
    broker_url: str,
    queue: str,
    *,
    routing_key: str = "#",
    batch_size_max: int = 100,
    around_intake: Callable[[Intake], Intake] = lambda intake: intake,
    answers: Answers | None = None,
) -> "Consuming":
    """A consumer of messages. `around_intake` may look at what is handled."""
    database = Database(
        postgres_url, application_name="tests: consumer", session_options=HOLDS_LOCKS
    )
    ledger_batch = LedgerBatch(database, Realm.parse(routing_key), Policy(), utc_now)
    office = make_office(broker_url, queue)
    intake = make_message_intake(ledger_batch, answers, office=office, takes_waiting=True)
    consumption = Consumption(
        lambda: Consumer(broker_url, queue, prefetch_count=2 * batch_size_max),
        around_intake(intake),
        office,
        batch_size_max=batch_size_max,
    )
    return Consuming(consumption, database)


def make_message_intake(
    ledger_batch: LedgerBatch,
    answers: Answers | None = None,
    *,
    office: DeadLetterOffice | None = None,
    takes_waiting: bool = False,
) -> MessageIntake:
    """An intake that asks nobody, unless told whom, and without an office buries nothing late."""
    database, clock = ledger_batch.database, ledger_batch.clock
    return MessageIntake(
        ledger_batch,
        answers or NobodyAnswers(),
        Parking(database, office or DeadLetterOffice(_no_publisher, clock, queue="none"), clock),
        WaitingRoom(database, NobodyAnswers(), clock) if takes_waiting else None,
    )


def _no_publisher() -> Publisher:
    raise BrokerLost("there is no broker in this test")


def make_office(broker_url: str, queue: str) -> DeadLetterOffice:
    """Where deliveries of the queue go that can never be applied."""
    return DeadLetterOffice(
        lambda: Publisher(broker_url, confirm_timeout_seconds=SECONDS), utc_now, queue=queue
    )


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
        ChoreIntake(ledger_batch),
        make_office(broker_url, queue),
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
