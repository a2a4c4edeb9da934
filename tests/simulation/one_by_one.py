"""What recorded traffic leads to when every command is a batch of its own."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from swpt_accounts.ledger.account_update import announce
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import AccountUpdate, Event
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.discrepancy import require_equal
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.observer import is_begun_by_node
from tests.simulation.recording import Portion
from tests.simulation.rows import Rows, Shard
from tests.simulation.world import POLICY, as_announced

_NO_ROWS: Final = Rows({}, {}, {}, [])
_UNUSED_CHANGE_ID: Final = 10**9


def give(shard: Shard, batch: Portion) -> list[Event]:
    """Let a shard apply a batch; return what it announces."""
    for account in batch.written:
        shard.put_account(account)
    return [as_announced(m) for m in shard.apply(batch.commands, batch.facts, batch.now)]


def copied(rows: Rows) -> Rows:
    """Return rows that can be changed."""
    return Rows(dict(rows.accounts), dict(rows.transfers), dict(rows.changes), list(rows.journal))


class OneByOne:
    """The tables after each command, and the events of each."""

    def __init__(self, realm: Realm, portions: Iterable[Portion]) -> None:
        shard = MemoryShard(realm, POLICY)
        self.tables: list[Rows] = []
        self.events: list[list[Event]] = []
        for portion in portions:
            written = portion.written
            for command in portion.commands:
                single = Portion([command], portion.facts, portion.now, written)
                self.events.append(give(shard, single))
                self.tables.append(shard.rows())
                written = []


class Comparison:
    """Follows another shard, which is given batches: each must end as its commands one by one.

    Both begin with the same rows. So a difference that may be is not followed by others.
    """

    def __init__(self, realm: Realm) -> None:
        self._shard = MemoryShard(realm, POLICY)
        self._rows = _NO_ROWS

    def check(self, batch: Portion, events: Sequence[Event], rows: Rows) -> None:
        """Compare what came of the next batch with what comes of its commands."""
        written = {account.key: account for account in batch.written}
        before = msgspec.structs.replace(self._rows, accounts=self._rows.accounts | written)
        self._rows = rows
        self._names: dict[int, int] = {}
        self._expected_names: dict[int, int] = {}
        self._shard.take_over(copied(before), _UNUSED_CHANGE_ID)
        singles = []
        for command in batch.commands:
            singles += give(self._shard, Portion([command], batch.facts, batch.now, []))
        after = self._shard.rows()
        updates = {(e.debtor_id, e.creditor_id) for e in singles if isinstance(e, AccountUpdate)}
        coalesced = [
            announce(msgspec.structs.replace(after.accounts[key]), POLICY, batch.now)
            for key in sorted(updates)
        ]
        others = [event for event in singles if not isinstance(event, AccountUpdate)]
        require_equal(
            "the events",
            [_renamed_in_event(event, self._names) for event in events],
            [*(_renamed_in_event(e, self._expected_names) for e in others), *coalesced],
        )
        for key in updates:
            # The batch tells of everything at its end.
            after.accounts[key].update_pending_since = None
        self._compare(rows, after)

    def _compare(self, rows: Rows, after: Rows) -> None:
        require_equal("the accounts", rows.accounts, after.accounts)
        require_equal("the prepared transfers", rows.transfers, after.transfers)
        require_equal("the registered changes", rows.changes, after.changes)
        require_equal(
            "the journal",
            renamed_in_journal(rows, self._names),
            renamed_in_journal(after, self._expected_names),
        )


def _renamed_in_event(event: Event, names: dict[int, int]) -> Event:
    """Return the event with the change id's place in the order of all that were announced."""
    if not isinstance(event, PendingBalanceChange):
        return event
    name = names.setdefault(event.change_id, len(names))
    return msgspec.structs.replace(event, change_id=name)


def renamed_in_journal(rows: Rows, names: dict[int, int]) -> list[JournalEntry]:
    """Return the journal with the own change ids' places, in the order in which they are met."""
    return [_renamed_in_entry(entry, rows, names) for entry in rows.journal]


def _renamed_in_entry(entry: JournalEntry, rows: Rows, names: dict[int, int]) -> JournalEntry:
    change_id = entry.change_id
    if change_id is None:
        return entry
    key = entry.debtor_id, entry.other_creditor_id, change_id
    if entry.transfer_id is None and key in rows.changes and not is_begun_by_node(entry):
        return entry
    return msgspec.structs.replace(entry, change_id=names.setdefault(change_id, len(names)))
