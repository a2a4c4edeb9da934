"""Two batches at the same time lead to what one after the other would lead to.

The first batch is stopped when all of its statements have been run; the second
one then runs into its locks. Whether the first one commits or dies, the tables
and the messages must be as if the second one had come later.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest

from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.events import PreparedTransfer
from swpt_accounts.ledger.facts import NO_FACTS
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import account_id
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import outbox
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.store.transaction import Conflict, Database, Transaction
from swpt_accounts.workers.ledger_batch import CONFLICTS_MAX, LedgerBatch
from tests import factories
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.reading import read_rows
from tests.simulation.world import as_announced
from tests.workers.waiting import eventually

EVERYTHING = Realm.parse("#")
POLICY = Policy()
NOW = factories.NOW + timedelta(hours=1)
PATIENCE_SECONDS = 60
WAITS_FOR_A_LOCK = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = %s AND wait_event_type = 'Lock'
"""


class Died(Exception):
    """The end of a process before its commit."""


class StoppingDatabase:
    """Stops before the commit until it is told to go on."""

    def __init__(self, database: Database, *, dies: bool) -> None:
        self.is_stopped = Event()
        self.go_on = Event()
        self._database = database
        self._dies = dies

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit or roll back when told to go on."""
        with self._database.transaction() as transaction:
            yield transaction
            self.is_stopped.set()
            assert self.go_on.wait(PATIENCE_SECONDS)
            if self._dies:
                raise Died


class Clock:
    """Shows always the same, and counts how often it is looked at: once for each attempt."""

    def __init__(self) -> None:
        self.attempts_count = 0

    def __call__(self) -> datetime:
        self.attempts_count += 1
        return NOW


def apply(database: Any, commands: Sequence[Command], clock: Clock) -> None:
    batch = LedgerBatch(database, EVERYTHING, POLICY, clock)
    batch.apply(commands, batch.needs_of(commands), NO_FACTS)


def race(
    make_client: Callable[[str], Database],
    session: psycopg.Connection,
    first: Sequence[Command],
    second: Sequence[Command],
    *,
    dies: bool,
) -> int:
    """Let the batches run into each other; return how many attempts the second one needed."""
    database, clock = StoppingDatabase(make_client("first"), dies=dies), Clock()
    with ThreadPoolExecutor(2) as executor:
        one = executor.submit(apply, database, first, Clock())
        try:
            assert database.is_stopped.wait(PATIENCE_SECONDS)
            other = executor.submit(apply, make_client("second"), second, clock)
            eventually(
                "the second batch waits for the first one",
                lambda: session.execute(WAITS_FOR_A_LOCK, ("second",)).fetchone(),
            )
        finally:
            database.go_on.set()
        assert isinstance(one.exception(), Died) == dies
        assert other.exception() is None
    return clock.attempts_count


def outbox_page(session: psycopg.Connection) -> list[OutboxMessage]:
    return outbox.take_page(session, range(1000), count_max=1000, bytes_max=1_000_000)


def messages(session: psycopg.Connection) -> list[Any]:
    return [as_announced(row.message) for row in outbox_page(session)]


class Reference:
    """The same in memory, one after the other, and the transfers that come to be prepared."""

    def __init__(self) -> None:
        self.shard = MemoryShard(EVERYTHING, POLICY)
        self.messages: list[Any] = []

    def apply(self, commands: Sequence[Command]) -> None:
        applied = self.shard.apply(commands, NO_FACTS, NOW)
        self.messages += [as_announced(message) for message in applied]

    @property
    def transfers(self) -> list[PreparedTransfer]:
        return [m for m in self.messages if isinstance(m, PreparedTransfer)]


SENDER = factories.configure_account()
RECIPIENT = factories.configure_account(creditor_id=factories.RECIPIENT_ID)
ROOT = factories.configure_root_account()
MONEY = factories.pending_balance_change(
    creditor_id=factories.SENDER_ID, other_creditor_id=factories.STRANGER_ID
)
OPENED = (SENDER, RECIPIENT, MONEY)


def prepare(number: int, amount: int, **fields: Any) -> Command:
    """Return a request for a transfer of exactly this amount."""
    amounts = {"min_locked_amount": amount, "max_locked_amount": amount}
    return factories.prepare_transfer(**({"coordinator_request_id": number} | amounts | fields))


def commit(transfer: PreparedTransfer, amount: int) -> Command:
    """Return the end of a transfer."""
    return factories.finalize_transfer(transfer, committed_amount=amount)


BACK = {"creditor_id": factories.RECIPIENT_ID, "recipient": account_id(factories.SENDER_ID)}
Commands = Sequence[Command]


class Race(NamedTuple):
    """What there is before, and the two batches, given the transfers that were prepared before.

    `is_conflict` tells that the second batch has to be tried again after the
    first one's commit, because it has relied on the absence of a row.
    """

    before: Commands
    batches: Callable[[list[PreparedTransfer]], tuple[Commands, Commands]]
    is_conflict: bool = False


RACES: dict[str, Race] = {
    "configure the same new account": Race(
        [],
        lambda _: ([SENDER], [factories.configure_account(seqnum=2, negligible_amount=5.0)]),
        is_conflict=True,
    ),
    "configure the same new account and others": Race(
        [], lambda _: ([ROOT, SENDER], [RECIPIENT, SENDER]), is_conflict=True
    ),
    "configure the same new account in the same way": Race(
        [], lambda _: ([SENDER], [SENDER]), is_conflict=True
    ),
    "open an account by two changes": Race(
        [], lambda _: ([MONEY], [msgspec.structs.replace(MONEY, change_id=2)]), is_conflict=True
    ),
    "open an account by a configuration and by a change": Race(
        [], lambda _: ([SENDER], [MONEY]), is_conflict=True
    ),
    "open an account by a change and by a configuration": Race(
        [], lambda _: ([MONEY], [SENDER]), is_conflict=True
    ),
    "configure a root account and pay to it": Race(
        [SENDER, MONEY, prepare(1, 300, recipient="0")],
        lambda prepared: ([ROOT], [commit(prepared[0], 300)]),
        is_conflict=True,
    ),
    "pay to a root account and configure it": Race(
        [SENDER, MONEY, prepare(1, 300, recipient="0")],
        lambda prepared: ([commit(prepared[0], 300)], [ROOT]),
        is_conflict=True,
    ),
    "apply the same change": Race([SENDER], lambda _: ([MONEY], [MONEY])),
    "open an account by the same change": Race([], lambda _: ([MONEY], [MONEY])),
    "answer the same request": Race(OPENED, lambda _: ([prepare(1, 300)], [prepare(1, 300)])),
    "lock the same money": Race(OPENED, lambda _: ([prepare(1, 700)], [prepare(2, 400)])),
    "commit the same transfer": Race(
        [*OPENED, prepare(1, 300)],
        lambda prepared: ([commit(prepared[0], 300)], [commit(prepared[0], 300)]),
    ),
    "commit and dismiss the same transfer": Race(
        [*OPENED, prepare(1, 300)],
        lambda prepared: ([commit(prepared[0], 300)], [commit(prepared[0], 0)]),
    ),
    "dismiss a transfer and request it again": Race(
        [*OPENED, prepare(1, 300)],
        lambda prepared: ([commit(prepared[0], 0)], [prepare(1, 300)]),
    ),
    "spend the same money without locks": Race(
        [*OPENED, prepare(1, 0), prepare(2, 0)],
        lambda prepared: ([commit(prepared[0], 600)], [commit(prepared[1], 600)]),
    ),
    "pay each other": Race(
        [*OPENED, prepare(1, 300), prepare(1, 0, **BACK)],
        lambda prepared: ([commit(prepared[0], 300)], [commit(prepared[1], 200)]),
    ),
}


@pytest.mark.parametrize("dies", [False, True], ids=["the first commits", "the first dies"])
@pytest.mark.parametrize("name", RACES)
def test_a_race_ends_as_if_there_had_been_none(
    make_client: Callable[[str], Database], session: psycopg.Connection, name: str, dies: bool
) -> None:
    before, batches, is_conflict = RACES[name]
    reference = Reference()
    for command in before:
        apply(make_client("before"), [command], Clock())
        reference.apply([command])
    first, second = batches(reference.transfers)
    attempts_count = race(make_client, session, first, second, dies=dies)
    if not dies:
        reference.apply(first)
    reference.apply(second)
    assert read_rows(session) == reference.shard.rows()
    assert messages(session) == reference.messages
    assert attempts_count == (2 if is_conflict and not dies else 1)


class ContendedDatabase:
    """Somebody else is always faster."""

    attempts_count = 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Fail as when rows were inserted twice."""
        self.attempts_count += 1
        raise Conflict("somebody else was faster")
        yield


def test_a_batch_is_not_tried_for_ever() -> None:
    database = ContendedDatabase()
    with pytest.raises(Conflict):
        apply(database, [SENDER], Clock())
    assert database.attempts_count == CONFLICTS_MAX
