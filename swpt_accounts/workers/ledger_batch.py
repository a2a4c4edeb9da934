"""One batch, one transaction: load, apply, save rows and outbox, commit."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from swpt_accounts.ledger.batch import apply, needs_of
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.working_set import WorkingSet
from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import accounts, changes, journal, outbox, parked, transfers, waiting
from swpt_accounts.store.accounts import LockedAccounts
from swpt_accounts.store.clock import require_agreement
from swpt_accounts.store.parked import Parked
from swpt_accounts.store.transaction import Conflict, Database, DatabaseUnavailable, Transaction
from swpt_accounts.store.usable import require_usable
from swpt_accounts.store.waiting import Wait, WaitingKey

CONFLICTS_MAX: Final = 5
"""So many times a batch is tried again, when other processes were faster."""


class Aside(msgspec.Struct):
    """What a batch does with messages besides applying them, in the same transaction.

    `taken` are waiting messages that it applies: they are forgotten. `waits`
    are written down, or put back if they were taken from there. `parked` wait
    for an operator; those of them that had waited are among `taken`.
    """

    taken: list[WaitingKey] = []
    waits: list[Wait] = []
    parked: list[Parked] = []

    @property
    def locked_keys(self) -> set[WaitingKey]:
        """The waiting messages that nobody else may take meanwhile."""
        again = (wait.message.key for wait in self.waits if wait.message.attempts_count)
        return {*self.taken, *again}


class TakenByOthers(Exception):
    """Waiting messages that were taken are somebody else's, or gone: they must not be applied."""

    def __init__(self, keys: Collection[WaitingKey]) -> None:
        super().__init__(f"{len(keys)} waiting messages were taken by another process")
        self.keys = frozenset(keys)


class LedgerBatch(msgspec.Struct, frozen=True):
    """What every batch is applied with: the database, the realm, the policy, the clock.

    Nothing is applied while the database's clock is further than `clock_skew_max`
    from this one, since one of them is wrong; None stands for a clock that is
    not compared.
    """

    database: Database
    realm: Realm
    policy: Policy
    clock: Callable[[], datetime]
    clock_skew_max: timedelta | None = None

    def needs_of(self, commands: Sequence[Command | Chore]) -> Needs:
        """Return what the commands have to know."""
        return needs_of(commands, self.realm.contains, self.policy)

    def apply(
        self,
        commands: Sequence[Command | Chore],
        needs: Needs,
        facts: Facts,
        aside: Aside | None = None,
    ) -> None:
        """Apply the commands and write the outcome; all of it is committed, or nothing.

        Raises `DatabaseUnavailable`, `Blocked`, `Conflict` (when it goes on after
        several attempts), `TakenByOthers`, or whatever a command that cannot be
        applied makes fail.
        """
        for attempt in range(1, 1 + CONFLICTS_MAX):
            try:
                self._apply_once(commands, needs, facts, aside or Aside())
            except Conflict:
                if attempt == CONFLICTS_MAX:
                    raise
            else:
                with suppress(DatabaseUnavailable):  # The batch is committed all the same.
                    outbox.wake_flushers(self.database)
                return

    def _apply_once(
        self, commands: Sequence[Command | Chore], needs: Needs, facts: Facts, aside: Aside
    ) -> None:
        with self.database.transaction() as transaction:
            now = self._moment(transaction)
            take(transaction, aside)
            working_set, locked = load(transaction, needs, facts, self.realm)
            apply(commands, working_set, self.policy, now)
            save(transaction, working_set, locked, now)
            set_aside(transaction, aside, now)

    def require_usable(self) -> None:
        """Raise `DatabaseUnavailable` or `TimeUncertain` unless a batch can be applied now."""
        with self.database.transaction() as transaction:
            require_usable(transaction)
            self._moment(transaction)

    def _moment(self, transaction: Transaction) -> datetime:
        """Return the one moment at which all of the batch happens."""
        if self.clock_skew_max is None:
            return self.clock()
        return require_agreement(transaction, self.clock, self.clock_skew_max)


def take(transaction: Transaction, aside: Aside) -> None:
    """Lock the waiting messages that the batch is about; `TakenByOthers` if not all are there.

    They come before everything else that is locked.
    """
    keys = aside.locked_keys
    if keys and (missing := keys - waiting.lock(transaction, keys)):
        raise TakenByOthers(missing)


def set_aside(transaction: Transaction, aside: Aside, now: datetime) -> None:
    """Write what becomes of the messages. Whoever waits for such a row, waits for nothing else."""
    waiting.delete(transaction, aside.taken)
    waiting.put_back(transaction, [w for w in aside.waits if w.message.attempts_count])
    waiting.insert(transaction, [w for w in aside.waits if not w.message.attempts_count], now)
    parked.insert(transaction, aside.parked, now)


def load(
    transaction: Transaction, needs: Needs, facts: Facts, realm: Realm
) -> tuple[WorkingSet, LockedAccounts]:
    """Lock and load what the batch needs.

    Every process locks in the same order (waiting messages, prepared transfers,
    registered changes, accounts, each in key order), so that none waits for
    another one that waits for it.
    """
    locked_transfers = transfers.lock_and_load(transaction, needs.transfers | needs.reminders)
    new_changes = changes.register(transaction, needs.changes)
    requested = set(needs.accounts)
    foreign_recipients_count = 0
    for transfer in locked_transfers:
        if transfer.key not in needs.transfers:
            continue
        if realm.contains(transfer.debtor_id, transfer.recipient_creditor_id):
            requested.add((transfer.debtor_id, transfer.recipient_creditor_id))
        else:
            foreign_recipients_count += 1
    locked_accounts = accounts.lock_and_load(transaction, requested)
    working_set = WorkingSet(
        needs,
        requested_accounts=requested,
        accounts=[locked.account for locked in locked_accounts.values()],
        transfers=locked_transfers,
        repeated_transfers=transfers.read_by_coordinator(transaction, needs.coordinator_keys),
        reachable=accounts.read_reachable(transaction, needs.recipients - requested),
        root_config_data=accounts.read_root_config_data(transaction, needs.currencies),
        new_changes=new_changes,
        change_ids=changes.next_ids(
            transaction, foreign_recipients_count + needs.own_movements_count
        ),
        facts=facts,
    )
    return working_set, locked_accounts


def save(
    transaction: Transaction, working_set: WorkingSet, locked: LockedAccounts, now: datetime
) -> None:
    """Write what has become of the working set."""
    accounts.delete(transaction, working_set.purged)
    accounts.save(transaction, working_set.changed_accounts(), locked)
    transfers.note_reminders(transaction, working_set.reminded.values())
    transfers.delete(transaction, working_set.removed)
    transfers.insert(transaction, working_set.prepared.values())
    journal.append(transaction, working_set.journal)
    outbox.append(transaction, map(encode, working_set.events), now)
