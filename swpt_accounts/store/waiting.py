"""Messages that wait: written down, taken when their time has come, put back, and forgotten.

One session at a time takes them, the one that holds `claim`'s lock; anybody
may write them. What was taken is locked again in the transaction that applies
it, since the claim may have been lost meanwhile.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from swpt_accounts.store.arrays import moments, numbers
from swpt_accounts.store.transaction import Transaction

HASH_BITS: Final = 32
"""The length of an account's sharding hash, of which the first bits name a group of accounts."""

# The keys of an advisory lock of this project; see `store/lanes.py`.
_TAKER_LOCK: Final = (0x53_57_50_04, 0)

_KEY: Final = "debtor_id, creditor_id, message_type, body_sha256"
_KEY_ARRAYS: Final = "%s::bigint[], %s::bigint[], %s::text[], %s::bytea[]"
_IS_KEY: Final = """
    w.debtor_id = key.debtor_id AND w.creditor_id = key.creditor_id
    AND w.message_type = key.message_type AND w.body_sha256 = key.body_sha256
"""
_TAKEN_COLUMNS: Final = f"{_KEY}, body, attempts_count"

_CLAIM: Final = "SELECT pg_try_advisory_lock(%s, %s)"
# One step along the index for each group that has messages, not one for each message.
_AWAITED_GROUPS: Final = """
    WITH RECURSIVE awaited (hash) AS (
        (SELECT awaited_hash FROM waiting_message WHERE awaited_hash IS NOT NULL
         ORDER BY awaited_hash LIMIT 1)
        UNION ALL
        SELECT (
            SELECT awaited_hash FROM waiting_message
            WHERE awaited_hash >= ((awaited.hash >> %(shift)s) + 1) << %(shift)s
            ORDER BY awaited_hash LIMIT 1
        )
        FROM awaited WHERE awaited.hash IS NOT NULL
    )
    SELECT hash >> %(shift)s FROM awaited WHERE hash IS NOT NULL
"""
_TAKE: Final = f"""
    (SELECT {_TAKEN_COLUMNS} FROM waiting_message
     WHERE awaited_hash IS NULL AND next_attempt_at <= %(now)s
     ORDER BY next_attempt_at LIMIT %(count_max)s)
    UNION ALL
    (SELECT w.* FROM unnest(%(first)s::bigint[], %(last)s::bigint[]) AS awaited (first, last)
     CROSS JOIN LATERAL (
        SELECT {_TAKEN_COLUMNS} FROM waiting_message
        WHERE awaited_hash BETWEEN awaited.first AND awaited.last AND next_attempt_at <= %(now)s
        ORDER BY awaited_hash LIMIT %(count_max)s
     ) w LIMIT %(count_max)s)
"""
_EXISTS: Final = "SELECT EXISTS (SELECT FROM waiting_message)"
_FIND: Final = f"""
    SELECT key.* FROM unnest({_KEY_ARRAYS}) AS key ({_KEY})
    CROSS JOIN LATERAL (SELECT FROM waiting_message AS w WHERE {_IS_KEY} OFFSET 0) w
"""
_LOCK: Final = f"""
    SELECT w.* FROM unnest({_KEY_ARRAYS}) AS key ({_KEY})
    CROSS JOIN LATERAL (
        SELECT {_KEY} FROM waiting_message AS w WHERE {_IS_KEY} FOR UPDATE SKIP LOCKED
    ) w
"""
_INSERT: Final = f"""
    INSERT INTO waiting_message
        ({_KEY}, body, reason, awaited_hash, next_attempt_at, attempts_count, waiting_since)
    SELECT *, 1, %s FROM unnest(
        {_KEY_ARRAYS}, %s::bytea[], %s::text[], %s::bigint[], %s::timestamptz[]
    )
    ON CONFLICT DO NOTHING
"""
_FOUND: Final = f"""
    CROSS JOIN LATERAL (
        SELECT ctid AS row_id FROM waiting_message AS w WHERE {_IS_KEY} OFFSET 0
    ) found
    WHERE waiting_message.ctid = found.row_id
"""
_PUT_BACK: Final = f"""
    UPDATE waiting_message
    SET reason = key.reason, awaited_hash = key.awaited_hash,
        next_attempt_at = key.next_attempt_at, attempts_count = attempts_count + 1
    FROM unnest({_KEY_ARRAYS}, %s::text[], %s::bigint[], %s::timestamptz[])
        AS key ({_KEY}, reason, awaited_hash, next_attempt_at)
    {_FOUND}
"""
_DELETE: Final = f"""
    DELETE FROM waiting_message USING unnest({_KEY_ARRAYS}) AS key ({_KEY}) {_FOUND}
"""
_SUMMARY: Final = """
    SELECT reason, count(*), min(waiting_since), max(attempts_count),
        count(*) FILTER (WHERE awaited_hash IS NOT NULL)
    FROM waiting_message GROUP BY reason ORDER BY count(*) DESC, reason LIMIT %s
"""


