"""A shard's tables, read with statements that the store does not know."""

from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.transfer import PreparedTransfer
from tests.simulation.rows import Rows

NOT_STORED = ("is_created", "is_changed", "is_update_due")
STORED = [name for name in Account.__struct_fields__ if name not in NOT_STORED]

_ACCOUNTS = f"SELECT {', '.join(STORED)} FROM account"
_CHANGES = (
    "SELECT debtor_id, other_creditor_id, change_id, committed_at FROM registered_balance_change"
)
_JOURNAL = "SELECT * FROM journal ORDER BY debtor_id, creditor_id, creation_date, journal_number"


def read_rows(session: psycopg.Connection) -> Rows:
    """Return everything that a shard remembers, except for its outbox."""
    with session.transaction(), session.cursor(row_factory=dict_row) as cursor:
        accounts = [Account(**row) for row in cursor.execute(_ACCOUNTS)]
        transfers = [
            PreparedTransfer(**row) for row in cursor.execute("SELECT * FROM prepared_transfer")
        ]
        changes = [tuple(row.values()) for row in cursor.execute(_CHANGES)]
        journal = [JournalEntry(**row) for row in cursor.execute(_JOURNAL)]
    return Rows(
        accounts={account.key: account for account in accounts},
        transfers={transfer.key: transfer for transfer in transfers},
        changes={(debtor, other, number): moment for debtor, other, number, moment in changes},
        journal=journal,
    )


def account_columns(account: Account) -> dict[str, Any]:
    """Return what is stored of an account, by the names of the columns."""
    fields = msgspec.structs.asdict(account)
    return {name: value for name, value in fields.items() if name not in NOT_STORED}


def insert_account(session: psycopg.Connection, account: Account) -> None:
    """Add an account with a statement of its own."""
    fields = account_columns(account)
    columns, values = ", ".join(fields), ", ".join(["%s"] * len(fields))
    session.execute(f"INSERT INTO account ({columns}) VALUES ({values})", list(fields.values()))
