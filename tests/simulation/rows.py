"""A shard's tables as they are between two batches, and the shards that the simulation drives."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import AccountKey, ChangeKey, TransferKey
from swpt_accounts.protocol.outgoing import OutgoingMessage
from swpt_accounts.protocol.sharding import Realm


class Rows(msgspec.Struct):
    """What is stored, and equal only if every column of every row is."""

    accounts: dict[AccountKey, Account]
    transfers: dict[TransferKey, PreparedTransfer]
    changes: dict[ChangeKey, datetime]
    journal: list[JournalEntry]
    """In the order of the accounts, and of the numbers within each."""


class Shard(Protocol):
    """One shard: a realm, tables, and batches that are applied to them."""

    realm: Realm

    def apply(
        self, commands: Sequence[Command | Chore], facts: Facts, now: datetime
    ) -> list[OutgoingMessage]:
        """Apply a batch, commit it, and return what the outbox then holds."""

    def crash(self, commands: Sequence[Command | Chore], facts: Facts, now: datetime) -> None:
        """Do everything for a batch except the commit."""

    def scan(self, documents: Mapping[int, str | None], now: datetime) -> list[Chore]:
        """Return what is due on all rows; `documents` are those of other shards' currencies."""

    def rows(self) -> Rows:
        """Return a copy of the tables."""

    def put_account(self, account: Account) -> None:
        """Write an account as it is given: what other processes of a shard do at times."""


def journal_order(entry: JournalEntry) -> tuple[object, ...]:
    """Return what journals are sorted by."""
    return entry.debtor_id, entry.creditor_id, entry.creation_date, entry.journal_number
