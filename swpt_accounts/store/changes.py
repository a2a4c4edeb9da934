"""Balance changes between shards: each received one is registered once, each sent one numbered."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from swpt_accounts.ledger.values import ChangeKey
from swpt_accounts.store.arrays import moments, numbers
from swpt_accounts.store.transaction import Transaction

# A concurrent registration of the same change is waited for, in key order.
_REGISTER: Final = """
    INSERT INTO registered_balance_change (debtor_id, other_creditor_id, change_id, committed_at)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING debtor_id, other_creditor_id, change_id
"""
_NEXT_IDS: Final = "SELECT nextval('change_id_seq') FROM generate_series(1, %s)"


def register(transaction: Transaction, changes: dict[ChangeKey, datetime]) -> set[ChangeKey]:
    """Register received changes with their moments of commit; return those seen first now."""
    if not changes:
        return set()
    keys = sorted(changes)
    columns = [numbers(column) for column in zip(*keys, strict=True)]
    committed_at = moments(changes[key] for key in keys)
    rows = transaction.fetch(_REGISTER, (*columns, committed_at))
    return {(debtor_id, creditor_id, change_id) for debtor_id, creditor_id, change_id in rows}


def next_ids(transaction: Transaction, count: int) -> Iterator[int]:
    """Return `count` change ids that have never been used."""
    if count == 0:
        return iter(())
    return iter([row[0] for row in transaction.fetch(_NEXT_IDS, (count,))])
