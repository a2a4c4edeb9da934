"""Shards with their queues, the messages between them, a clock, and the auditor watching."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec

from swpt_accounts.ledger import events
from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.batch import needs_of
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command, FinalizeTransfer, PendingBalanceChange
from swpt_accounts.ledger.events import AccountPurge, Event, FinalizedTransfer, PreparedTransfer
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.chores import decode_chore, encode_chore
from swpt_accounts.protocol.decoding import CONTENT_TYPE
from swpt_accounts.protocol.incoming import decode
from swpt_accounts.protocol.outgoing import OutgoingMessage
from tests.simulation.auditor import Auditor
from tests.simulation.books import AccountBook
from tests.simulation.discrepancy import require_equal
from tests.simulation.expected_events import coordinator_of, key_of
from tests.simulation.inspection import inspect
from tests.simulation.observer import Observer, check_tables
from tests.simulation.rows import Shard
from tests.simulation.traffic import DEBTOR_IDS, Traffic

START: Final = datetime.fromisoformat("2026-01-02T03:04:05.678901+00:00")
CLOCK_ERROR_MAX: Final = timedelta(days=2)
"""After a purge, clocks may be wrong by less than the three days that accounts must be old."""

POLICY: Final = Policy(archive_threshold=START - timedelta(days=300))


Message = Command | Chore
"""What a shard can be asked to do."""


def as_received(command: Message) -> Message:
    """Return a command, or a chore, as it is after its way over the wire."""
    if isinstance(command, Chore):
        return decode_chore(type(command).__name__, CONTENT_TYPE, encode_chore(command))
    return decode(type(command).__name__, CONTENT_TYPE, msgspec.json.encode(command))


def as_announced(message: OutgoingMessage) -> Event:
    """Return the event that a peer reads from a message."""
    if message.message_type == "PendingBalanceChange":
        return decode(message.message_type, CONTENT_TYPE, message.body)  # type: ignore[return-value]
    document: dict[str, Any] = msgspec.json.decode(message.body)
    if "debtor_info_sha256" in document:
        document["debtor_info_sha256"] = bytes.fromhex(document["debtor_info_sha256"])
    event: Event = msgspec.convert(document, getattr(events, message.message_type))
    return event


class World:
    """Everything that happens between the shards' tables and their peers."""

    def __init__(self, shards: Sequence[Shard], say: Callable[[str], object]) -> None:
        self.shards = shards
        self.now = START
        self.traffic = Traffic()
        self.auditor = Auditor(POLICY)
        self.observer = Observer()
        self.queues: list[list[Message]] = [[] for _ in shards]
        self.handled: list[Message] = []
        self.sent: list[PendingBalanceChange] = []
        self.others_answer = True
        self._earliest = START - timedelta(days=30)
        self._tables = [shard.rows() for shard in shards]
        self._say = say

    # -- what happens to messages ----------------------------------------

    def send(self, *commands: Message) -> None:
        """Put commands into the queues of the shards that they are for."""
        for command in commands:
            queue = self.queues[self._shard_of(command.debtor_id, command.creditor_id)]
            queue.append(as_received(command))

    def apply(self, index: int, size: int, *, is_acknowledged: bool = True) -> None:
        """Let a shard apply a batch; when it dies after the commit, the batch comes again."""
        shard, commands, facts = self._take(index, size)
        announced = [as_announced(m) for m in shard.apply(commands, facts, self.now)]
        self.handled.extend(commands)
        if not is_acknowledged:
            self.queues[index][:0] = commands
        for event in announced:
            match event:
                case PreparedTransfer():
                    self.traffic.announced[key_of(event)] = event
                case FinalizedTransfer():
                    self.traffic.announced.pop(key_of(event), None)
                case PendingBalanceChange():
                    self.sent.append(event)
        if any(isinstance(event, AccountPurge) for event in announced):
            self._earliest = max(self._earliest, self.now - CLOCK_ERROR_MAX)
        has_effect = self.auditor.observe(shard.realm, commands, facts, self.now, announced)
        self.observer.observe(commands, announced)
        self.inspect(index, may_differ=has_effect)

    def scan(self, index: int) -> None:
        """Let a shard look at everything, and put what is due into its own queue."""
        shard = self.shards[index]
        documents = {
            debtor_id: self._document_of(debtor_id)
            for debtor_id in DEBTOR_IDS
            if self.others_answer and not shard.realm.contains(debtor_id, 0)
        }
        found = shard.scan(documents, self.now)
        self._say(f"# shard {shard.realm.routing_key} is scanned, {documents}: {len(found)} chores")
        due = list(self.auditor.due(shard.realm, documents, self.now))
        require_equal("what a scan finds", Counter(found), Counter(due))
        self.send(*found)

    def crash(self, index: int, size: int) -> None:
        """Let a shard die before the commit: the batch comes again."""
        shard, commands, facts = self._take(index, size)
        self._say(f"# crash before the commit of {len(commands)} commands")
        shard.crash(commands, facts, self.now)
        self.queues[index][:0] = commands
        self.inspect(index, may_differ=False)

    def inspect(self, index: int, *, may_differ: bool = True) -> None:
        """Compare the tables with the books."""
        rows = self.shards[index].rows()
        if not may_differ:
            require_equal("a command that has no effect leaves a trace", rows, self._tables[index])
        self._tables[index] = rows
        inspect(self.shards, self._tables, self.auditor)
        check_tables(self._tables, self.sent)

    def deliver(self, random: Random, count: int) -> None:
        """Deliver some of the changes that shards have sent to each other, also repeatedly."""
        if self.sent:
            newest = self.sent[-random.randrange(1, 20) :]
            self.send(*(random.choice(newest) for _ in range(count)))

    def repeat(self, random: Random, count: int) -> None:
        """Deliver again what has been handled before."""
        if self.handled:
            newest = self.handled[-random.randrange(1, 50) :]
            self.send(*(random.choice(newest) for _ in range(count)))

    def settle(self) -> None:
        """Let everything come to its end: empty queues, nothing locked, nothing under way."""
        for index in range(len(self.shards)):
            while self.queues[index]:
                self.apply(index, 200)
        for book in self.auditor.books.values():
            self.send(*map(_dismissal, book.prepared.values()))
        self.send(*self.sent)
        for index in range(len(self.shards)):
            while self.queues[index]:
                self.apply(index, 200)
        for rows in self._tables:
            assert not rows.transfers
        received = {key for rows in self._tables for key in rows.changes}
        assert received >= self.auditor.sent.keys()

    # -- what happens beside the messages ----------------------------------

    def pass_time(self, period: timedelta) -> None:
        """Set the clock, forward or back, but never far behind the beginning, or a purge."""
        self.now = max(self.now + period, self._earliest)
        self._say(f"# {self.now}")

    def seize(self, key: AccountKey) -> None:
        """Take everything from an account, whatever is locked on it."""
        principal = self.auditor.books[key].principal
        if principal:
            self.send(self.traffic.given(*key, -principal, self.now))

    def age(self, key: AccountKey, steps: int) -> None:
        """Let an account come near to its last sequence number, as if much had happened since."""
        account, book = self._account_and_book(key)
        book.last_change_ts += timedelta(microseconds=1)
        account.last_change_ts = book.last_change_ts
        account.last_change_seqnum = book.last_change_seqnum = 2**31 - steps
        self._put(account, f"given the sequence number {account.last_change_seqnum}")

    def _account_and_book(self, key: AccountKey) -> tuple[Account, AccountBook]:
        return self._tables[self._shard_of(*key)].accounts[key], self.auditor.books[key]

    def _put(self, account: Account, what: str) -> None:
        self._say(f"# account {account.key} is {what}")
        index = self._shard_of(*account.key)
        self.shards[index].put_account(account)
        self.inspect(index)

    # -- who owns what -----------------------------------------------------

    def _shard_of(self, debtor_id: int, creditor_id: int) -> int:
        [index] = [i for i, s in enumerate(self.shards) if s.realm.contains(debtor_id, creditor_id)]
        return index

    def _take(self, index: int, size: int) -> tuple[Shard, list[Message], Facts]:
        shard, queue = self.shards[index], self.queues[index]
        commands, queue[:] = queue[:size], queue[size:]
        needs = needs_of(commands, shard.realm.contains, POLICY)
        reachable = {key: self._accepts_transfers(key) for key in needs.foreign_recipients}
        documents = {d: self._document_of(d) for d in needs.foreign_currencies}
        facts = Facts(reachable, documents if self.others_answer else {})
        self._say(f"# shard {shard.realm.routing_key}, {facts}, {len(commands)} commands:")
        for command in commands:
            self._say(str(command))
        return shard, commands, facts

    def _accepts_transfers(self, key: AccountKey) -> bool:
        account = self._tables[self._shard_of(*key)].accounts.get(key)
        return account is not None and account.accepts_transfers

    def _document_of(self, debtor_id: int) -> str | None:
        root = self._tables[self._shard_of(debtor_id, 0)].accounts.get((debtor_id, 0))
        return None if root is None else root.config_data


def _dismissal(transfer: PreparedTransfer) -> FinalizeTransfer:
    return FinalizeTransfer(
        *key_of(transfer),
        *coordinator_of(transfer),
        committed_amount=0,
        transfer_note="",
        transfer_note_format="",
        ts=transfer.ts,
    )
