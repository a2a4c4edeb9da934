"""Prepared transfers: lock and load, find by coordinator, insert, delete."""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import CoordinatorKey, TransferKey
from swpt_accounts.store.arrays import moments, numbers
from swpt_accounts.store.transaction import Transaction

COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(PreparedTransfer))
_COLUMN_TYPES: Final = (
    "int8",
    "int8",
    "int8",
    "varchar",
    "int8",
    "int8",
    "int8",
    "int8",
    "timestamptz",
    "timestamptz",
    "float8",
    "timestamptz",
    "timestamptz",
)
_COLUMN_LIST: Final = ", ".join(COLUMNS)

# Each row is found by an index look-up of its own: see `store/accounts.py`.
_LOCK_AND_LOAD: Final = f"""
    SELECT transfer.*
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
        AS key (debtor_id, creditor_id, transfer_id)
    CROSS JOIN LATERAL (
        SELECT {_COLUMN_LIST}
        FROM prepared_transfer AS p
        WHERE p.debtor_id = key.debtor_id
            AND p.creditor_id = key.creditor_id
            AND p.transfer_id = key.transfer_id
        FOR UPDATE
    ) transfer
"""

# The sender's account is locked already, so these rows cannot change. Adding
# zero chooses the index: `prepared_transfer_request_key`, and no other.
_READ_BY_COORDINATOR: Final = f"""
    SELECT transfer.*
    FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[])
        AS key (debtor_id, creditor_id, coordinator_type, coordinator_id, coordinator_request_id)
    CROSS JOIN LATERAL (
        SELECT {_COLUMN_LIST}
        FROM prepared_transfer AS p
        WHERE p.coordinator_request_id = key.coordinator_request_id
            AND p.coordinator_id = key.coordinator_id
            AND p.coordinator_type = key.coordinator_type
            AND p.creditor_id + 0 = key.creditor_id
            AND p.debtor_id + 0 = key.debtor_id
        OFFSET 0
    ) transfer
"""
_FOUND: Final = """
    CROSS JOIN LATERAL (
        SELECT ctid AS row_id
        FROM prepared_transfer AS p
        WHERE p.debtor_id = key.debtor_id
            AND p.creditor_id = key.creditor_id
            AND p.transfer_id = key.transfer_id
        OFFSET 0
    ) found
    WHERE p.ctid = found.row_id
"""
_DELETE: Final = f"""
    DELETE FROM prepared_transfer AS p
    USING unnest(%s::bigint[], %s::bigint[], %s::bigint[])
        AS key (debtor_id, creditor_id, transfer_id)
    {_FOUND}
"""
_NOTE_REMINDERS: Final = f"""
    UPDATE prepared_transfer AS p
    SET last_reminder_ts = key.last_reminder_ts
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[])
        AS key (debtor_id, creditor_id, transfer_id, last_reminder_ts)
    {_FOUND}
"""
_COPY: Final = f"COPY prepared_transfer ({_COLUMN_LIST}) FROM STDIN (FORMAT BINARY)"


def lock_and_load(
    transaction: Transaction, keys: Collection[TransferKey]
) -> list[PreparedTransfer]:
    """Lock the prepared transfers that exist, in key order, and return them.

    They have to be locked before any account.
    """
    if not keys:
        return []
    columns = zip(*sorted(keys), strict=True)
    rows = transaction.fetch(_LOCK_AND_LOAD, [numbers(column) for column in columns])
    return [PreparedTransfer(*row) for row in rows]


def read_by_coordinator(
    transaction: Transaction, keys: Collection[CoordinatorKey]
) -> list[PreparedTransfer]:
    """Return the prepared transfers that coordinators' requests have led to already.

    The senders' accounts must have been locked.
    """
    if not keys:
        return []
    debtor_ids, creditor_ids, types, ids, request_ids = zip(*keys, strict=True)
    rows = transaction.fetch(
        _READ_BY_COORDINATOR,
        (
            numbers(debtor_ids),
            numbers(creditor_ids),
            list(types),
            numbers(ids),
            numbers(request_ids),
        ),
    )
    return [PreparedTransfer(*row) for row in rows]


def delete(transaction: Transaction, keys: Collection[TransferKey]) -> None:
    """Remove finalized transfers."""
    if keys:
        columns = zip(*keys, strict=True)
        transaction.execute(_DELETE, [numbers(column) for column in columns])


def insert(transaction: Transaction, transfers: Iterable[PreparedTransfer]) -> None:
    """Add newly prepared transfers."""
    rows = [msgspec.structs.astuple(transfer) for transfer in transfers]
    if rows:
        transaction.copy(_COPY, _COLUMN_TYPES, rows)


def note_reminders(transaction: Transaction, transfers: Collection[PreparedTransfer]) -> None:
    """Write when the coordinators of the transfers were reminded of them."""
    if transfers:
        columns = [numbers(column) for column in zip(*(t.key for t in transfers), strict=True)]
        reminded_at = moments(transfer.last_reminder_ts for transfer in transfers)
        transaction.execute(_NOTE_REMINDERS, (*columns, reminded_at))
