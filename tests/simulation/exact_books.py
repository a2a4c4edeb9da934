"""All accounts in exact decimals: what commands and chores make of them, after protocol.rst."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from swpt_accounts.ledger import chores
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey, ChangeKey, TransferKey
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.exact_account import ExactAccount, Lock, exponent, whole

DAY: Final = timedelta(days=1)

Sent = tuple[int, int, int, int, str, datetime]
"""What is said in a PendingBalanceChange: debtor, creditor, other creditor, delta, type, commit."""

Found = tuple[object, ...]
"""A chore that is due: its name, the account, and what else it is about."""

Documents = Mapping[int, str | None]
"""The configurations of currencies, as far as a shard knows them."""


def said(change: PendingBalanceChange) -> Sent:
    """Return what a change says, without the number by which it is recognized."""
    return (
        change.debtor_id,
        change.creditor_id,
        change.other_creditor_id,
        change.principal_delta,
        change.coordinator_type,
        change.committed_at,
    )


def rate_and_iri(document: str) -> tuple[float, str]:
    """Return what a root account's configuration says."""
    content: dict[str, Any] = msgspec.json.decode(document or "{}")
    return float(content.get("rate", 0.0)), content.get("info", {}).get("iri", "")


class ExactBooks:
    """Applies what a shard applies. `happened` counts what has happened, by its name.

    `names` says which of its coordinator's requests a prepared transfer answers;
    `sent` and `applied` are the changes of the latest batch.
    """

    def __init__(self, policy: Policy) -> None:
        self.accounts: dict[AccountKey, ExactAccount] = {}
        self.names: dict[TransferKey, int] = {}
        self.sent: Counter[Sent] = Counter()
        self.applied: list[PendingBalanceChange] = []
        self.received: set[ChangeKey] = set()
        self.paid_to_owners: defaultdict[int, int] = defaultdict(int)
        self.written_off: defaultdict[int, int] = defaultdict(int)
        self.happened: Counter[str] = Counter()
        self._purged: set[AccountKey] = set()
        self._policy = policy
        self._handlers: dict[type, Callable[[Any], None]] = {
            ConfigureAccount: self._configure,
            PrepareTransfer: self._prepare,
            FinalizeTransfer: self._finalize,
            PendingBalanceChange: self._receive,
            chores.SendAccountUpdate: lambda _: None,
            chores.ChangeInterestRate: self._change_rate,
            chores.UpdateDebtorInfo: self._change_info,
            chores.CapitalizeInterest: self._pay_interest,
            chores.TryToDeleteAccount: self._try_to_delete,
            chores.PurgeAccount: self._purge,
            chores.RemindOfTransfer: self._remind,
        }

    def apply(
        self, realm: Realm, commands: Sequence[Command | Chore], facts: Facts, now: datetime
    ) -> None:
        """Apply a batch."""
        self._realm, self._facts, self._now = realm, facts, now
        self.sent = Counter()
        self.applied = []
        for command in commands:
            self._handlers[type(command)](command)

    def due(self, realm: Realm, documents: Documents, now: datetime) -> set[Found]:
        """Return the chores that a scan must find: their names, and what they are about."""
        found: set[Found] = set()
        for key, account in self.accounts.items():
            if realm.contains(*key):
                document = documents.get(account.debtor_id)
                found.update((name, *key, *what) for name, *what in self._due(account, now))
                if document is not None and not (account.is_root or account.is_deleted):
                    due = self._due_to_currency(account, *rate_and_iri(document), now)
                    found.update((name, *key, what) for name, what in due)
        return found

    def _due(self, account: ExactAccount, now: datetime) -> Iterator[tuple[object, ...]]:
        if account.is_purge_due(self._policy, now):
            yield ("PurgeAccount",)
        if account.is_attempt_due(self._policy, now):
            yield ("TryToDeleteAccount",)
        if account.payment_due(self._policy, now):
            yield ("CapitalizeInterest",)
        for request_id, lock in account.locks.items():
            if account.is_reminder_due(lock, self._policy, now):
                yield "RemindOfTransfer", request_id

    def _due_to_currency(
        self, account: ExactAccount, rate: float, iri: str, now: datetime
    ) -> Iterator[tuple[str, object]]:
        if account.is_rate_change_due(rate, self._policy, now):
            yield "ChangeInterestRate", rate
        if account.iri != iri:
            yield "UpdateDebtorInfo", iri

    def _live(self, debtor_id: int, creditor_id: int) -> ExactAccount | None:
        account = self.accounts.get((debtor_id, creditor_id))
        return None if account is None or account.is_deleted else account

    def _called_to_life(self, debtor_id: int, creditor_id: int, by: str) -> ExactAccount:
        key = debtor_id, creditor_id
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = ExactAccount(*key, self._now.date(), self._now)
            kind = "purged, opened again by" if key in self._purged else "opened by"
            self.happened[f"{kind} {by}"] += 1
        if account.is_deleted:
            account.is_deleted = False
            self.happened[f"brought back by {by}"] += 1
        return account

    # -- commands ----------------------------------------------------------

    def _configure(self, command: ConfigureAccount) -> None:
        key = command.debtor_id, command.creditor_id
        account = self.accounts.get(key)
        config = command.ts, command.seqnum
        if account is None:
            if self._now - command.ts > self._policy.message_delay_max:
                self.happened["configured too late"] += 1
                return
        elif config <= account.config:
            self.happened["old configuration"] += 1
            return
        begins = account is None or account.is_deleted
        account = self._called_to_life(*key, "its owner")
        account.config, account.flags = config, command.config_flags
        account.document = command.config_data
        account.negligible_amount = command.negligible_amount
        account.accrue(self._now)
        account.note(self._now, "configured")
        document = self._document(command.debtor_id)
        if begins and document is not None and not account.is_root:
            rate, iri = rate_and_iri(document)
            if account.is_rate_change_due(rate, self._policy, self._now):
                account.set_rate(rate, self._now)
            if account.iri != iri:
                account.accrue(self._now)
                account.iri = iri

    def _document(self, debtor_id: int) -> str | None:
        if not self._realm.contains(debtor_id, 0):
            return self._facts.root_config_data[debtor_id]
        root = self.accounts.get((debtor_id, 0))
        return None if root is None else root.document

    def _prepare(self, command: PrepareTransfer) -> None:
        account = self._live(command.debtor_id, command.creditor_id)
        recipient_id = int(command.recipient)
        if account is None or not self._is_reachable(command, recipient_id):
            self.happened["unreachable"] += 1
            return
        if recipient_id == account.creditor_id:
            self.happened["paid to oneself"] += 1
            return
        if account.rate_since > command.final_interest_rate_ts:
            self.happened["refused because of a newer rate"] += 1
            return
        available = account.available(self._now, command.max_locked_amount)
        amount = max(0, min(command.max_locked_amount, available))
        if amount < command.min_locked_amount:
            self.happened["not enough to lock"] += 1
            return
        deadline = min(
            self._now + self._policy.commit_period,
            command.ts + timedelta(seconds=command.max_commit_delay),
        )
        account.locks[command.coordinator_request_id] = Lock(
            amount, recipient_id, self._now, deadline, command.final_interest_rate_ts, self._now
        )

    def _is_reachable(self, command: PrepareTransfer, recipient_id: int) -> bool:
        key = command.debtor_id, recipient_id
        if command.coordinator_type == "agent" or recipient_id == 0:
            return True
        if not self._realm.contains(*key):
            return self._facts.reachable[key]
        account = self._live(*key)
        return account is not None and account.flags % 2 == 0

    def _finalize(self, command: FinalizeTransfer) -> None:
        account = self._live(command.debtor_id, command.creditor_id)
        if account is None or command.coordinator_request_id not in account.locks:
            return
        lock = account.locks[command.coordinator_request_id]
        status = self._verdict(account, lock, command.committed_amount)
        del account.locks[command.coordinator_request_id]
        self.happened[f"finalized {status}"] += 1
        if status == "OK" and command.committed_amount:
            amount, kind = command.committed_amount, command.coordinator_type
            self._move(account, -amount, lock.recipient_id, kind)

    def _verdict(self, account: ExactAccount, lock: Lock, amount: int) -> str:
        if amount == 0:
            return "OK"
        if self._now > lock.deadline:
            return "TIMEOUT"
        if account.rate_since > lock.final_interest_rate_ts:
            return "NEWER_INTEREST_RATE"
        melting = exponent(0.0 if account.is_root else -50.0, self._now - lock.prepared_at).exp()
        if amount <= whole(lock.amount * melting, Decimal(0)):
            return "OK"
        rest = account.available(self._now, amount - lock.amount)
        return "OK" if amount <= rest + lock.amount else "INSUFFICIENT_AVAILABLE_AMOUNT"

    def _move(self, account: ExactAccount, amount: int, other_id: int, kind: str) -> None:
        """Change an account, and the other one by the opposite: here, or by a message."""
        account.credit(amount, self._now, self._now)
        self._pass_on(account, -amount, other_id, kind)

    def _pass_on(self, account: ExactAccount, amount: int, other_id: int, kind: str) -> None:
        debtor_id = account.debtor_id
        if self._realm.contains(debtor_id, other_id):
            other = self._called_to_life(debtor_id, other_id, "money")
            other.credit(amount, self._now, self._now)
            return
        change = debtor_id, other_id, account.creditor_id, amount, kind, self._now
        self.sent[change] += 1

    def _receive(self, change: PendingBalanceChange) -> None:
        key = change.debtor_id, change.other_creditor_id, change.change_id
        if key in self.received:
            self.happened["received twice"] += 1
            return
        self.received.add(key)
        self.applied.append(change)
        account = self._called_to_life(change.debtor_id, change.creditor_id, "money")
        amount, committed_at = change.principal_delta, change.committed_at
        account.credit(amount, committed_at, self._now)
        if account.rate and self._now - committed_at > DAY:
            self.happened["late by days"] += 1
        if committed_at < account.rate_since < self._now:
            self.happened["late beyond a change of the rate"] += 1

    # -- chores ------------------------------------------------------------

    def _change_rate(self, chore: chores.ChangeInterestRate) -> None:
        account = self._live(chore.debtor_id, chore.creditor_id)
        if account is None or self._now - chore.ts > DAY:
            self.happened["rate found out too long ago"] += 1
        elif account.is_rate_change_due(chore.interest_rate, self._policy, self._now):
            account.set_rate(chore.interest_rate, self._now)
            self.happened["rate changed"] += 1

    def _change_info(self, chore: chores.UpdateDebtorInfo) -> None:
        account = self._live(chore.debtor_id, chore.creditor_id)
        is_new = account is not None and account.iri != chore.debtor_info_iri
        if account is not None and is_new and self._now - chore.ts <= DAY:
            account.accrue(self._now)
            account.iri = chore.debtor_info_iri
            self.happened["info changed"] += 1

    def _pay_interest(self, chore: chores.CapitalizeInterest) -> None:
        account = self._live(chore.debtor_id, chore.creditor_id)
        amount = account.payment_due(self._policy, self._now) if account else 0
        if account is None or amount == 0:
            self.happened["no interest to pay"] += 1
            return
        account.pay(amount, self._now)
        self._pass_on(account, -amount, 0, "interest")
        self.paid_to_owners[account.debtor_id] += amount
        self.happened["interest paid" if amount > 0 else "interest taken"] += 1

    def _try_to_delete(self, chore: chores.TryToDeleteAccount) -> None:
        account = self._live(chore.debtor_id, chore.creditor_id)
        if account is None or not account.is_attempt_due(self._policy, self._now):
            return
        account.tried_at = self._now
        if not account.can_be_deleted(self._now):
            self.happened["not deleted"] += 1
            return
        remainder = account.delete(self._now)
        if remainder:
            self._pass_on(account, remainder, 0, "delete")
        self.written_off[account.debtor_id] += remainder
        sign = (remainder > 0) - (remainder < 0)
        self.happened[f"deleted with {('nothing', 'something', 'debts')[sign]}"] += 1

    def _purge(self, chore: chores.PurgeAccount) -> None:
        key = chore.debtor_id, chore.creditor_id
        account = self.accounts.get(key)
        if account is not None and account.is_purge_due(self._policy, self._now):
            del self.accounts[key]
            self._purged.add(key)
            self.happened["purged"] += 1

    def _remind(self, chore: chores.RemindOfTransfer) -> None:
        account = self._live(chore.debtor_id, chore.creditor_id)
        key = chore.debtor_id, chore.creditor_id, chore.transfer_id
        lock = account.locks.get(self.names[key]) if account and key in self.names else None
        if account and lock and account.is_reminder_due(lock, self._policy, self._now):
            lock.told_at = self._now
            self.happened["reminded"] += 1
