"""A shard's database, and the intake of a consumer that works on it."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime

import psycopg
import pytest

from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database
from swpt_accounts.workers.intake import GatherFacts, MessageIntake
from swpt_accounts.workers.ledger_batch import LedgerBatch
from tests import factories

MakeIntake = Callable[..., MessageIntake]


@pytest.fixture
def shard(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A session in the shard's database."""
    with connect(postgres_url, application_name="tests", autocommit=True) as session:
        yield session


@pytest.fixture
def make_intake(postgres_url: str) -> Iterator[MakeIntake]:
    """Call it for an intake with a database connection of its own, as each process has one."""
    databases: list[Database] = []

    def make(
        *, routing_key: str = "#", gather_facts: GatherFacts = nobody_answers
    ) -> MessageIntake:
        databases.append(Database(postgres_url, application_name="tests: intake"))
        realm = Realm.parse(routing_key)
        return MessageIntake(LedgerBatch(databases[-1], realm, Policy(), the_clock), gather_facts)

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def intake(make_intake: MakeIntake) -> MessageIntake:
    """The intake of the only shard there is."""
    return make_intake()


def nobody_answers(_recipients: Collection[AccountKey], _debtors: Collection[int]) -> Facts:
    return NO_FACTS


def the_clock() -> datetime:
    return factories.NOW
