"""A year of two shards: messages and chores that come late, twice, or never, and exact books."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import Final

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.batch import needs_of
from swpt_accounts.ledger.chores import Chore, RemindOfTransfer, SendAccountUpdate
from swpt_accounts.ledger.commands import Command, PendingBalanceChange
from swpt_accounts.ledger.events import AccountPurge, AccountUpdate, PreparedTransfer
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.chores import decode_chore, encode_chore
from swpt_accounts.protocol.decoding import CONTENT_TYPE
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.discrepancy import require, require_equal
from tests.simulation.exact_account import DAY, ExactAccount
from tests.simulation.exact_books import ExactBooks, said
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.world import as_announced, as_received
from tests.simulation.year_plan import COURT_ID, HOUR, Plan, delay

START: Final = datetime.fromisoformat("2026-01-02T03:04:05.678901+00:00")
LENGTH: Final = 400 * DAY
# Accounts are purged after 46 days, so that some can be opened several times in a year.
POLICY: Final = Policy(commit_period=30 * DAY)

BATCH_SIZE_MAX: Final = 60
ACTS_PER_ROUND: Final = 6
SILENCE_MAX: Final = 30 * DAY
"""Nobody waits longer for a message, even if the chores of several scans in a row get lost."""

Message = Command | Chore


def sent_over(chore: Chore) -> Chore:
    """Return a chore as it is after its way through the queue."""
    return decode_chore(type(chore).__name__, CONTENT_TYPE, encode_chore(chore))


class Year:
    """Goes from round to round, each some hours later than the one before."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = Random(seed)
        self.now = START
        self.shards = [MemoryShard(Realm.parse(key), POLICY) for key in ("0.#", "1.#")]
        self.books = ExactBooks(POLICY)
        self.plan = Plan(self._random, START)
        self.in_flight: Counter[int] = Counter()
        self.taken_by_court: Counter[int] = Counter()
        self.purges_count = 0
        self.rates: defaultdict[AccountKey, dict[datetime, float]] = defaultdict(dict)
        self._told_at: dict[AccountKey, datetime] = {}
        self._order = count()
        self._queues: list[list[tuple[datetime, int, Message]]] = [[] for _ in self.shards]
        self._next_scans = [START + HOUR, START + 5 * HOUR]
        self._documents: dict[tuple[int, int], tuple[datetime, str | None]] = {}
        self._calendar = iter(self.plan.calendar)
        self._next_decision = next(self._calendar, None)

    def live(self, length: timedelta) -> None:
        """Let the year pass, or a part of it."""
        while self.now < START + length:
            self.now += HOUR * self._random.uniform(1, 15)
            self._decide()
            self._scan()
            self._work()
            self._require_conservation()

    def settle(self) -> None:
        """Let everything arrive that is still under way."""
        while any(self._queues):
            self.now += DAY
            self._work()
            self._require_conservation()
        require(not any(self.in_flight.values()), f"still under way: {self.in_flight}")

    def compare(self, keys: Iterable[AccountKey]) -> None:
        """Compare accounts with the exact books."""
        for key in keys:
            row = self.shards[self._shard_of(*key)].account(key)
            exact = self.books.accounts.get(key)
            if row is not None and exact is not None:
                compare(row, exact)
            elif row is not None or exact is not None:
                require_equal("an account", row, exact)

    # -- what is done ------------------------------------------------------

    def _decide(self) -> None:
        while self._next_decision is not None and self._next_decision[0] <= self.now:
            self._post(timedelta(0), self._next_decision[1])
            self._next_decision = next(self._calendar, None)
        for _ in range(ACTS_PER_ROUND):
            key = self._random.choice(self.plan.owners)
            for period, command in self.plan.act(self.books.accounts.get(key), key, self.now):
                self._post(period, command)

    def _scan(self) -> None:
        for index, shard in enumerate(self.shards):
            if self._next_scans[index] > self.now:
                continue
            self._next_scans[index] = self.now + DAY * self._random.uniform(1, 3)
            debtor_ids = self.plan.debtor_ids
            foreign = {d for d in debtor_ids if not shard.realm.contains(d, 0)}
            documents = {d: self._document(index, d) for d in foreign}
            chores = shard.scan(documents, self.now)
            documents |= {d: self._document(index, d) for d in debtor_ids if d not in foreign}
            due = self.books.due(shard.realm, documents, self.now)
            found = {self._shown(c) for c in chores if not isinstance(c, SendAccountUpdate)}
            require_equal("what a scan finds", found, due)
            self._require_news(shard)
            for chore in chores:
                self._post_chore(index, sent_over(chore))

    def _post_chore(self, index: int, chore: Chore) -> None:
        """Send a chore, which may come late, more than once, or not at all."""
        random = self._random
        for _ in range(random.choices((0, 1, 2), (5, 85, 10))[0]):
            late = random.choices((timedelta(0), delay(random, 4 * DAY)), (8, 2))[0]
            heapq.heappush(self._queues[index], (self.now + late, next(self._order), chore))

    def _post(self, period: timedelta, command: Command) -> None:
        queue = self._queues[self._shard_of(command.debtor_id, command.creditor_id)]
        heapq.heappush(queue, (self.now + period, next(self._order), as_received(command)))

    def _work(self) -> None:
        """Let each shard apply what has arrived, in batches."""
        for index, queue in enumerate(self._queues):
            arrived = []
            while queue and queue[0][0] <= self.now:
                arrived.append(heapq.heappop(queue)[2])
            for batch in self._batches(arrived):
                self.now += timedelta(microseconds=self._random.randrange(1, 10**6))
                self._apply(index, batch)

    def _batches(self, messages: list[Message]) -> Iterator[list[Message]]:
        while messages:
            size = self._random.randrange(1, BATCH_SIZE_MAX + 1)
            yield messages[:size]
            messages = messages[size:]

    def _apply(self, index: int, batch: list[Message]) -> None:
        shard = self.shards[index]
        facts = self._facts(index, batch)
        self.books.apply(shard.realm, batch, facts, self.now)
        touched = {(message.debtor_id, message.creditor_id) for message in batch}
        really_sent = Counter[object]()
        for message in shard.apply(batch, facts, self.now):
            match event := as_announced(message):
                case PendingBalanceChange():
                    really_sent[said(event)] += 1
                    self.in_flight[event.debtor_id] += event.principal_delta
                    self._carry(event)
                case PreparedTransfer():
                    self._hear(event)
                case AccountUpdate():
                    key = event.debtor_id, event.creditor_id
                    self._told_at[key] = self.now
                    self.rates[key][event.last_interest_rate_change_ts] = event.interest_rate
                case AccountPurge():
                    self.purges_count += 1
        require_equal("what shards tell each other", really_sent, self.books.sent)
        self._count_received()
        self.compare(touched | {(debtor_id, 0) for debtor_id, _ in touched} & self._own(shard))

    def _own(self, shard: MemoryShard) -> set[AccountKey]:
        return {(d, 0) for d in self.plan.debtor_ids if shard.realm.contains(d, 0)}

    def _carry(self, change: PendingBalanceChange) -> None:
        """Deliver a change to another shard, after days at times, and at times twice."""
        random = self._random
        for _ in range(random.choice((1, 1, 1, 2))):
            self._post(delay(random, 13 * DAY), change)

    def _count_received(self) -> None:
        """Note which money has arrived, and is not under way any more."""
        for change in self.books.applied:
            is_taken = change.other_creditor_id == COURT_ID
            account = self.taken_by_court if is_taken else self.in_flight
            account[change.debtor_id] -= change.principal_delta

    def _hear(self, event: PreparedTransfer) -> None:
        """Let a coordinator hear of its transfer, for the first time or again."""
        key = event.debtor_id, event.creditor_id, event.transfer_id
        if key not in self.books.names:
            self.books.names[key] = event.coordinator_request_id
            for period, command in self.plan.answer(event, self.now):
                self._post(period, command)

    # -- what shards know of each other ------------------------------------

    def _document(self, index: int, debtor_id: int) -> str | None:
        """Return a currency's configuration; other shards' may be up to a day old."""
        home = self._shard_of(debtor_id, 0)
        known = self._documents.get((index, debtor_id))
        if home != index and known and self.now - known[0] <= DAY and known[1] is not None:
            return known[1]
        root = self.shards[home].account((debtor_id, 0))
        document = None if root is None else root.config_data
        self._documents[index, debtor_id] = self.now, document
        return document

    def _facts(self, index: int, batch: list[Message]) -> Facts:
        needs = needs_of(batch, self.shards[index].realm.contains, POLICY)
        reachable = {}
        for key in needs.foreign_recipients:
            account = self.shards[self._shard_of(*key)].account(key)
            reachable[key] = account is not None and account.accepts_transfers
        return Facts(reachable, {d: self._document(index, d) for d in needs.foreign_currencies})

    def _shard_of(self, debtor_id: int, creditor_id: int) -> int:
        return 0 if self.shards[0].realm.contains(debtor_id, creditor_id) else 1

    # -- what must hold ----------------------------------------------------

    def _shown(self, chore: Chore) -> tuple[object, ...]:
        shown = (type(chore).__name__, *msgspec.structs.astuple(chore))
        if isinstance(chore, RemindOfTransfer):
            name = self.books.names[chore.debtor_id, chore.creditor_id, chore.transfer_id]
            return *shown[:3], name
        return shown[:4]

    def _require_news(self, shard: MemoryShard) -> None:
        """Every account that lives has been announced lately, whatever was lost."""
        for key, account in self.books.accounts.items():
            if shard.realm.contains(*key) and not account.is_deleted:
                silence = self.now - self._told_at[key]
                require(silence <= SILENCE_MAX, f"nothing was heard of {key} for {silence}")

    def _require_conservation(self) -> None:
        totals: defaultdict[int, int] = defaultdict(int)
        for debtor_id, total in principals(self.shards):
            totals[debtor_id] += total
        for outside in (self.in_flight, self.taken_by_court):
            for debtor_id, amount in outside.items():
                totals[debtor_id] += amount
        require(not any(totals.values()), f"money has come or gone: {dict(totals)}")


