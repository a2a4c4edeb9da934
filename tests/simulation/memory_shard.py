"""A shard that keeps its tables in memory: the pure core, and nothing else."""

from collections.abc import Sequence
from datetime import datetime
from itertools import count

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.batch import apply, needs_of
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.working_set import WorkingSet
from swpt_accounts.protocol.outgoing import OutgoingMessage, encode
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.rows import Rows, journal_order


class MemoryShard:
    """Gives a batch copies of the rows that it has asked for, and keeps only what has changed."""

    def __init__(self, realm: Realm, policy: Policy) -> None:
        self.realm = realm
        self._policy = policy
        self._rows = Rows({}, {}, {}, [])
        self._change_ids = count(1)

    def apply(
        self, commands: Sequence[Command], facts: Facts, now: datetime
    ) -> list[OutgoingMessage]:
        """Apply a batch, commit it, and return the messages."""
        outcome = self._applied(commands, facts, now)
        rows = self._rows
        rows.accounts |= {account.key: _stored(account) for account in outcome.changed_accounts()}
        for key in outcome.removed:
            del rows.transfers[key]
        taken = {transfer.coordinator_key for transfer in rows.transfers.values()}
        for transfer in outcome.prepared.values():
            assert transfer.coordinator_key not in taken, "the unique index says no"
            rows.transfers[transfer.key] = transfer
        for change in outcome.received:
            key = change.debtor_id, change.other_creditor_id, change.change_id
            rows.changes[key] = change.committed_at
        rows.journal.extend(outcome.journal)
        return [encode(event) for event in outcome.events]

    def crash(self, commands: Sequence[Command], facts: Facts, now: datetime) -> None:
        """Apply a batch to nothing but copies."""
        self._applied(commands, facts, now)

    def rows(self) -> Rows:
        """Return a copy of the tables."""
        rows = self._rows
        accounts = {key: _stored(account) for key, account in rows.accounts.items()}
        journal = sorted(rows.journal, key=journal_order)
        return Rows(accounts, dict(rows.transfers), dict(rows.changes), journal)

    def put_account(self, account: Account) -> None:
        """Write an account as it is given."""
        self._rows.accounts[account.key] = _stored(account)

    def _applied(self, commands: Sequence[Command], facts: Facts, now: datetime) -> WorkingSet:
        rows = self._rows
        needs = needs_of(commands, self.realm.contains, self._policy)
        finalized = [rows.transfers[key] for key in needs.transfers if key in rows.transfers]
        recipients = [(t.debtor_id, t.recipient_creditor_id) for t in finalized]
        local_recipients = {key for key in recipients if self.realm.contains(*key)}
        requested = needs.accounts | local_recipients
        roots = {debtor_id: rows.accounts.get((debtor_id, 0)) for debtor_id in needs.currencies}
        outcome = WorkingSet(
            needs,
            requested_accounts=requested,
            accounts=[_stored(rows.accounts[key]) for key in requested if key in rows.accounts],
            transfers=finalized,
            repeated_transfers=[
                transfer
                for transfer in rows.transfers.values()
                if transfer.coordinator_key in needs.coordinator_keys
            ],
            reachable={
                key: key in rows.accounts and rows.accounts[key].accepts_transfers
                for key in needs.recipients - requested
            },
            root_config_data={d: root.config_data if root else None for d, root in roots.items()},
            new_changes=needs.changes.keys() - rows.changes.keys(),
            change_ids=[next(self._change_ids) for k in recipients if k not in local_recipients],
            facts=facts,
        )
        apply(commands, outcome, self._policy, now)
        return outcome


def _stored(account: Account) -> Account:
    """Return the account as it would be loaded again."""
    return msgspec.structs.replace(account, is_created=False, is_changed=False, is_update_due=False)
