"""Looks at prepared transfers: which coordinators should be reminded."""

from typing import Final

from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.upkeep import chores_for_transfer
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import pages
from swpt_accounts.store.pages import Key
from swpt_accounts.workers.scanner import Session
from swpt_accounts.workers.walk import Look


class AllTransfers:
    """The rows that a walk over the prepared transfers looks at."""

    table: Final = "prepared_transfer"

    def __init__(self, realm: Realm, policy: Policy) -> None:
        self._realm = realm
        self._policy = policy

    def look(self, session: Session, after: Key, count_max: int) -> Look:
        """Find out what is due about the transfers of a page."""
        transfers = pages.read_transfers(session.statements, after, count_max)
        chores: list[Chore] = []
        for transfer in transfers:
            if self._realm.contains(transfer.debtor_id, transfer.creditor_id):
                chores += chores_for_transfer(transfer, self._policy, session.now)
        return Look(transfers[-1].key if transfers else (), len(transfers), chores)
