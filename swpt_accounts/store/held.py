"""Which rows somebody else keeps locked, and who that is.

A row that is skipped because it is locked looks like an absent one. So it is
asked which rows there are, too: what exists and cannot be had is held.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec
from psycopg import errors

from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.values import AccountKey, TransferKey
from swpt_accounts.store.arrays import numbers
from swpt_accounts.store.transaction import DatabaseUnavailable, Transaction

_ACCOUNTS: Final = """
    SELECT key.debtor_id, key.creditor_id, account.locker
    FROM unnest(%s::bigint[], %s::bigint[]) AS key (debtor_id, creditor_id)
    CROSS JOIN LATERAL (
        SELECT xmax::text::bigint AS locker FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = key.creditor_id
        OFFSET 0
    ) account
"""
_FREE_ACCOUNTS: Final = """
    SELECT account.*
    FROM unnest(%s::bigint[], %s::bigint[]) AS key (debtor_id, creditor_id)
    CROSS JOIN LATERAL (
        SELECT debtor_id, creditor_id FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = key.creditor_id
        FOR NO KEY UPDATE SKIP LOCKED
    ) account
"""
_TRANSFERS: Final = """
    SELECT key.debtor_id, key.creditor_id, key.transfer_id, p.recipient_creditor_id, p.locker
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
        AS key (debtor_id, creditor_id, transfer_id)
    CROSS JOIN LATERAL (
        SELECT recipient_creditor_id, xmax::text::bigint AS locker FROM prepared_transfer AS p
        WHERE p.debtor_id = key.debtor_id AND p.creditor_id = key.creditor_id
            AND p.transfer_id = key.transfer_id
        OFFSET 0
    ) p
"""
_FREE_TRANSFERS: Final = """
    SELECT p.*
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
        AS key (debtor_id, creditor_id, transfer_id)
    CROSS JOIN LATERAL (
        SELECT debtor_id, creditor_id, transfer_id FROM prepared_transfer AS p
        WHERE p.debtor_id = key.debtor_id AND p.creditor_id = key.creditor_id
            AND p.transfer_id = key.transfer_id
        FOR UPDATE SKIP LOCKED
    ) p
"""
_WHO: Final = """
    a.pid, coalesce(a.application_name, ''),
    coalesce(host(a.client_addr), 'a local socket'), coalesce(a.state, 'unknown'),
    coalesce(a.xact_start, a.backend_start)
"""
# A row that several sessions share does not say who they are. Then the oldest
# transaction that has locked rows of these tables is the likeliest one.
_HOLDERS: Final = rf"""
    SELECT DISTINCT ON (a.pid) {_WHO}
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.granted AND l.pid <> pg_backend_pid()
        -- Other processes of this node come and go by themselves.
        AND a.application_name NOT LIKE 'consume\_%%'
        AND (
        l.locktype = 'transactionid' AND l.transactionid::text::bigint = ANY(%s::bigint[])
        OR NOT EXISTS (
            SELECT FROM pg_locks AS x
            WHERE x.locktype = 'transactionid' AND x.granted
                AND x.transactionid::text::bigint = ANY(%s::bigint[])
        )
        AND l.locktype = 'relation' AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
        AND l.relation IN ('account'::regclass, 'prepared_transfer'::regclass)
    )
    ORDER BY a.pid
"""
_TABLE_HOLDERS: Final = f"""
    SELECT DISTINCT ON (a.pid) {_WHO}
    FROM pg_locks AS l
    JOIN pg_stat_activity AS a USING (pid)
    JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.mode IN (
            'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
        )
        AND c.relkind IN ('r', 'p')
    ORDER BY a.pid
"""
_HOLDERS_NAMED_MAX: Final = 3


class Held(msgspec.Struct):
    """Rows that others keep locked, and the recipients of the transfers that were looked at."""

    accounts: set[AccountKey]
    transfers: set[TransferKey]
    recipients: dict[TransferKey, AccountKey]
    lockers: list[int]
    """Numbers of the transactions that lock the rows; of no meaning where several share one."""

    def __bool__(self) -> bool:
        return bool(self.accounts or self.transfers)


def find_held(transaction: Transaction, needs: Needs) -> Held:
    """Tell which rows that the commands would lock are locked by others; waits for none of them.

    Locks the other rows until the transaction ends. Raises `DatabaseUnavailable`
    when whole tables are locked, by sessions that it names.
    """
    if rows := transaction.fetch(_TABLE_HOLDERS, ()):
        raise DatabaseUnavailable(f"whole tables are locked by {_named(rows)}")
    try:
        return _find_held(transaction, needs)
    except errors.LockNotAvailable as error:
        raise DatabaseUnavailable("a whole table was locked a moment ago") from error


def _find_held(transaction: Transaction, needs: Needs) -> Held:
    held = Held(set(), set(), {}, [])
    transfer_keys = sorted(needs.transfers | needs.reminders)
    if transfer_keys:
        columns = [numbers(column) for column in zip(*transfer_keys, strict=True)]
        rows = transaction.fetch(_TRANSFERS, columns)
        free_transfers = set(transaction.fetch(_FREE_TRANSFERS, columns))
        for debtor_id, creditor_id, transfer_id, recipient_creditor_id, locker in rows:
            key = debtor_id, creditor_id, transfer_id
            held.recipients[key] = debtor_id, recipient_creditor_id
            if key not in free_transfers:
                held.transfers.add(key)
                held.lockers.append(locker)
    account_keys = sorted(needs.accounts.union(held.recipients.values()))
    if account_keys:
        columns = [numbers(column) for column in zip(*account_keys, strict=True)]
        rows = transaction.fetch(_ACCOUNTS, columns)
        free_accounts = set(transaction.fetch(_FREE_ACCOUNTS, columns))
        for debtor_id, creditor_id, locker in rows:
            if (debtor_id, creditor_id) not in free_accounts:
                held.accounts.add((debtor_id, creditor_id))
                held.lockers.append(locker)
    return held


def holders(transaction: Transaction, lockers: Collection[int]) -> str:
    """Return in words which sessions hold the locks; empty when they are only passing by."""
    lockers_array = numbers(lockers)
    return _named(transaction.fetch(_HOLDERS, (lockers_array, lockers_array)))


def _named(rows: list[tuple[Any, ...]]) -> str:
    oldest = sorted(rows, key=lambda row: row[4])[:_HOLDERS_NAMED_MAX]
    return ", ".join(
        f"server process {pid} ({name or 'no name'}, from {address}, {state}, in a transaction"
        f" since {since:%Y-%m-%d %H:%M:%S})"
        for pid, name, address, state, since in oldest
    )