class WaitingKey(NamedTuple):
    """What tells a waiting message from others: a second copy has the same key."""

    debtor_id: int
    creditor_id: int
    message_type: str
    body_sha256: bytes


class WaitingMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that waits. With an `attempts_count` of 0, it is not written down yet."""

    key: WaitingKey
    body: bytes
    attempts_count: int = 0

    @property
    def message_type(self) -> str:
        """The name of the message's type."""
        return self.key.message_type


class Wait(NamedTuple):
    """Why a message waits, and what for.

    Without an `awaited_hash`, the time alone; else also an answer from the shard
    of the account with that sharding hash.
    """

    message: WaitingMessage
    reason: str
    awaited_hash: int | None
    next_attempt_at: datetime


class WaitingSummary(NamedTuple):
    """How many messages wait for one reason; of those, how many await another shard's answer."""

    reason: str
    messages_count: int
    waiting_since: datetime
    attempts_count_max: int
    awaiting_answer_count: int


def claim(transaction: Transaction) -> bool:
    """Become the session that takes waiting messages, until it ends, if there is no other."""
    [(is_claimed,)] = transaction.fetch(_CLAIM, _TAKER_LOCK)
    return bool(is_claimed)


def awaited_groups(transaction: Transaction, group_bits: int) -> list[int]:
    """Return the groups whose answers are awaited: first bits of the accounts' hashes."""
    shift = HASH_BITS - group_bits
    return [row[0] for row in transaction.fetch(_AWAITED_GROUPS, {"shift": shift})]


def take(
    transaction: Transaction, groups: Iterable[int], group_bits: int, count_max: int, now: datetime
) -> list[WaitingMessage]:
    """Return messages that are due, `count_max` for their time, and as many of the given groups."""
    shift = HASH_BITS - group_bits
    first = [group << shift for group in groups]
    last = [hash_ + (1 << shift) - 1 for hash_ in first]
    parameters = {
        "now": now,
        "count_max": count_max,
        "first": numbers(first),
        "last": numbers(last),
    }
    rows = transaction.fetch(_TAKE, parameters)
    return [WaitingMessage(WaitingKey(*row[:4]), *row[4:]) for row in rows]


def exists(transaction: Transaction) -> bool:
    """Tell whether any message waits."""
    [(answer,)] = transaction.fetch(_EXISTS, ())
    return bool(answer)


def find(transaction: Transaction, keys: Sequence[WaitingKey]) -> set[WaitingKey]:
    """Tell which of the messages wait, whoever may have locked them."""
    return {WaitingKey(*row) for row in transaction.fetch(_FIND, _columns(keys))}


def lock(transaction: Transaction, keys: Collection[WaitingKey]) -> set[WaitingKey]:
    """Lock those of the messages that are still there, and locked by nobody; return their keys."""
    if not keys:
        return set()
    rows = transaction.fetch(_LOCK, _columns(sorted(keys)))
    return {WaitingKey(*row) for row in rows}


def insert(transaction: Transaction, waits: Iterable[Wait], now: datetime) -> None:
    """Write messages down for the first time; a second copy of one joins the first."""
    waits = sorted(waits, key=lambda wait: wait.message.key)
    if waits:
        columns = (
            *_columns([wait.message.key for wait in waits]),
            [wait.message.body for wait in waits],
            *_reasons(waits),
        )
        transaction.execute(_INSERT, (now, *columns))


def put_back(transaction: Transaction, waits: Collection[Wait]) -> None:
    """Let messages that were taken wait once more."""
    if waits:
        columns = (*_columns([wait.message.key for wait in waits]), *_reasons(waits))
        transaction.execute(_PUT_BACK, columns)


def delete(transaction: Transaction, keys: Sequence[WaitingKey]) -> None:
    """Forget messages that were applied."""
    if keys:
        transaction.execute(_DELETE, _columns(keys))


def summarize(transaction: Transaction, count_max: int) -> list[WaitingSummary]:
    """Return how many messages wait, by reason, the most frequent reasons first."""
    return [WaitingSummary(*row) for row in transaction.fetch(_SUMMARY, (count_max,))]


def _columns(keys: Sequence[WaitingKey]) -> tuple[str, str, list[str], list[bytes]]:
    return (
        numbers(key.debtor_id for key in keys),
        numbers(key.creditor_id for key in keys),
        [key.message_type for key in keys],
        [key.body_sha256 for key in keys],
    )


def _reasons(waits: Iterable[Wait]) -> tuple[list[str], list[int | None], str]:
    return (
        [wait.reason for wait in waits],
        [wait.awaited_hash for wait in waits],
        moments(wait.next_attempt_at for wait in waits),
    )
