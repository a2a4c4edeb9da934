"""A shard that keeps its tables in memory: the pure core, and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count

import msgspec

from swpt_accounts.ledger import root_config
from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.batch import apply, needs_of
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.upkeep import chores_for_account, chores_for_transfer
from swpt_accounts.ledger.values import AccountKey, CoordinatorKey, TransferKey
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
        self._by_coordinator: dict[CoordinatorKey, TransferKey] = {}
        self._change_ids = count(1)

    def take_over(self, rows: Rows, change_id: int) -> None:
        """Go on from what another shard has stored, with change ids from `change_id` on."""
        self._rows = rows
        self._by_coordinator = {t.coordinator_key: t.key for t in rows.transfers.values()}
        self._change_ids = count(change_id)

    def apply(
        self, commands: Sequence[Command | Chore], facts: Facts, now: datetime
    ) -> list[OutgoingMessage]:
        """Apply a batch, commit it, and return the messages."""
        outcome = self._applied(commands, facts, now)
        rows = self._rows
        for account_key in outcome.purged:
            del rows.accounts[account_key]
        rows.accounts |= {account.key: _stored(account) for account in outcome.changed_accounts()}
        rows.transfers |= outcome.reminded
        for key in outcome.removed:
            transfer = rows.transfers.pop(key)
            del self._by_coordinator[transfer.coordinator_key]
        for transfer in outcome.prepared.values():
            is_first = transfer.coordinator_key not in self._by_coordinator
            assert is_first, "the unique index says no"
            self._by_coordinator[transfer.coordinator_key] = transfer.key
            rows.transfers[transfer.key] = transfer
        for change in outcome.received:
            change_key = change.debtor_id, change.other_creditor_id, change.change_id
            rows.changes[change_key] = change.committed_at
        rows.journal.extend(outcome.journal)
        return [encode(event) for event in outcome.events]

    def crash(self, commands: Sequence[Command | Chore], facts: Facts, now: datetime) -> None:
        """Apply a batch to nothing but copies."""
        self._applied(commands, facts, now)

    def scan(self, documents: Mapping[int, str | None], now: datetime) -> list[Chore]:
        """Return what is due on all rows; `documents` are those of other shards' currencies."""
        rows = self._rows
        known = dict(documents)
        known |= {key[0]: a.config_data for key, a in rows.accounts.items() if a.is_root}
        currencies = {
            debtor_id: root_config.parse(document)
            for debtor_id, document in known.items()
            if document is not None
        }
        chores: list[Chore] = []
        for account in rows.accounts.values():
            currency = currencies.get(account.debtor_id)
            chores += chores_for_account(account, currency, self._policy, now)
        for transfer in rows.transfers.values():
            chores += chores_for_transfer(transfer, self._policy, now)
        return chores

    def account(self, key: AccountKey) -> Account | None:
        """Return an account as it is stored; nobody may change it."""
        return self._rows.accounts.get(key)

    def accounts(self) -> Iterable[Account]:
        """Return all accounts as they are stored; nobody may change them."""
        return self._rows.accounts.values()

    def rows(self) -> Rows:
        """Return a copy of the tables."""
        rows = self._rows
        accounts = {key: _stored(account) for key, account in rows.accounts.items()}
        journal = sorted(rows.journal, key=journal_order)
        return Rows(accounts, dict(rows.transfers), dict(rows.changes), journal)

    def put_account(self, account: Account) -> None:
        """Write an account as it is given."""
        self._rows.accounts[account.key] = _stored(account)

    def _applied(
        self, commands: Sequence[Command | Chore], facts: Facts, now: datetime
    ) -> WorkingSet:
        rows = self._rows
        needs = needs_of(commands, self.realm.contains, self._policy)
        finalized = [rows.transfers[key] for key in needs.transfers if key in rows.transfers]
        reminded = needs.reminders - needs.transfers
        recipients = [(t.debtor_id, t.recipient_creditor_id) for t in finalized]
        local_recipients = {key for key in recipients if self.realm.contains(*key)}
        requested = needs.accounts | local_recipients
        roots = {debtor_id: rows.accounts.get((debtor_id, 0)) for debtor_id in needs.currencies}
        foreign_count = sum(key not in local_recipients for key in recipients)
        ids_count = foreign_count + needs.own_movements_count
        outcome = WorkingSet(
            needs,
            requested_accounts=requested,
            accounts=[_stored(rows.accounts[key]) for key in requested if key in rows.accounts],
            transfers=[
                *finalized,
                *(rows.transfers[key] for key in reminded if key in rows.transfers),
            ],
            repeated_transfers=[
                rows.transfers[self._by_coordinator[key]]
                for key in needs.coordinator_keys
                if key in self._by_coordinator
            ],
            reachable={
                key: key in rows.accounts and rows.accounts[key].accepts_transfers
                for key in needs.recipients - requested
            },
            root_config_data={d: root.config_data if root else None for d, root in roots.items()},
            new_changes=[key for key in needs.changes if key not in rows.changes],
            change_ids=[next(self._change_ids) for _ in range(ids_count)],
            facts=facts,
        )
        apply(commands, outcome, self._policy, now)
        return outcome


def _stored(account: Account) -> Account:
    """Return the account as it would be loaded again."""
    return msgspec.structs.replace(account, is_created=False, is_changed=False, is_update_due=False)
