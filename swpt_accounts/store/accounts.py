"""Accounts: lock and load many in key order, write the changed ones."""

from collections.abc import Collection, Iterable
from operator import attrgetter
from typing import Any, Final, LiteralString

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.values import ROOT_CREDITOR_ID, AccountKey
from swpt_accounts.store.arrays import moments, numbers, row_ids, truths
from swpt_accounts.store.transaction import StoreDefect, Transaction

# The columns of `account`, in the order of the fields of `Account`, with
# their types: the key, what changes with every transfer, what changes seldom.
_KEY: Final = ("debtor_id", "creditor_id", "creation_date")
_OFTEN: Final = {
    "last_change_seqnum": "int4",
    "last_change_ts": "timestamptz",
    "principal": "int8",
    "interest": "float8",
    "last_transfer_number": "int8",
    "last_transfer_committed_at": "timestamptz",
    "last_transfer_id": "int8",
    "total_locked_amount": "int8",
    "pending_transfers_count": "int4",
    "last_journal_number": "int8",
    "is_overflown": "bool",
    "update_pending_since": "timestamptz",
    "last_update_sent_ts": "timestamptz",
}
_SELDOM: Final = {
    "interest_rate": "float8",
    "last_interest_rate_change_ts": "timestamptz",
    "previous_interest_rate": "float8",
    "last_config_ts": "timestamptz",
    "last_config_seqnum": "int4",
    "negligible_amount": "float8",
    "config_flags": "int4",
    "config_data": "text",
    "debtor_info_iri": "text",
    "debtor_info_content_type": "text",
    "debtor_info_sha256": "bytea",
    "is_deleted": "bool",
    "last_interest_capitalization_ts": "timestamptz",
    "last_deletion_attempt_ts": "timestamptz",
}
COLUMNS: Final = (*_KEY, *_OFTEN, *_SELDOM)
COLUMN_TYPES: Final = ("int8", "int8", "date", *_OFTEN.values(), *_SELDOM.values())
SELDOM_FIELDS: Final = slice(len(_KEY) + len(_OFTEN), len(COLUMNS))

# In these statements, each row is found by an index look-up of its own, in the
# order of the keys, which no join order that the planner may choose can change:
# a subquery with FOR UPDATE or OFFSET stays a subquery. What the planner
# believes about the size of a table may be very wrong while the table grows,
# and the plan is kept.
_LOCK_AND_LOAD: Final[LiteralString] = """
    SELECT account.*
    FROM unnest(%s::bigint[], %s::bigint[]) AS key (debtor_id, creditor_id)
    CROSS JOIN LATERAL (
        SELECT {columns}, ctid::text
        FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = key.creditor_id
        FOR NO KEY UPDATE
    ) account
"""

# These rows are only read. What is decided on them is right at the moment of
# reading, which is all that another shard's answer would be.
_READ_REACHABLE: Final[LiteralString] = """
    SELECT key.debtor_id, key.creditor_id
    FROM unnest(%s::bigint[], %s::bigint[]) AS key (debtor_id, creditor_id)
    CROSS JOIN LATERAL (
        SELECT FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = key.creditor_id
            AND NOT is_deleted AND config_flags & 1 = 0
        OFFSET 0
    ) account
"""
_READ_ROOT_CONFIG_DATA: Final[LiteralString] = """
    SELECT key.debtor_id, account.config_data
    FROM unnest(%s::bigint[]) AS key (debtor_id)
    CROSS JOIN LATERAL (
        SELECT config_data FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = %s
        OFFSET 0
    ) account
"""
# A locked row stays where it is, so it need not be looked for again. That the key
# is the same costs nothing to verify; adding zero keeps its index out of it.
_UPDATE: Final[LiteralString] = """
    UPDATE account
    SET {assignments}
    FROM unnest(%s::tid[], %s::bigint[], %s::bigint[], {arrays})
        AS new (row_id, debtor_id, creditor_id, {columns})
    WHERE account.ctid = new.row_id
        AND account.debtor_id + 0 = new.debtor_id AND account.creditor_id + 0 = new.creditor_id
"""
_COPY: Final[LiteralString] = "COPY account ({columns}) FROM STDIN (FORMAT BINARY)"
_DELETE: Final[LiteralString] = """
    DELETE FROM account
    USING unnest(%s::bigint[], %s::bigint[]) AS key (debtor_id, creditor_id)
    CROSS JOIN LATERAL (
        SELECT ctid AS row_id FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = key.creditor_id
        OFFSET 0
    ) found
    WHERE account.ctid = found.row_id
"""


def _update_statement(columns: dict[str, str]) -> str:
    return _UPDATE.format(
        assignments=", ".join(f"{name} = new.{name}" for name in columns),
        arrays=", ".join(f"%s::{type_}[]" for type_ in columns.values()),
        columns=", ".join(columns),
    )


