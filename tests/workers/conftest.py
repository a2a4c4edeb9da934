"""What workers work on: a shard's database, its queue, and the peers at the other end."""

from collections.abc import Callable, Iterator
from datetime import datetime

import psycopg
import pytest

from swpt_accounts.broker import topology
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database, Transaction
from swpt_accounts.workers.chore_sender import ChoreSender
from swpt_accounts.workers.intake import Answers, MessageIntake
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.scanner import Session
from tests import factories
from tests.workers.databases import clean, temporary_database
from tests.workers.running import make_message_intake
from tests.workers.waiting import SECONDS
from tests.workers.wire import Wire

MakeIntake = Callable[..., MessageIntake]
MakeSession = Callable[..., Session]


def a_fixed_clock() -> datetime:
    return factories.NOW


@pytest.fixture(scope="session")
def shard_url(
    administrator: psycopg.Connection, postgres_server_url: str, template_database: str
) -> Iterator[str]:
    with temporary_database(administrator, postgres_server_url, template_database) as url:
        yield url


@pytest.fixture
def shard(shard_url: str) -> Iterator[psycopg.Connection]:
    """A session in the shard's database, in which there are no rows."""
    with connect(shard_url, application_name="tests", autocommit=True) as session:
        clean(session)
        yield session


@pytest.fixture
def postgres_url(shard_url: str, shard: psycopg.Connection) -> str:
    """The one database that all tests of workers use, since making one takes longer than a test."""
    assert not shard.closed
    return shard_url


@pytest.fixture
def make_intake(postgres_url: str) -> Iterator[MakeIntake]:
    """Call it for an intake with a database connection of its own, as each process has one."""
    databases: list[Database] = []

    def make(
        *,
        routing_key: str = "#",
        answers: Answers | None = None,
        clock: Callable[[], datetime] = a_fixed_clock,
        takes_waiting: bool = False,
    ) -> MessageIntake:
        databases.append(Database(postgres_url, application_name="tests: intake"))
        realm = Realm.parse(routing_key)
        ledger_batch = LedgerBatch(databases[-1], realm, Policy(), clock)
        return make_message_intake(ledger_batch, answers, takes_waiting=takes_waiting)

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def intake(make_intake: MakeIntake) -> MessageIntake:
    """The intake of the only shard there is."""
    return make_intake()


@pytest.fixture
def queue(broker_url: str, queue_name: str) -> str:
    """The name of a queue that is bound to receive everything, with its dead letters."""
    topology.subscribe(broker_url, queue_name, "#")
    return queue_name


@pytest.fixture
def chores_queue(broker_url: str, queue_name: str) -> str:
    """The name of a queue of chores, with its dead letters."""
    topology.declare_chores_queue(broker_url, queue_name)
    return queue_name


@pytest.fixture
def make_session(postgres_url: str, broker_url: str, chores_queue: str) -> Iterator[MakeSession]:
    """Call it for what one step of a scan works with, on connections that all steps share."""
    publisher = Publisher(broker_url, confirm_timeout_seconds=SECONDS)
    publisher.start()
    sender = ChoreSender(publisher, chores_queue)
    with connect(postgres_url, application_name="tests: scan", autocommit=True) as connection:
        statements = Transaction(connection.cursor())
        yield lambda now=factories.NOW: Session(statements, sender, now)
    publisher.stop()


@pytest.fixture
def wire(broker_url: str) -> Iterator[Wire]:
    """What peers do at the broker."""
    wire = Wire(broker_url)
    yield wire
    wire.close()
