"""From deliveries of chores to acks: the same life as that of a message, with fewer questions."""

import logging
from collections.abc import Sequence

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.ledger.facts import NO_FACTS
from swpt_accounts.protocol.chores import decode_chore
from swpt_accounts.workers.intake import Settled, apply_or_isolate, decode_all
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.states import StateReport

logger = logging.getLogger(__name__)


class ChoreIntake:
    """Applies chores to the ledger."""

    def __init__(self, ledger_batch: LedgerBatch) -> None:
        self._ledger_batch = ledger_batch
        self._report = StateReport(logger)
        self._dropped_count = 0

    def handle(self, deliveries: Sequence[Delivery]) -> Settled:
        """Apply the chores in one transaction, or in several when one of them is to blame.

        After a split, both halves inherit the chores of all accounts. Those of
        the other half's accounts are dropped: it does them itself.
        """
        settled = Settled([], [], [])
        realm = self._ledger_batch.realm
        ours = []
        for received in decode_all(deliveries, decode_chore, settled):
            if realm.contains(received.command.debtor_id, received.command.creditor_id):
                ours.append(received)
            else:
                settled.accepted.append(received.delivery)
        if settled.accepted:
            self._tell_of_dropped(len(settled.accepted))
        apply_or_isolate(self._ledger_batch, ours, NO_FACTS, settled)
        return settled

    def _tell_of_dropped(self, count: int) -> None:
        self._dropped_count += count
        self._report.trouble(
            "dropped",
            f"{self._dropped_count} chores belong to other shards, and are dropped",
            logging.INFO,
        )