def principals(shards: Iterable[MemoryShard]) -> Iterator[tuple[int, int]]:
    """Yield (debtor, principal) of all accounts."""
    for shard in shards:
        for account in shard.accounts():
            yield account.debtor_id, account.principal


def compare(row: Account, exact: ExactAccount) -> None:
    """Require that an account is the exact one, with its interest as near as a float can be."""
    observed: Mapping[str, object] = {
        "principal": row.principal,
        "interest_rate": row.interest_rate,
        "previous_interest_rate": row.previous_interest_rate,
        "last_interest_rate_change_ts": row.last_interest_rate_change_ts,
        "last_change_ts": row.last_change_ts,
        "creation_date": row.creation_date,
        "is_deleted": row.is_deleted,
        "total_locked_amount": row.total_locked_amount,
        "pending_transfers_count": row.pending_transfers_count,
        "last_interest_capitalization_ts": row.last_interest_capitalization_ts,
        "last_deletion_attempt_ts": row.last_deletion_attempt_ts,
        "debtor_info_iri": row.debtor_info_iri,
    }
    expected: Mapping[str, object] = {
        "principal": exact.principal,
        "interest_rate": exact.rate,
        "previous_interest_rate": exact.previous_rate,
        "last_interest_rate_change_ts": exact.rate_since,
        "last_change_ts": exact.changed_at,
        "creation_date": exact.opened_on,
        "is_deleted": exact.is_deleted,
        "total_locked_amount": exact.locked,
        "pending_transfers_count": len(exact.locks),
        "last_interest_capitalization_ts": exact.paid_at,
        "last_deletion_attempt_ts": exact.tried_at,
        "debtor_info_iri": exact.iri,
    }
    # The decimals of both calculations are so many that what they leave out does not count.
    tolerance = exact.error * Decimal("1.000001") + Decimal("1e-25")
    if observed == expected and abs(Decimal(row.interest) - exact.interest) <= tolerance:
        return
    story = "\n".join(exact.history)
    require_equal(f"account {row.key}, of which the exact books say\n{story}\n", observed, expected)
    require_equal("its interest", row.interest, exact.interest)