_LOCK_AND_LOAD_ACCOUNTS: Final = _LOCK_AND_LOAD.format(columns=", ".join(COLUMNS))
_UPDATE_OFTEN: Final = _update_statement(_OFTEN)
_UPDATE_ALL: Final = _update_statement(_OFTEN | _SELDOM)
_COPY_ACCOUNTS: Final = _COPY.format(columns=", ".join(COLUMNS))

_ARRAY_WRITERS: Final[dict[str, Any]] = {
    "int4": numbers,
    "int8": numbers,
    "float8": numbers,
    "timestamptz": moments,
    "bool": truths,
    "text": list,
    "bytea": list,
}
_OFTEN_WRITERS: Final = [(attrgetter(c), _ARRAY_WRITERS[t]) for c, t in _OFTEN.items()]
_ALL_WRITERS: Final = _OFTEN_WRITERS + [
    (attrgetter(c), _ARRAY_WRITERS[t]) for c, t in _SELDOM.items()
]


class LockedAccount(msgspec.Struct, frozen=True, gc=False):
    """An account as it was loaded. Its row is locked until the end of the transaction."""

    account: Account
    row_id: str
    """Where the row is: its `ctid`."""
    seldom: tuple[Any, ...]
    """The values that it had in the columns that change seldom."""


LockedAccounts = dict[AccountKey, LockedAccount]


def lock_and_load(transaction: Transaction, keys: Collection[AccountKey]) -> LockedAccounts:
    """Lock the accounts that exist, in key order, and return them."""
    if not keys:
        return {}
    debtor_ids, creditor_ids = zip(*sorted(keys), strict=True)
    rows = transaction.fetch(_LOCK_AND_LOAD_ACCOUNTS, (numbers(debtor_ids), numbers(creditor_ids)))
    return {
        (row[0], row[1]): LockedAccount(Account(*row[:-1]), row[-1], row[SELDOM_FIELDS])
        for row in rows
    }


def read_reachable(
    transaction: Transaction, keys: Collection[AccountKey]
) -> dict[AccountKey, bool]:
    """Tell, for each of the accounts, whether transfers to it may be prepared."""
    if not keys:
        return {}
    debtor_ids, creditor_ids = zip(*sorted(keys), strict=True)
    rows = transaction.fetch(_READ_REACHABLE, (numbers(debtor_ids), numbers(creditor_ids)))
    return dict.fromkeys(keys, False) | dict.fromkeys(rows, True)


def read_root_config_data(
    transaction: Transaction, debtor_ids: Collection[int]
) -> dict[int, str | None]:
    """Return the configuration documents of currencies; None where there is no root account."""
    if not debtor_ids:
        return {}
    rows = transaction.fetch(
        _READ_ROOT_CONFIG_DATA, (numbers(sorted(debtor_ids)), ROOT_CREDITOR_ID)
    )
    return dict.fromkeys(debtor_ids, None) | dict(rows)


def save(
    transaction: Transaction,
    accounts: Iterable[Account],
    locked: LockedAccounts,
) -> None:
    """Write accounts, given in key order; `locked` is what `lock_and_load` returned.

    New ones are inserted. Raises `Conflict` when another process has inserted
    one of them meanwhile, and `StoreDefect` when an account that was locked is
    not there.
    """
    created: list[Account] = []
    changed: list[Account] = []
    reconfigured: list[Account] = []
    for account in accounts:
        if account.is_created:
            created.append(account)
        elif msgspec.structs.astuple(account)[SELDOM_FIELDS] == locked[account.key].seldom:
            changed.append(account)
        else:
            reconfigured.append(account)
    _update(transaction, _UPDATE_OFTEN, _OFTEN_WRITERS, changed, locked)
    _update(transaction, _UPDATE_ALL, _ALL_WRITERS, reconfigured, locked)
    if created:
        width = len(COLUMNS)
        rows = (msgspec.structs.astuple(account)[:width] for account in created)
        transaction.copy(_COPY_ACCOUNTS, COLUMN_TYPES, rows)


def _update(
    transaction: Transaction,
    statement: str,
    writers: list[tuple[Any, Any]],
    accounts: list[Account],
    locked: LockedAccounts,
) -> None:
    if not accounts:
        return
    columns = [
        row_ids(locked[account.key].row_id for account in accounts),
        numbers(account.debtor_id for account in accounts),
        numbers(account.creditor_id for account in accounts),
    ]
    columns += [write(map(get, accounts)) for get, write in writers]
    written_count = transaction.execute(statement, columns)
    if written_count != len(accounts):
        raise StoreDefect(
            f"{len(accounts)} accounts have changed, but {written_count} were written"
        )


def delete(transaction: Transaction, keys: Collection[AccountKey]) -> None:
    """Remove purged accounts."""
    if keys:
        debtor_ids, creditor_ids = zip(*sorted(keys), strict=True)
        transaction.execute(_DELETE, (numbers(debtor_ids), numbers(creditor_ids)))
