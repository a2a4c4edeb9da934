"""Remembers which rows somebody keeps locked, so that they are waited for once, and not always."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from cachetools import TTLCache

from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.values import AccountKey, TransferKey
from swpt_accounts.store.held import Held, find_held, holders
from swpt_accounts.store.transaction import Database
from swpt_accounts.workers.settled import Received
from swpt_accounts.workers.states import StateReport

REMEMBERED_SECONDS: Final = 30.0
"""For so long after it was last seen, a lock is looked for before anybody waits for it."""

_REMEMBERED_MAX: Final = 100_000

logger = logging.getLogger(__name__)

NeedsOf = Callable[[Sequence[Received]], Needs]


class HeldRows:
    """Accounts and prepared transfers that were found locked. Belongs to one process."""

    def __init__(
        self, database: Database, needs_of: NeedsOf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`needs_of` tells which rows the commands of some messages lock; `clock` tells seconds."""
        self._database = database
        self._needs_of = needs_of
        self._accounts: TTLCache[AccountKey, bool] = TTLCache(
            _REMEMBERED_MAX, REMEMBERED_SECONDS, clock
        )
        self._transfers: TTLCache[TransferKey, bool] = TTLCache(
            _REMEMBERED_MAX, REMEMBERED_SECONDS, clock
        )
        self._report = StateReport(logger, clock)
        self._told: set[str] = set()

    def split_known(
        self, received: Sequence[Received]
    ) -> tuple[Sequence[Received], Sequence[Received]]:
        """Return the messages that can be tried, and those that need what is known to be locked.

        While nothing is known to be locked, this asks nobody. It never waits.
        """
        if not self._accounts and not self._transfers:
            for who in self._told:
                self._report.well(who)
            self._told.clear()
            return received, ()
        needs = self._needs_of(received)
        with self._database.transaction() as transaction:
            found = find_held(transaction, needs)
        # What our own processes have locked just now is waited for as usual.
        found.accounts &= set(self._accounts)
        found.transfers &= set(self._transfers)
        self._remember(found, looked_at=needs)
        return self._split(received, found)

    def split_blocked(
        self, received: Sequence[Received]
    ) -> tuple[Sequence[Received], Sequence[Received]]:
        """The same, after a lock was waited for in vain: look who holds which, and say so."""
        needs = self._needs_of(received)
        with self._database.transaction() as transaction:
            found = find_held(transaction, needs)
            who = holders(transaction, found.lockers) if found else ""
        if found:
            self._remember(found, looked_at=needs)
            free, stuck = self._split(received, found)
            account = stuck[0].account_key if stuck else "unknown"
            if who:
                self._told.add(who)
                self._report.trouble(
                    who,
                    f"{len(stuck)} messages wait, and are tried again later: rows that they need"
                    f" are locked by {who}. The first one is a"
                    f" {stuck[0].message_type if stuck else 'message'} for account {account}. If"
                    " that session is forgotten, end it (SELECT pg_terminate_backend(...))",
                )
            return free, stuck
        return received, ()

    def oldest_transactions(self) -> str:
        """Return in words which sessions have had rows locked for longest."""
        with self._database.transaction() as transaction:
            return holders(transaction, ()) or "none"

    def _remember(self, found: Held, looked_at: Needs) -> None:
        for account in looked_at.accounts.union(found.recipients.values()):
            self._accounts.pop(account, None)
        for transfer in looked_at.transfers | looked_at.reminders:
            self._transfers.pop(transfer, None)
        self._accounts.update(dict.fromkeys(found.accounts, True))
        self._transfers.update(dict.fromkeys(found.transfers, True))

    def _split(
        self, received: Sequence[Received], found: Held
    ) -> tuple[Sequence[Received], Sequence[Received]]:
        if not found:
            return received, ()
        free: list[Received] = []
        stuck: list[Received] = []
        for r in received:
            needs = self._needs_of([r])
            transfers = needs.transfers | needs.reminders
            recipients = {found.recipients[key] for key in transfers if key in found.recipients}
            is_stuck = not found.accounts.isdisjoint(
                needs.accounts | recipients
            ) or not found.transfers.isdisjoint(transfers)
            (stuck if is_stuck else free).append(r)
        return free, stuck
