"""The rows that a batch may touch: what was loaded, and what has become of it."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import Event
from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.journal import JournalEntry, Position
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import AccountKey, ChangeKey, CoordinatorKey, TransferKey


class NotRequested(Exception):
    """A rule asked for a row that its batch did not declare: a defect, not an absent row."""


class WorkingSet:
    """Knows what was asked for, so that "absent" and "forgotten to load" are never confused.

    `needs` are the batch's; `requested_accounts` are those of them that were
    locked, with the local recipients of transfers. Accounts and prepared
    transfers given here are locked for the batch.
    `reachable` and `root_config_data` were only read, at the same time:
    decisions on them need no more than what another shard could have said.
    """

    def __init__(
        self,
        needs: Needs,
        *,
        requested_accounts: Collection[AccountKey] = (),
        accounts: Iterable[Account] = (),
        transfers: Iterable[PreparedTransfer] = (),
        repeated_transfers: Iterable[PreparedTransfer] = (),
        reachable: dict[AccountKey, bool] | None = None,
        root_config_data: dict[int, str | None] | None = None,
        new_changes: Collection[ChangeKey] = (),
        change_ids: Iterable[int] = (),
        facts: Facts = NO_FACTS,
    ) -> None:
        self._needs = needs
        self._requested = set(requested_accounts)
        self.accounts = {account.key: account for account in accounts}
        self.before = {key: Position.of(account) for key, account in self.accounts.items()}
        self._transfers = {transfer.key: transfer for transfer in transfers}
        self._by_coordinator = {t.coordinator_key: t for t in repeated_transfers}
        self._by_coordinator.update((t.coordinator_key, t) for t in self._transfers.values())
        self._reachable = reachable or {}
        self._root_config_data = dict(root_config_data or {})
        self._new_changes = set(new_changes)
        self._change_ids: Iterator[int] = iter(change_ids)
        self._facts = facts
        self.prepared: dict[TransferKey, PreparedTransfer] = {}
        self.removed: list[TransferKey] = []
        self.reminded: dict[TransferKey, PreparedTransfer] = {}
        self.purged: dict[AccountKey, Position] = {}
        self.events: list[Event] = []
        self.journal: list[JournalEntry] = []
        self.received: list[PendingBalanceChange] = []
        self.sent: list[PendingBalanceChange] = []

    # -- accounts --------------------------------------------------------

    def is_local(self, key: AccountKey) -> bool:
        """Tell whether the account is this shard's and may be changed by this batch."""
        return key in self._requested

    def account(self, key: AccountKey) -> Account | None:
        """Return an account, live or deleted; None when there is none."""
        if key not in self._requested:
            raise NotRequested(f"account {key} was not requested by the batch")
        return self.accounts.get(key)

    def live_account(self, key: AccountKey) -> Account | None:
        """Return an account that is not deleted."""
        account = self.account(key)
        return None if account is None or account.is_deleted else account

    def create_account(self, key: AccountKey, now: datetime) -> Account:
        """Add a new account to the batch."""
        account = Account.create(*key, now)
        self.accounts[key] = account
        return account

    def live_or_new_account(self, key: AccountKey, now: datetime) -> Account:
        """Return the account, brought into being or back to life if need be."""
        account = self.account(key)
        if account is None:
            return self.create_account(key, now)
        if account.is_deleted:
            account.revive()
        return account

    def purge_account(self, account: Account) -> None:
        """Forget an account, which must hold nothing."""
        self.purged[account.key] = Position.of(account)
        del self.accounts[account.key]
        del self.before[account.key]
        if account.is_root:
            self._root_config_data[account.debtor_id] = None

    def changed_accounts(self) -> list[Account]:
        """Return the accounts to be written, in key order."""
        changed = [account for account in self.accounts.values() if account.is_changed]
        changed.sort(key=lambda account: account.key)
        return changed

    # -- what is known about accounts that the batch does not lock --------

    def accepts_transfers(self, key: AccountKey) -> bool:
        """Tell whether a recipient can be reached."""
        if key in self._requested:
            account = self.accounts.get(key)
            return account is not None and account.accepts_transfers
        if key in self._reachable:
            return self._reachable[key]
        if key in self._facts.reachable:
            return self._facts.reachable[key]
        raise NotRequested(f"nobody was asked whether account {key} can be reached")

    def root_config_data(self, debtor_id: int) -> str | None:
        """Return a currency's configuration document; None when it is not known."""
        root = self.accounts.get((debtor_id, 0))
        if root is not None:
            return root.config_data
        if debtor_id in self._root_config_data:
            return self._root_config_data[debtor_id]
        if debtor_id not in self._needs.foreign_currencies:
            raise NotRequested(f"nobody was asked about the currency of debtor {debtor_id}")
        return self._facts.root_config_data.get(debtor_id)

    # -- prepared transfers ----------------------------------------------

    def transfer(self, key: TransferKey) -> PreparedTransfer | None:
        """Return a prepared transfer that existed before the batch and still does.

        One prepared by this very batch has not been announced to anybody, so
        nobody can have meant it.
        """
        if key not in self._needs.transfers and key not in self._needs.reminders:
            raise NotRequested(f"prepared transfer {key} was not requested by the batch")
        return self._transfers.get(key)

    def transfer_of_coordinator(self, key: CoordinatorKey) -> PreparedTransfer | None:
        """Return the prepared transfer that answers a coordinator's request."""
        if key not in self._needs.coordinator_keys:
            raise NotRequested(f"the coordinator's request {key} was not looked up by the batch")
        return self._by_coordinator.get(key)

    def add_transfer(self, transfer: PreparedTransfer) -> None:
        """Add a newly prepared transfer."""
        self.prepared[transfer.key] = transfer
        self._by_coordinator[transfer.coordinator_key] = transfer

    def note_reminder(self, transfer: PreparedTransfer, now: datetime) -> None:
        """Remember when the transfer's coordinator was reminded of it."""
        self.reminded[transfer.key] = self._transfers[transfer.key] = msgspec.structs.replace(
            transfer, last_reminder_ts=now
        )

    def remove_transfer(self, transfer: PreparedTransfer) -> None:
        """Remove a finalized transfer."""
        del self._transfers[transfer.key]
        del self._by_coordinator[transfer.coordinator_key]
        self.removed.append(transfer.key)

    # -- balance changes between shards -----------------------------------

    def take_change(self, change: PendingBalanceChange) -> bool:
        """Claim a received change; False when it has been applied before."""
        key = change.debtor_id, change.other_creditor_id, change.change_id
        if key not in self._needs.changes:
            raise NotRequested(f"balance change {key} was not registered by the batch")
        if key not in self._new_changes:
            return False
        self._new_changes.remove(key)
        self.received.append(change)
        return True

    def next_change_id(self) -> int:
        """Return a change id that has never been used."""
        try:
            return next(self._change_ids)
        except StopIteration:
            raise NotRequested("the batch did not request enough change ids") from None

    def send_change(self, change: PendingBalanceChange) -> None:
        """Ask another shard to apply the other half of a transfer."""
        self.sent.append(change)
        self.events.append(change)
