"""Messages that wait for an operator, and those of other shards until they are sent on."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from swpt_accounts.store.transaction import Transaction


class Kind(StrEnum):
    """Why a message is parked."""

    MISROUTED = "misrouted"
    """It is another shard's, and will be sent on."""
    CAME_BACK = "came_back"
    """It is another shard's, was sent on, and came again. While there is one, none is sent on."""
    FAILED = "failed"
    """It alone could not be applied."""
    DEAD_LETTER = "dead_letter"
    """It cannot be applied, and the stream of dead letters would not take it."""


class Parked(msgspec.Struct, frozen=True):
    """A message to be parked. Of a dead letter, `queue` and `properties` say where it belongs."""

    kind: Kind
    reason: str
    debtor_id: int | None
    creditor_id: int | None
    message_type: str | None
    body_sha256: bytes
    body: bytes
    queue: str | None = None
    properties: bytes | None = None


class ParkedMessage(msgspec.Struct, frozen=True):
    """A parked message, with its number."""

    id: int
    parked_at: datetime
    message: Parked


_COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(Parked))
_COLUMN_LIST: Final = ", ".join(_COLUMNS)
_TYPES: Final = ("text", "text", "bigint", "bigint", "text", "bytea", "bytea", "text", "bytea")
_ARRAYS: Final = ", ".join(f"%s::{type_}[]" for type_ in _TYPES)
_SELECT: Final = f"SELECT id, parked_at, {_COLUMN_LIST} FROM parked_message"

_INSERT: Final = f"""
    INSERT INTO parked_message ({_COLUMN_LIST}, parked_at) SELECT *, %s FROM unnest({_ARRAYS})
    ON CONFLICT DO NOTHING
"""
_COUNT: Final = "SELECT kind, count(*) FROM parked_message GROUP BY kind"
_EXISTS: Final = "SELECT EXISTS (SELECT FROM parked_message WHERE kind = %s)"
_LIST: Final = f"{_SELECT} WHERE id > %s ORDER BY id LIMIT %s"
_TAKE_KIND: Final = f"""
    {_SELECT} WHERE kind = %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""
_TAKE_IDS: Final = f"{_SELECT} WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE"
_READ_KIND: Final = f"{_SELECT} WHERE kind = %s ORDER BY id LIMIT %s"
_DELETE: Final = "DELETE FROM parked_message WHERE id = ANY(%s::bigint[])"


def insert(transaction: Transaction, parked: Collection[Parked], now: datetime) -> None:
    """Park messages; a second copy of one joins the first, except among dead letters."""
    if parked:
        columns = zip(*map(_values, parked), strict=True)
        transaction.execute(_INSERT, (now, *map(list, columns)))


def count_by_kind(transaction: Transaction) -> dict[Kind, int]:
    """Return how many messages of each kind there are."""
    return {Kind(kind): count for kind, count in transaction.fetch(_COUNT, ())}


def exists(transaction: Transaction, kind: Kind) -> bool:
    """Tell whether there is a message of the kind."""
    [(answer,)] = transaction.fetch(_EXISTS, (kind.value,))
    return bool(answer)


def read_page(transaction: Transaction, after_id: int, count_max: int) -> list[ParkedMessage]:
    """Return messages that follow the number, in the order of their numbers."""
    return _read(transaction.fetch(_LIST, (after_id, count_max)))


def read_kind(transaction: Transaction, kind: Kind, count_max: int) -> list[ParkedMessage]:
    """Return the oldest messages of a kind."""
    return _read(transaction.fetch(_READ_KIND, (kind.value, count_max)))


def take_kind(transaction: Transaction, kind: Kind, count_max: int) -> list[ParkedMessage]:
    """Return the oldest messages of a kind, locked."""
    return _read(transaction.fetch(_TAKE_KIND, (kind.value, count_max)))


def take(transaction: Transaction, ids: Sequence[int]) -> list[ParkedMessage]:
    """Return the messages with these numbers, locked; those that do not exist are left out."""
    return _read(transaction.fetch(_TAKE_IDS, (list(ids),)))


def delete(transaction: Transaction, ids: Sequence[int]) -> None:
    """Forget messages."""
    if ids:
        transaction.execute(_DELETE, (list(ids),))


def _values(message: Parked) -> list[Any]:
    return [message.kind.value, *msgspec.structs.astuple(message)[1:]]


def _read(rows: list[tuple[Any, ...]]) -> list[ParkedMessage]:
    return [ParkedMessage(row[0], row[1], Parked(Kind(row[2]), *row[3:])) for row in rows]
