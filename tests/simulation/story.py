"""A story told to those who watch the simulation: what was asked of a shard, and what it said."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import Event
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.protocol.sharding import Realm
from tests import factories
from tests.simulation.auditor import Auditor
from tests.simulation.inspection import inspect
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.observer import Observer
from tests.simulation.reading import NOT_STORED
from tests.simulation.rows import Rows
from tests.simulation.world import POLICY, Message, as_announced

NOW: Final = factories.NOW + timedelta(hours=1)

# The debtor's, the sender's and the recipient's accounts are in this realm, the stranger's is not.
REALM: Final = Realm.parse("1.#")
DOCUMENT: Final = '{"type":"RootConfigData","rate":5}'
FACTS: Final = Facts(
    reachable={(factories.DEBTOR_ID, factories.STRANGER_ID): True},
    root_config_data={factories.DEBTOR_ID: DOCUMENT},
)

Batches = list[tuple[list[Message], list[Event], datetime]]


class Told:
    """A story: batches that were really applied, and the rows that they have left."""

    def __init__(self, realm: Realm = REALM) -> None:
        self.shard = MemoryShard(realm, POLICY)
        self.batches: Batches = []
        self.now = NOW

    def give(self, *commands: Message) -> None:
        """Let the shard apply a batch."""
        messages = self.shard.apply(commands, FACTS, self.now)
        self.batches.append((list(commands), [as_announced(m) for m in messages], self.now))

    @property
    def events(self) -> list[Event]:
        """Everything that was announced."""
        return [event for _, events, _ in self.batches for event in events]

    @property
    def sent(self) -> list[PendingBalanceChange]:
        """What another shard was told."""
        return [event for event in self.events if isinstance(event, PendingBalanceChange)]


def audit(batches: Batches, rows: Rows | None = None, realm: Realm = REALM) -> Auditor:
    """Let the auditor watch the story."""
    auditor = Auditor(POLICY)
    for commands, events, now in batches:
        auditor.observe(realm, commands, FACTS, now, events)
    if rows is not None:
        inspect([MemoryShard(realm, POLICY)], [rows], auditor)
    return auditor


def observe(batches: Batches) -> None:
    """Let the observer watch the story."""
    observer = Observer()
    for commands, events, _ in batches:
        observer.observe(commands, events)


def other(value: Any) -> Any:
    """Return another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case bytes():
            return value + b"x"
        case datetime() | date():
            return value - timedelta(days=1)
        case None:
            return NOW
    raise AssertionError(value)


def altered(row: Any) -> Iterator[Any]:
    """Return copies of a struct, in each of which one field is different."""
    for name in row.__struct_fields__:
        if name not in NOT_STORED:
            yield msgspec.structs.replace(row, **{name: other(getattr(row, name))})


def variants_of(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Return other events: one missing, one said twice, or one field that is different."""
    for index, event in enumerate(events):
        before, after = [*events[:index]], [*events[index + 1 :]]
        yield before + after
        yield [*before, event, event, *after]
        for changed in altered(event):
            # Any id will do that was never used before.
            if not isinstance(event, PendingBalanceChange) or changed.change_id == event.change_id:
                yield [*before, changed, *after]


def variants_of_rows(table: dict[Any, Any] | list[Any]) -> Iterator[Any]:
    """Return other tables: one row missing, or one field that is different."""
    for index in range(len(table)):
        key = index if isinstance(table, list) else list(table)[index]
        row = table[key]
        for changed in [other(row)] if isinstance(row, datetime) else altered(row):
            copy = table.copy()
            copy[key] = changed
            yield copy
        copy = table.copy()
        del copy[key]
        yield copy
