"""What a batch of commands has to know before it can be applied."""

from datetime import datetime

import msgspec

from swpt_accounts.ledger.values import AccountKey, ChangeKey, CoordinatorKey, TransferKey


class Needs(msgspec.Struct):
    """The rows that a batch may touch, and what it has to know about others.

    `accounts` and `transfers` are to be locked; the recipients of those
    transfers, where they are local, become accounts to be locked too.
    `reminders` are prepared transfers to be locked without their recipients.
    `own_movements_count` is how many transfers the batch may make by itself.
    `coordinator_keys` are requests that may have been answered before, and
    `changes` are received ones, with their moments of commit. `recipients` and
    `currencies` are local and only read; the foreign ones have to be asked
    about at other shards, before anything is locked.
    """

    accounts: set[AccountKey] = msgspec.field(default_factory=set)
    transfers: set[TransferKey] = msgspec.field(default_factory=set)
    reminders: set[TransferKey] = msgspec.field(default_factory=set)
    own_movements_count: int = 0
    coordinator_keys: set[CoordinatorKey] = msgspec.field(default_factory=set)
    changes: dict[ChangeKey, datetime] = msgspec.field(default_factory=dict)
    recipients: set[AccountKey] = msgspec.field(default_factory=set)
    currencies: set[int] = msgspec.field(default_factory=set)
    foreign_recipients: set[AccountKey] = msgspec.field(default_factory=set)
    foreign_currencies: set[int] = msgspec.field(default_factory=set)
