"""From deliveries of chores to acks: the same life as that of a message, with fewer questions."""

import logging
from collections.abc import Collection, Sequence
from typing import Final

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.ledger.facts import NO_FACTS
from swpt_accounts.protocol.chores import decode_chore
from swpt_accounts.store.waiting import WaitingKey
from swpt_accounts.workers.intake import decode_all
from swpt_accounts.workers.isolation import Isolation
from swpt_accounts.workers.ledger_batch import Aside, LedgerBatch
from swpt_accounts.workers.settled import Received, Settled
from swpt_accounts.workers.states import StateReport

logger = logging.getLogger(__name__)


class _Dropped:
    """A chore that cannot be done now is dropped: the next pass of a scan finds it again."""

    is_pending: Final = False

    def __init__(self, settled: Settled, report: StateReport) -> None:
        self._settled = settled
        self._report = report

    def wait(self, received: Received, reason: str) -> None:
        self._report.trouble(reason, f"chores are left to the next scan: {reason}", logging.INFO)
        self._settled.accept([received])

    def refuse(self, received: Received, reason: str) -> None:
        assert received.delivery is not None
        self._settled.rejected.append((received.delivery, reason))

    fail = refuse

    def aside(self, applied: Sequence[Received]) -> Aside:
        del applied
        return Aside()

    def written(self) -> None:
        pass

    def forget(self, keys: Collection[WaitingKey]) -> None:
        pass


class ChoreIntake:
    """Applies chores to the ledger."""

    is_due: Final = False

    def __init__(self, ledger_batch: LedgerBatch) -> None:
        self._ledger_batch = ledger_batch
        self._isolation = Isolation(ledger_batch)
        self._report = StateReport(logger)
        self._dropped_count = 0

    def handle(self, deliveries: Sequence[Delivery], settled: Settled | None = None) -> Settled:
        """Apply the chores in one transaction, or in several when one of them is to blame.

        After a split, both halves inherit the chores of all accounts. Those of
        the other half's accounts are dropped: it does them itself. May be called
        again with the same `settled` after an error.
        """
        settled = Settled() if settled is None else settled
        realm = self._ledger_batch.realm
        ours = []
        dropped_count = 0
        for received in decode_all(settled.lacks(deliveries), decode_chore, settled):
            if realm.contains(*received.account_key):
                ours.append(received)
            else:
                settled.accept([received])
                dropped_count += 1
        if dropped_count:
            self._tell_of_dropped(dropped_count)
        self._isolation.apply(ours, NO_FACTS, _Dropped(settled, self._report), settled)
        return settled

    def keep(self, unburied: Sequence[tuple[Delivery, str]]) -> None:
        """Drop chores that are none: no money is at stake, and their reasons are in the log."""

    def require_usable(self) -> None:
        """Raise `DatabaseUnavailable` or `TimeUncertain` unless chores can be done now."""
        self._ledger_batch.require_usable()

    def rest(self) -> None:
        """Let go of the database."""
        self._ledger_batch.database.close()

    def _tell_of_dropped(self, count: int) -> None:
        self._dropped_count += count
        self._report.trouble(
            "dropped",
            f"{self._dropped_count} chores belong to other shards, and are dropped",
            logging.INFO,
        )
