"""Pages of rows, in the order of their keys: what a scan reads.

Each page is one short statement that begins where the one before ended, so
that it costs the same in a table of any size, locks nothing, and holds no
snapshot afterwards. Rows that are added behind the scan wait for its next pass.
"""

from datetime import datetime
from typing import Any, Final, LiteralString

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.store import accounts, transfers
from swpt_accounts.store.transaction import Transaction

Key = tuple[Any, ...]
"""The primary key of a row; empty before the first one."""

_PAGE: Final[LiteralString] = """
    SELECT {columns} FROM {table} {condition} ORDER BY {key} LIMIT %s
"""
_ACCOUNT_KEY: Final = "debtor_id, creditor_id"
_TRANSFER_KEY: Final = "debtor_id, creditor_id, transfer_id"

_FIRST_ACCOUNTS: Final = _PAGE.format(
    columns=", ".join(accounts.COLUMNS), table="account", condition="", key=_ACCOUNT_KEY
)
_NEXT_ACCOUNTS: Final = _PAGE.format(
    columns=", ".join(accounts.COLUMNS),
    table="account",
    condition=f"WHERE ({_ACCOUNT_KEY}) > (%s, %s)",
    key=_ACCOUNT_KEY,
)
_FIRST_TRANSFERS: Final = _PAGE.format(
    columns=", ".join(transfers.COLUMNS),
    table="prepared_transfer",
    condition="",
    key=_TRANSFER_KEY,
)
_NEXT_TRANSFERS: Final = _PAGE.format(
    columns=", ".join(transfers.COLUMNS),
    table="prepared_transfer",
    condition=f"WHERE ({_TRANSFER_KEY}) > (%s, %s, %s)",
    key=_TRANSFER_KEY,
)
_WAITING_ACCOUNTS: Final = """
    SELECT update_pending_since, debtor_id, creditor_id FROM account
    WHERE update_pending_since <= %s
        AND (update_pending_since, debtor_id, creditor_id) > (%s, %s, %s)
    ORDER BY update_pending_since, debtor_id, creditor_id
    LIMIT %s
"""
# Rows of one statement's snapshot stay where they are, so they are removed from
# there. A join of the page with the table would read all of a table that is not
# very large. A row that somebody holds is left for the next pass: it keeps nobody
# from the others.
_FORGET_CHANGES: Final[LiteralString] = """
    WITH page AS MATERIALIZED (
        SELECT debtor_id, other_creditor_id, change_id, committed_at, ctid AS place
        FROM registered_balance_change
        {condition}
        ORDER BY debtor_id, other_creditor_id, change_id
        LIMIT %s
    ), old AS MATERIALIZED (
        SELECT ctid AS place FROM registered_balance_change
        WHERE ctid = ANY (ARRAY(SELECT place FROM page WHERE committed_at < %s))
        FOR UPDATE SKIP LOCKED
    ), forgotten AS (
        DELETE FROM registered_balance_change
        WHERE ctid = ANY (ARRAY(SELECT place FROM old))
        RETURNING 1
    )
    SELECT debtor_id, other_creditor_id, change_id,
        (SELECT count(*) FROM page), (SELECT count(*) FROM forgotten)
    FROM page
    ORDER BY debtor_id DESC, other_creditor_id DESC, change_id DESC
    LIMIT 1
"""
_FORGET_FIRST_CHANGES: Final = _FORGET_CHANGES.format(condition="")
_FORGET_NEXT_CHANGES: Final = _FORGET_CHANGES.format(
    condition="WHERE (debtor_id, other_creditor_id, change_id) > (%s, %s, %s)"
)

WaitingKey = tuple[datetime, int, int]
"""(update_pending_since, debtor_id, creditor_id)"""


def read_accounts(transaction: Transaction, after: Key, count_max: int) -> list[Account]:
    """Return the accounts that follow the key (debtor_id, creditor_id)."""
    statement = _NEXT_ACCOUNTS if after else _FIRST_ACCOUNTS
    return [Account(*row) for row in transaction.fetch(statement, (*after, count_max))]


def read_transfers(transaction: Transaction, after: Key, count_max: int) -> list[PreparedTransfer]:
    """Return the prepared transfers that follow the key (debtor_id, creditor_id, transfer_id)."""
    statement = _NEXT_TRANSFERS if after else _FIRST_TRANSFERS
    return [PreparedTransfer(*row) for row in transaction.fetch(statement, (*after, count_max))]


def read_waiting_accounts(
    transaction: Transaction, since: datetime, after: WaitingKey, count_max: int
) -> list[tuple[WaitingKey, AccountKey]]:
    """Return accounts that have waited since then, or for longer, to be announced."""
    rows = transaction.fetch(_WAITING_ACCOUNTS, (since, *after, count_max))
    return [((row[0], row[1], row[2]), (row[1], row[2])) for row in rows]


def forget_changes(
    transaction: Transaction, after: Key, count_max: int, threshold: datetime
) -> tuple[Key, int, int]:
    """Look at the registered changes that follow the key, and remove those from before `threshold`.

    Returns (the key of the last one, how many were looked at, how many were
    removed). The key is (debtor_id, other_creditor_id, change_id).
    """
    statement = _FORGET_NEXT_CHANGES if after else _FORGET_FIRST_CHANGES
    rows = transaction.fetch(statement, (*after, count_max, threshold))
    if not rows:
        return (), 0, 0
    debtor_id, other_creditor_id, change_id, seen_count, forgotten_count = rows[0]
    return (debtor_id, other_creditor_id, change_id), seen_count, forgotten_count
