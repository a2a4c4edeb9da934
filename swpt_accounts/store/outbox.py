"""The outbox: append, take a page, delete what was confirmed, set aside what cannot be sent."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg

from swpt_accounts.protocol.outgoing import OutgoingMessage
from swpt_accounts.store.arrays import moments, numbers
from swpt_accounts.store.transaction import Transaction

CHANNEL: Final = "outbox"
"""Notified in each transaction that appends to the outbox."""

RETRY_SECONDS_MIN: Final = 5
RETRY_SECONDS_MAX: Final = 300

_MESSAGE_COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(OutgoingMessage))
_COLUMN_TYPES: Final = (
    "int4",
    "text",
    "text",
    "bool",
    "text",
    "int8",
    "int8",
    "text",
    "int8",
    "int8",
    "bytea",
    "bool",
    "timestamptz",
)
_COLUMN_LIST: Final = ", ".join(_MESSAGE_COLUMNS)
_COPY: Final = f"COPY outbox ({_COLUMN_LIST}, inserted_at) FROM STDIN (FORMAT BINARY)"
_NOTIFY: Final = f"NOTIFY {CHANNEL}"
_TAKE_PAGE: Final = f"""
    SELECT id, 0, {_COLUMN_LIST} FROM outbox
    WHERE lane = ANY(%s) AND id NOT IN (SELECT unnest(%s::bigint[]))
    ORDER BY id LIMIT %s
"""
_TAKE_UNDELIVERED: Final = f"""
    SELECT id, attempts_count, {_COLUMN_LIST} FROM undelivered_message
    WHERE lane = ANY(%s) AND next_attempt_at <= %s
    ORDER BY next_attempt_at LIMIT %s
"""
_DELETE: Final = "DELETE FROM outbox WHERE id = ANY(%s::bigint[])"
_DELETE_UNDELIVERED: Final = "DELETE FROM undelivered_message WHERE id = ANY(%s::bigint[])"
_SET_ASIDE: Final = f"""
    WITH failed AS (
        SELECT * FROM unnest(%s::bigint[], %s::text[]) AS failed (id, reason)
    ), removed AS (
        DELETE FROM outbox USING failed WHERE outbox.id = failed.id
        RETURNING outbox.*, failed.reason
    )
    INSERT INTO undelivered_message
        (id, {_COLUMN_LIST}, inserted_at, reason, attempts_count, next_attempt_at)
    SELECT id, {_COLUMN_LIST}, inserted_at, reason, 1, %s FROM removed
"""
_POSTPONE: Final = """
    UPDATE undelivered_message AS u
    SET reason = failed.reason,
        attempts_count = u.attempts_count + 1,
        next_attempt_at = failed.next_attempt_at
    FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[])
        AS failed (id, reason, next_attempt_at)
    WHERE u.id = failed.id
"""


class OutboxMessage(msgspec.Struct, frozen=True, gc=False):
    """A message read from the outbox, or from those set aside (`attempts_count` > 0)."""

    id: int
    attempts_count: int
    message: OutgoingMessage


def append(transaction: Transaction, messages: Iterable[OutgoingMessage], now: datetime) -> None:
    """Add messages to the outbox; the flushers are woken when the transaction commits."""
    rows = [(*msgspec.structs.astuple(message), now) for message in messages]
    if rows:
        transaction.copy(_COPY, _COLUMN_TYPES, rows)
        transaction.execute(_NOTIFY, ())


def take_page(
    connection: psycopg.Connection,
    lanes: Collection[int],
    count_max: int,
    taken_ids: Iterable[int] = (),
) -> list[OutboxMessage]:
    """Return the oldest messages in the lanes, at most `count_max`. They stay in the outbox.

    Those taken before and not deleted yet are left out. (Going on after the
    greatest of their ids would not do: ids are not committed in their order.)
    """
    return _read(connection, _TAKE_PAGE, (list(lanes), numbers(taken_ids), count_max))


def take_undelivered(
    connection: psycopg.Connection, lanes: Collection[int], count_max: int, now: datetime
) -> list[OutboxMessage]:
    """Return messages set aside before whose next attempt is due."""
    return _read(connection, _TAKE_UNDELIVERED, (list(lanes), now, count_max))


def _read(
    connection: psycopg.Connection, statement: str, parameters: Sequence[Any]
) -> list[OutboxMessage]:
    cursor = connection.execute(statement, parameters, binary=True)
    return [OutboxMessage(row[0], row[1], OutgoingMessage(*row[2:])) for row in cursor.fetchall()]


def delete(connection: psycopg.Connection, sent: Iterable[OutboxMessage]) -> None:
    """Delete messages that the broker has confirmed."""
    ids: list[int] = []
    retried_ids: list[int] = []
    for message in sent:
        (retried_ids if message.attempts_count else ids).append(message.id)
    if ids:
        connection.execute(_DELETE, (numbers(ids),))
    if retried_ids:
        connection.execute(_DELETE_UNDELIVERED, (numbers(retried_ids),))


def set_aside(
    connection: psycopg.Connection, failed: Sequence[tuple[OutboxMessage, str]], now: datetime
) -> None:
    """Keep messages that the broker would not take, each with its reason, for later attempts.

    The time between two attempts doubles, from 5 seconds up to 5 minutes.
    """
    new = [(message, reason) for message, reason in failed if not message.attempts_count]
    again = [(message, reason) for message, reason in failed if message.attempts_count]
    if new:
        ids, reasons = numbers(m.id for m, _ in new), [reason for _, reason in new]
        connection.execute(_SET_ASIDE, (ids, reasons, now + _pause(0)))
    if again:
        ids, reasons = numbers(m.id for m, _ in again), [reason for _, reason in again]
        next_attempts = moments(now + _pause(m.attempts_count) for m, _ in again)
        connection.execute(_POSTPONE, (ids, reasons, next_attempts))


def _pause(attempts_count: int) -> timedelta:
    seconds = RETRY_SECONDS_MIN * 2 ** min(attempts_count, 10)
    return timedelta(seconds=min(seconds, RETRY_SECONDS_MAX))
