"""The tables of a shard, with their constraints: the schema, and what migrations aim at.

The hot path does not use these classes; it speaks SQL of its own (see the
other modules of `store`). There are no foreign keys: rows that belong
together change together, under the lock of their account's row.
"""

from swpt_accounts.store.models.accounts import AccountRow, PreparedTransferRow
from swpt_accounts.store.models.base import db
from swpt_accounts.store.models.messages import OutboxRow, UndeliveredMessageRow
from swpt_accounts.store.models.movements import (
    JournalRow,
    RegisteredBalanceChangeRow,
    change_id_seq,
)
from swpt_accounts.store.models.scans import ScanRow
from swpt_accounts.store.models.waiting import ParkedMessageRow, WaitingMessageRow

__all__ = [
    "AccountRow",
    "JournalRow",
    "OutboxRow",
    "ParkedMessageRow",
    "PreparedTransferRow",
    "RegisteredBalanceChangeRow",
    "ScanRow",
    "UndeliveredMessageRow",
    "WaitingMessageRow",
    "change_id_seq",
    "db",
]
