"""What recorded traffic leads to when every command is a batch of its own."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from swpt_accounts.ledger.account_update import announce
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import AccountUpdate, Event
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.discrepancy import require_equal
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.recording import Portion
from tests.simulation.rows import Rows, Shard
from tests.simulation.world import POLICY, as_announced

_NO_ROWS: Final = Rows({}, {}, {}, [])


def give(shard: Shard, batch: Portion) -> list[Event]:
    """Let a shard apply a batch; return what it announces."""
    for account in batch.written:
        shard.put_account(account)
    return [as_announced(m) for m in shard.apply(batch.commands, batch.facts, batch.now)]


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
    """Follows another shard, which is given the same commands in batches."""

    def __init__(self, one_by_one: OneByOne) -> None:
        self._one_by_one = one_by_one
        self._position = 0
        self._pending_since: dict[AccountKey, datetime | None] = {}
        self._names: dict[int, int] = {}
        self._expected_names: dict[int, int] = {}

    def check(self, batch: Portion, events: Sequence[Event], rows: Rows) -> None:
        """Compare what came of the next batch with what came of its commands."""
        begin, end = self._position, self._position + len(batch.commands)
        self._position = end
        before = self._one_by_one.tables[begin - 1] if begin else _NO_ROWS
        after = self._one_by_one.tables[end - 1]
        singles = [event for events in self._one_by_one.events[begin:end] for event in events]
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
        self._predict_pending(batch, before, after, updates)
        self._compare(rows, after)

    def _predict_pending(
        self, batch: Portion, before: Rows, after: Rows, updates: set[AccountKey]
    ) -> None:
        """An account's news are pending after a change, unless the batch ends by telling them."""
        for account in batch.written:
            self._pending_since[account.key] = account.update_pending_since
            before = msgspec.structs.replace(
                before, accounts=before.accounts | {account.key: account}
            )
        for key, account in after.accounts.items():
            known = before.accounts.get(key)
            if key in updates:
                self._pending_since[key] = None
            elif known is None or known.last_change_seqnum != account.last_change_seqnum:
                self._pending_since[key] = self._pending_since.get(key) or batch.now

    def _compare(self, rows: Rows, after: Rows) -> None:
        accounts = {
            key: msgspec.structs.replace(account, update_pending_since=self._pending_since[key])
            for key, account in after.accounts.items()
        }
        require_equal("the accounts", rows.accounts, accounts)
        require_equal("the prepared transfers", rows.transfers, after.transfers)
        require_equal("the registered changes", rows.changes, after.changes)
        require_equal(
            "the journal",
            [_renamed_in_entry(entry, self._names) for entry in rows.journal],
            [_renamed_in_entry(entry, self._expected_names) for entry in after.journal],
        )


def _renamed_in_event(event: Event, names: dict[int, int]) -> Event:
    """Return the event with the change id's place in the order of all that were announced."""
    if not isinstance(event, PendingBalanceChange):
        return event
    name = names.setdefault(event.change_id, len(names))
    return msgspec.structs.replace(event, change_id=name)


def _renamed_in_entry(entry: JournalEntry, names: dict[int, int]) -> JournalEntry:
    if entry.change_id is None or entry.transfer_id is None:
        return entry
    return msgspec.structs.replace(entry, change_id=names[entry.change_id])
