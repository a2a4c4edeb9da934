"""What anybody can check who sees the messages and the tables, without knowing a single rule."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

import msgspec

from swpt_accounts.ledger.chores import Chore, RemindOfTransfer
from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.events import (
    AccountTransfer,
    AccountUpdate,
    Event,
    FinalizedTransfer,
    PreparedTransfer,
    RejectedTransfer,
)
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.values import AccountKey, ChangeKey, TransferKey
from tests.simulation.discrepancy import require
from tests.simulation.expected_events import coordinator_of, key_of
from tests.simulation.rows import Rows

MAX_INT64: Final = 2**63 - 1


def key_of_change(change: PendingBalanceChange) -> ChangeKey:
    """Return by what a change is told from its repetitions."""
    return change.debtor_id, change.other_creditor_id, change.change_id


Incarnation = tuple[int, int, date]
"""An account that has been purged and opened again is another one."""


class Observer:
    """Follows the messages of all shards."""

    def __init__(self) -> None:
        self._accounts_hiding: set[AccountKey] = set()
        self._chains: dict[tuple[AccountKey, date], AccountTransfer] = {}
        self._updates: dict[AccountKey, AccountUpdate] = {}
        self._finalized: set[TransferKey] = set()

    def observe(self, commands: Sequence[Command | Chore], events: Sequence[Event]) -> None:
        """Check the messages of one batch against all that came before."""
        for command in commands:
            if isinstance(command, ConfigureAccount) and command.negligible_amount > 0:
                self._accounts_hiding.add((command.debtor_id, command.creditor_id))
        _check_answers(commands, events)
        for event in events:
            match event:
                case AccountTransfer():
                    self._check_chain(event)
                case AccountUpdate():
                    self._check_order(event)
                case FinalizedTransfer():
                    self._check_end(event)
                case PreparedTransfer():
                    require(key_of(event) not in self._finalized, f"{event} has come to its end")

    def _check_chain(self, event: AccountTransfer) -> None:
        """Numbers follow one another, and each principal from the one before."""
        account = event.debtor_id, event.creditor_id
        before = self._chains.get((account, event.creation_date))
        number, principal = (before.transfer_number, before.principal) if before else (0, 0)
        require(
            event.previous_transfer_number == number and event.transfer_number == number + 1,
            f"{event} does not follow number {number}",
        )
        is_complete = account not in self._accounts_hiding
        if is_complete and MAX_INT64 not in (abs(principal), abs(event.principal)):
            require(
                event.principal == principal + event.acquired_amount,
                f"{event} does not follow from a principal of {principal}",
            )
        require(
            event.recipient != event.sender
            and str(event.creditor_id % 2**64)
            == (event.recipient if event.acquired_amount > 0 else event.sender),
            f"{event} names the wrong parties",
        )
        self._chains[account, event.creation_date] = event

    def _check_order(self, event: AccountUpdate) -> None:
        """A receiver drops an update that is not later than the last one, so it says the same."""
        key = event.debtor_id, event.creditor_id
        before = self._updates.get(key)
        if before is not None:
            steps = (event.last_change_seqnum - before.last_change_seqnum) % 2**32
            is_later = (event.creation_date, event.last_change_ts) > (
                before.creation_date,
                before.last_change_ts,
            )
            is_next = (event.creation_date, event.last_change_ts) == (
                before.creation_date,
                before.last_change_ts,
            ) and 0 < steps < 2**31
            is_repeated = event == msgspec.structs.replace(before, ts=event.ts)
            require(is_later or is_next or is_repeated, f"{event} is not later than {before}")
        self._updates[key] = event

    def _check_end(self, event: FinalizedTransfer) -> None:
        """A transfer ends once, and only with "OK" has anything been moved."""
        key = key_of(event)
        require(key not in self._finalized, f"{event} is the second end of its transfer")
        require(event.status_code == "OK" or event.committed_amount == 0, f"{event} moves money")
        require(event.ts >= event.prepared_at, f"{event} ends before it begins")
        self._finalized.add(key)


def _check_answers(commands: Sequence[Command | Chore], events: Sequence[Event]) -> None:
    """Each request is answered once; nobody is answered who has not asked, except as a reminder."""
    reminding = {
        (c.debtor_id, c.creditor_id, c.transfer_id)
        for c in commands
        if isinstance(c, RemindOfTransfer)
    }
    asked = Counter(
        (c.debtor_id, c.creditor_id, *coordinator_of(c))
        for c in commands
        if isinstance(c, PrepareTransfer)
    )
    answered = Counter(
        (e.debtor_id, e.creditor_id, *coordinator_of(e))
        for e in events
        if isinstance(e, PreparedTransfer | RejectedTransfer)
    )
    reminded = Counter(
        (e.debtor_id, e.creditor_id, *coordinator_of(e))
        for e in events
        if isinstance(e, PreparedTransfer) and key_of(e) in reminding
    )
    require(
        asked <= answered <= asked + Counter(set(reminded)),
        f"asked for {asked}, answered {answered}",
    )
    finalizing = {key_of(c) for c in commands if isinstance(c, FinalizeTransfer)}
    finalized = [key_of(e) for e in events if isinstance(e, FinalizedTransfer)]
    require(len(finalized) == len(set(finalized)), "a transfer ends twice in one batch")
    require(finalizing.issuperset(finalized), "a transfer ends that nobody has finalized")


def check_tables(tables: Sequence[Rows], sent: Iterable[PendingBalanceChange]) -> None:
    """Check that the tables of all shards, and what is under way, add up."""
    for rows in tables:
        _check_locks(rows)
        _check_journal(rows)
    sent = list(sent)
    _check_money(tables, sent)
    _check_pairs(tables, sent)


def _check_locks(rows: Rows) -> None:
    """What is locked on an account is what its prepared transfers have locked."""
    locked: Counter[AccountKey] = Counter()
    counts: Counter[AccountKey] = Counter()
    for transfer in rows.transfers.values():
        require(transfer.locked_amount >= 0, f"{transfer} locks less than nothing")
        locked[transfer.debtor_id, transfer.creditor_id] += transfer.locked_amount
        counts[transfer.debtor_id, transfer.creditor_id] += 1
    require(rows.accounts.keys() >= counts.keys(), "a prepared transfer has no account")
    for key, account in rows.accounts.items():
        require(
            (account.total_locked_amount, account.pending_transfers_count)
            == (locked[key], counts[key]),
            f"{account} should have {locked[key]} locked, by {counts[key]} transfers",
        )


def _check_journal(rows: Rows) -> None:
    """Replaying an account's journal leads to its principal, with no number missing.

    The journal of a purged account leads to nothing.
    """
    principals: Counter[Incarnation] = Counter()
    numbers: Counter[Incarnation] = Counter()
    for entry in rows.journal:
        key = entry.debtor_id, entry.creditor_id, entry.creation_date
        numbers[key] += 1
        require(entry.journal_number == numbers[key], f"{entry} is not number {numbers[key]}")
        principals[key] += entry.amount - entry.clipped_amount
        require(entry.principal == principals[key], f"{entry} should leave {principals[key]}")
    accounts = {(*key, account.creation_date): account for key, account in rows.accounts.items()}
    for key in numbers.keys() - accounts.keys():
        require(principals[key] == 0, f"{key} is gone, with a principal of {principals[key]}")
    for key, account in accounts.items():
        require(
            (account.principal, account.last_journal_number) == (principals[key], numbers[key]),
            f"{account} does not follow from its journal: {principals[key]}, {numbers[key]}",
        )


def _check_money(tables: Sequence[Rows], sent: Sequence[PendingBalanceChange]) -> None:
    """For each currency: all principals, what was clipped, and what is under way make zero.

    Changes that no shard has sent come from outside, and take the money from there.
    """
    registered = {key for rows in tables for key in rows.changes}
    totals: defaultdict[int, int] = defaultdict(int)
    for rows in tables:
        for account in rows.accounts.values():
            totals[account.debtor_id] += account.principal
        for entry in rows.journal:
            totals[entry.debtor_id] += entry.clipped_amount
    own = {key_of_change(change): change for change in sent}
    for key, change in own.items():
        if key not in registered:
            totals[change.debtor_id] += change.principal_delta
    begun = {_own_key(e) for rows in tables for e in rows.journal if is_begun_by_node(e)}
    for rows in tables:
        for entry in rows.journal:
            change_key = _change_key(entry)
            is_known = change_key in own or change_key in begun or is_begun_by_node(entry)
            if entry.transfer_id is None and not is_known:
                totals[entry.debtor_id] -= entry.amount
    require(not any(totals.values()), f"money has come or gone: {dict(totals)}")


def is_begun_by_node(entry: JournalEntry) -> bool:
    """Tell whether this is the side of an interest payment or a deletion that is done first."""
    is_own = entry.coordinator_type in ("interest", "delete") and entry.transfer_id is None
    return is_own and entry.other_creditor_id == 0 != entry.creditor_id


def _check_pairs(tables: Sequence[Rows], sent: Iterable[PendingBalanceChange]) -> None:
    """Each debit has at most one credit of the same amount, and no credit is without a debit.

    What the node has begun has its other side in the same shard, or was sent to another one.
    """
    journal = [entry for rows in tables for entry in rows.journal]
    credited = Counter(
        (e.debtor_id, e.other_creditor_id, e.creditor_id, e.transfer_id, e.amount)
        for e in journal
        if e.transfer_id is not None and e.amount > 0
    )
    debited = Counter(
        (e.debtor_id, e.creditor_id, e.other_creditor_id, e.transfer_id, -e.amount)
        for e in journal
        if e.transfer_id is not None and e.amount < 0 and e.change_id is None
    )
    require(credited == debited, f"credits {credited - debited}, debits {debited - credited}")
    received = Counter(
        _change_key(e) for e in journal if e.transfer_id is None and not is_begun_by_node(e)
    )
    require(max(received.values(), default=1) == 1, f"applied twice: {received}")
    told: dict[tuple[int, int, int | None], int] = {
        _change_key(e): e.amount for e in journal if e.transfer_id is None and e.creditor_id == 0
    }
    told |= {key_of_change(change): change.principal_delta for change in sent}
    for entry in filter(is_begun_by_node, journal):
        other_side = told.get(_own_key(entry))
        require(other_side == -entry.amount, f"{entry} has another side of {other_side}")


def _own_key(entry: JournalEntry) -> tuple[int, int, int | None]:
    return entry.debtor_id, entry.creditor_id, entry.change_id


def _change_key(entry: JournalEntry) -> tuple[int, int, int | None]:
    return entry.debtor_id, entry.other_creditor_id, entry.change_id
