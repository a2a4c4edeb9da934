"""The outbox: append, wake those who send, take a page, delete what was confirmed."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from swpt_accounts.protocol.outgoing import OutgoingMessage
from swpt_accounts.store.arrays import numbers
from swpt_accounts.store.transaction import Database, Transaction

CHANNEL: Final = "outbox"
"""Notified after a transaction that has appended to the outbox, if somebody sleeps."""

MESSAGE_COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(OutgoingMessage))

_SLEEP_LOCK: Final = 0x53_57_50_03_00_00_00_00
"""Held, shared, by each flusher that is about to sleep, or sleeps."""

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
_COLUMN_LIST: Final = ", ".join(MESSAGE_COLUMNS)

_SHORT_BYTES: Final = 4096
"""Bodies of up to so many bytes come with their rows, others one by one: how much memory they
take is known only then."""

READ_COLUMNS: Final = ", ".join(
    f"CASE WHEN octet_length(body) <= {_SHORT_BYTES} THEN body END" if name == "body" else name
    for name in MESSAGE_COLUMNS
)
"""What `read` needs of a message."""

_COPY: Final = f"COPY outbox ({_COLUMN_LIST}, inserted_at) FROM STDIN (FORMAT BINARY)"
_WAKE: Final = "SELECT pg_notify(%s, '') WHERE NOT pg_try_advisory_xact_lock(%s)"
_FALL_ASLEEP: Final = "SELECT pg_advisory_lock_shared(%s)"
_WAKE_UP: Final = "SELECT pg_advisory_unlock_shared(%s)"
_TAKE_PAGE: Final = f"""
    SELECT id, false, {READ_COLUMNS} FROM outbox
    WHERE lane = ANY(%s) AND id NOT IN (SELECT unnest(%s::bigint[]))
    ORDER BY id LIMIT %s
"""
_BODY: Final = "SELECT body FROM outbox WHERE id = %s"
_DELETE: Final = "DELETE FROM outbox WHERE id = ANY(%s::bigint[])"


class OutboxMessage(msgspec.Struct, frozen=True, gc=False):
    """A message read from the outbox, or from those set aside."""

    id: int
    is_set_aside: bool
    message: OutgoingMessage


def append(transaction: Transaction, messages: Iterable[OutgoingMessage], now: datetime) -> None:
    """Add messages to the outbox. Nobody is told: see `wake_flushers`."""
    rows = [(*msgspec.structs.astuple(message), now) for message in messages]
    if rows:
        transaction.copy(_COPY, _COLUMN_TYPES, rows)


def wake_flushers(database: Database) -> None:
    """Wake the flushers that sleep; to be called after the commit of what they are to send.

    A notification holds up all commits of the server while its own is written
    to disk. So it has a transaction of its own, and is sent only when a flusher
    has said that it is about to sleep. One that says so later looks once more
    before it does. Raises `DatabaseUnavailable`; the flushers then find out by
    themselves, half a second later.
    """
    database.execute(_WAKE, (CHANNEL, _SLEEP_LOCK))


def listen(connection: psycopg.Connection) -> None:
    """Have the connection told by `wake_flushers`, while it has said that it sleeps."""
    connection.execute(f"LISTEN {CHANNEL}")


def fall_asleep(connection: psycopg.Connection) -> None:
    """Say that this session is about to sleep: it must look once more after this."""
    connection.execute(_FALL_ASLEEP, (_SLEEP_LOCK,))


def wake_up(connection: psycopg.Connection) -> None:
    """Say that this session need not be told of new messages for now."""
    connection.execute(_WAKE_UP, (_SLEEP_LOCK,))


def take_page(
    connection: psycopg.Connection,
    lanes: Collection[int],
    *,
    count_max: int,
    bytes_max: int,
    taken_ids: Iterable[int] = (),
) -> list[OutboxMessage]:
    """Return the oldest messages in the lanes. They stay in the outbox.

    At most `count_max` of them, and no more once long bodies among them come to
    `bytes_max` bytes, so that a page may be too long by its last message. Those
    taken before and not deleted yet are left out. (Going on after the greatest
    of their ids would not do: ids are not committed in their order.)
    """
    parameters = (list(lanes), numbers(taken_ids), count_max)
    return read(connection, _TAKE_PAGE, parameters, _BODY, bytes_max)


def read(
    connection: psycopg.Connection,
    statement: str,
    parameters: Sequence[Any],
    body_statement: str,
    bytes_max: int,
) -> list[OutboxMessage]:
    """Return the messages that a statement selects, which begins as `_TAKE_PAGE` does.

    Bodies that are too long to come with them are read by another statement,
    until these have `bytes_max` bytes; what follows then is left out.
    """
    cursor = connection.execute(statement, parameters, binary=True)
    page = [OutboxMessage(row[0], row[1], OutgoingMessage(*row[2:])) for row in cursor.fetchall()]
    size = 0
    for place, row in enumerate(page):
        if row.message.body is not None:
            continue
        if size >= bytes_max:
            return page[:place]
        [(body,)] = connection.execute(body_statement, (row.id,), binary=True)
        size += len(body)
        message = msgspec.structs.replace(row.message, body=body)
        page[place] = OutboxMessage(row.id, row.is_set_aside, message)
    return page


def delete(connection: psycopg.Connection, ids: Collection[int]) -> None:
    """Delete messages that the broker has confirmed."""
    if ids:
        connection.execute(_DELETE, (numbers(ids),))
