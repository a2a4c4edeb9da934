"""Messages that are under way: read, held, published, confirmed, and only then deleted.

Each has its own outcome, and what one destination does not take is out of the
others' way. What was confirmed is deleted many rows at a time. A process that
dies leaves behind what it has not deleted, which is sent again; so nothing
waits for long.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import psycopg

from swpt_accounts.broker.confirms import CONFIRMED, NACKED, Posted
from swpt_accounts.broker.publisher import Outcome, Publisher, Verdict
from swpt_accounts.protocol.routing import destination as name_of
from swpt_accounts.store import outbox, undelivered
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.amqp import to_amqp
from swpt_accounts.workers.destinations import UNDER_WAY_MAX, Destination, Destinations
from swpt_accounts.workers.held import Entry, Held, State
from swpt_accounts.workers.set_aside import SetAside

HELD_MAX: Final = 1000
"""While fewer messages than this wait for their turn, more are read."""

BYTES_MAX: Final = 8 * 1024 * 1024
"""While the bodies in memory have fewer bytes than this, more are read."""

DEADLINE_SECONDS: Final = 5.0
"""So long the broker may take to confirm a message."""

DELETED_AT_ONCE: Final = 1000
DELETED_AFTER_SECONDS: Final = 0.1

OTHERS_WAIT: Final = "the destination does not take in time what is sent there"

_AWAITED_TOGETHER: Final = 64
"""Up to so many messages are awaited together; of more, half of them."""


class Pipeline:
    """Sends messages over one connection to either server."""

    def __init__(
        self,
        connection: psycopg.Connection,
        publisher: Publisher,
        destinations: Destinations,
        set_aside: SetAside,
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._destinations = destinations
        self._set_aside = set_aside
        self._outcomes = publisher.outcomes()
        self._entries: dict[int, Entry] = {}
        self._held = Held()
        self._bytes = 0
        self.under_way_count = 0
        """How many messages wait for their confirms, and are not given up."""
        self.given_up_count = 0
        """How many were set aside while they waited for their confirms, and still do."""
        self.nacked: list[Entry] = []
        """Those nacked once, until they are put on trial."""
        self._sent: list[Entry] = []
        self._first_sent_at = 0.0
        self._newest_confirmed = 0.0

    # -- what is in memory -------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Tell whether more may be read."""
        return self._held.count < HELD_MAX and self._bytes < BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing that is not sent yet."""
        return len(self._entries) == len(self._sent)

    def taken_ids(self) -> Collection[int]:
        """Return the ids of all that must not be read again."""
        return self._entries.keys()

    def under_way(self) -> list[Entry]:
        """Return what waits for its confirms."""
        return [entry for entry in self._entries.values() if entry.state is State.UNDER_WAY]

    # -- from the outbox to the broker --------------------------------------

    def take(self, rows: Sequence[OutboxMessage], now: float) -> None:
        """Hold messages until it is their turn; set aside what cannot be sent now."""
        entries = self._entries
        get = self._destinations.get
        hold = self._held.add
        size = 0
        for row in rows:
            message = row.message
            destination = get(
                name_of(message.exchange, message.routing_key, message.coordinator_type)
            )
            if destination.reason:
                self._set_aside.add(row, destination, destination.reason)
            elif destination.is_slow and not row.is_set_aside:
                self._set_aside.add(row, destination, OTHERS_WAIT)
            else:
                entry = Entry(row, destination, now)
                entries[row.id] = entry
                hold(entry)
                size += len(message.body)
        self._bytes += size
        self._set_aside.flush()

    def publish(self, now: float) -> None:
        """Publish as many messages as may be under way. Raises `BrokerLost`."""
        turn = self._held.take_turn(now, UNDER_WAY_MAX - self.under_way_count)
        if not turn:
            return
        for entry in turn:
            entry.state = State.UNDER_WAY
            entry.since = now
            entry.destination.under_way_count += 1
        self.under_way_count += len(turn)
        messages = [to_amqp(entry.row.message) for entry in turn]
        self._publisher.begin(messages, turn, self._outcomes)

    def settle(self, wait_seconds: float) -> None:
        """Wait for many confirms, and see to those that have come. Raises `BrokerLost`."""
        count = self.under_way_count
        enough = count if count <= _AWAITED_TOGETHER else count // 2
        settled = self._outcomes.take(wait_seconds, max(enough, 1))
        if settled:
            self._conclude(settled)
        if self._sent and self._is_time_to_delete():
            self.delete_sent()

    def finish(self, seconds: float) -> None:
        """Wait for all confirms, at most so long, delete what was sent, and forget the rest.

        Raises `BrokerLost`.
        """
        deadline = time.monotonic() + seconds
        while self.under_way_count and (left := deadline - time.monotonic()) > 0:
            self.settle(left)
        self.delete_sent()
        for entry in self._held.take_all():
            self._forget(entry)

    def delete_sent(self) -> None:
        """Delete what was confirmed."""
        sent, self._sent = self._sent, []
        if sent:
            rows = [entry.row for entry in sent]
            self.delete(rows)
            for row in rows:
                self._entries.pop(row.id, None)
            self._bytes -= sum(len(row.message.body) for row in rows)

    def delete(self, rows: Iterable[OutboxMessage]) -> None:
        """Delete messages that the broker has confirmed."""
        ids: tuple[list[int], list[int]] = ([], [])
        for row in rows:
            ids[row.is_set_aside].append(row.id)
        outbox.delete(self._connection, ids[0])
        undelivered.delete(self._connection, ids[1])

    # -- what does not go ----------------------------------------------------

    def take_overdue(self, now: float) -> list[Entry]:
        """Return what should have been confirmed by now, the oldest first.

        What is overdue although later messages were confirmed is its
        destination's fault, and set aside at once.
        """
        silent = []
        is_news = False
        for entry in self.under_way():
            if entry.since >= now - DEADLINE_SECONDS:
                continue
            if entry.since < self._newest_confirmed:
                reason = (
                    f"no confirm for {DEADLINE_SECONDS:g} seconds, while later messages were"
                    " confirmed"
                )
                entry.destination.fall_sick(reason)
                self.let_go(entry.row.id)
                self._set_aside.add(entry.row, entry.destination, reason, is_tried=True)
                is_news = True
            else:
                silent.append(entry)
        if is_news:
            self.put_away()
        return silent

    def take_excess(self, now: float) -> list[Destination]:
        """When nothing more can be read, set aside what waits for destinations that are slow.

        Returns these. Others may wait behind what they do not take.
        """
        if self.has_room:
            return []
        excess = self._held.take_excess(now)
        for destination, entries in excess.items():
            destination.is_slow = True
            self._leave_held(entries, OTHERS_WAIT)
        self._set_aside.flush()
        return list(excess)

    def let_go(self, row_id: int) -> None:
        """Leave a message to somebody else, who sets it aside. It may yet be confirmed."""
        entry = self._entries.get(row_id)
        if entry is None:
            return
        self._forget(entry)
        if entry.state is State.UNDER_WAY:
            self._give_up(entry)

    def put_away(self, *, with_under_way: Collection[Destination] = ()) -> None:
        """Set aside what is held, or on trial, for destinations that take nothing.

        Of some, what is under way too: it may not be confirmed any more.
        """
        self._leave_held(self._held.take_sick())
        for entry in list(self._entries.values()):
            destination = entry.destination
            is_under_way = entry.state is State.UNDER_WAY
            if is_under_way and destination in with_under_way:
                self.let_go(entry.row.id)
                self._set_aside.add(entry.row, destination, destination.reason, is_tried=True)
            elif entry.state is State.ON_TRIAL and destination.reason:
                self.let_go(entry.row.id)
                self._set_aside.add(entry.row, destination, destination.reason)
        self.nacked = [entry for entry in self.nacked if not entry.destination.reason]
        self._set_aside.flush()

    def _conclude(self, settled: Sequence[Posted]) -> None:
        now = time.monotonic()
        confirmed: Counter[Destination] = Counter()
        late: list[OutboxMessage] = []
        failed: list[tuple[Entry, Outcome]] = []
        if not self._sent:
            self._first_sent_at = now
        sent = self._sent
        newest = self._newest_confirmed
        for posted in settled:
            entry: Entry = posted.token
            if posted.outcome is not CONFIRMED:
                failed.append((entry, posted.outcome))
            elif entry.state is State.UNDER_WAY:
                entry.state = State.SENT
                sent.append(entry)
                confirmed[entry.destination] += 1
                if entry.since > newest:
                    newest = entry.since
            else:
                late.append(entry.row)
        self._newest_confirmed = newest
        for destination, count in confirmed.items():
            destination.under_way_count -= count
            destination.took(count, now)
            self.under_way_count -= count
        if late:
            self.given_up_count -= len(late)
            undelivered.delete_late(self._connection, late)
        if failed:
            for entry, outcome in failed:
                self._fail(entry, outcome, now)
            self.put_away()

    def _fail(self, entry: Entry, outcome: Outcome, now: float) -> None:
        if entry.state is State.GIVEN_UP:
            self.given_up_count -= 1
            return
        destination = entry.destination
        destination.under_way_count -= 1
        self.under_way_count -= 1
        if outcome == NACKED and not destination.reason and not destination.is_blamed(now):
            destination.is_suspected = True
            entry.state = State.ON_TRIAL
            self.nacked.append(entry)
            return
        if outcome == NACKED or outcome.verdict is Verdict.RETURNED:
            destination.fall_sick(outcome.reason)
        self._forget(entry)
        self._set_aside.add(entry.row, destination, outcome.reason, is_tried=True)

    def _give_up(self, entry: Entry) -> None:
        entry.state = State.GIVEN_UP
        entry.destination.under_way_count -= 1
        self.under_way_count -= 1
        self.given_up_count += 1

    def _leave_held(self, entries: Iterable[Entry], reason: str = "") -> None:
        for entry in entries:
            self._forget(entry)
            destination = entry.destination
            self._set_aside.add(entry.row, destination, reason or destination.reason)

    def _forget(self, entry: Entry) -> None:
        if self._entries.pop(entry.row.id, None) is not None:
            self._bytes -= len(entry.row.message.body)

    def _is_time_to_delete(self) -> bool:
        return (
            not self.under_way_count
            or len(self._sent) >= DELETED_AT_ONCE
            or time.monotonic() >= self._first_sent_at + DELETED_AFTER_SECONDS
        )
