"""Messages set aside: by destination, until the destination takes messages again."""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

import psycopg

from swpt_accounts.store.arrays import numbers
from swpt_accounts.store.outbox import MESSAGE_COLUMNS, READ_COLUMNS, OutboxMessage, read

ATTEMPTS_OF_UNTRIED: Final = 1
"""`attempts_count` of a message that may only have been set aside in the company of others."""

_ATTEMPTS_MAX: Final = 2_147_483_647
_NAMED_AT_ONCE: Final = 1000
_NAMING_SECONDS: Final = 1.0

_NEXT_ATTEMPT: Final = timedelta(minutes=5)
"""Keeps flushers of the version before, which try by time, from trying too often."""

_COLUMN_LIST: Final = ", ".join(MESSAGE_COLUMNS)
_SET_ASIDE: Final = f"""
    WITH removed AS (
        DELETE FROM outbox WHERE id = ANY(%s::bigint[]) RETURNING *
    ),
    new AS MATERIALIZED (
        SELECT r.*, CASE
            WHEN u.id IS NULL THEN r.id
            ELSE nextval(pg_get_serial_sequence('outbox', 'id'))
        END AS new_id
        FROM removed AS r LEFT JOIN undelivered_message AS u ON u.id = r.id
        WHERE u.id IS NULL OR (u.message_type, u.routing_key, u.body)
            <> (r.message_type, r.routing_key, r.body)
    ),
    inserted AS (
        INSERT INTO undelivered_message
            (id, {_COLUMN_LIST}, inserted_at, destination, reason, attempts_count, next_attempt_at)
        SELECT new_id, {_COLUMN_LIST}, inserted_at, %s, %s, %s, %s FROM new
    )
    SELECT id, new_id FROM new WHERE new_id <> id
"""
_NOTE_FAILURE: Final = """
    UPDATE undelivered_message
    SET destination = %s, reason = %s, attempts_count = attempts_count + 1, next_attempt_at = %s
    WHERE id = ANY(%s::bigint[])
"""
_DELETE: Final = "DELETE FROM undelivered_message WHERE id = ANY(%s::bigint[])"
_DELETE_SAME: Final = """
    DELETE FROM undelivered_message AS u
    USING unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[])
        AS sent (id, message_type, routing_key, body)
    WHERE u.id = sent.id AND (u.message_type, u.routing_key, u.body)
        = (sent.message_type, sent.routing_key, sent.body)
"""
_DESTINATIONS: Final = """
    SELECT DISTINCT found.destination
    FROM unnest(%s::int[]) AS held (lane) CROSS JOIN LATERAL (
        WITH RECURSIVE next AS (
            (
                SELECT u.destination FROM undelivered_message AS u
                WHERE u.lane = held.lane AND u.destination IS NOT NULL
                ORDER BY u.destination LIMIT 1
            )
            UNION ALL
            SELECT (
                SELECT u.destination FROM undelivered_message AS u
                WHERE u.lane = held.lane AND u.destination > next.destination
                ORDER BY u.destination LIMIT 1
            )
            FROM next WHERE next.destination IS NOT NULL
        )
        SELECT destination FROM next WHERE destination IS NOT NULL
    ) AS found
"""
_COUNTS: Final = """
    SELECT destination, count(*) FROM undelivered_message
    WHERE lane = ANY(%s) AND destination = ANY(%s)
    GROUP BY destination
"""
_TAKE: Final = f"""
    SELECT first.* FROM unnest(%s::int[]) AS held (lane) CROSS JOIN LATERAL (
        SELECT id, true, {READ_COLUMNS} FROM undelivered_message AS u
        WHERE u.lane = held.lane AND u.destination = %s AND u.attempts_count <= %s
            AND u.id NOT IN (SELECT unnest(%s::bigint[]))
        ORDER BY u.attempts_count, u.id LIMIT %s
    ) AS first
    LIMIT %s
"""
_BODY: Final = "SELECT body FROM undelivered_message WHERE id = %s"
_SAMPLES: Final = f"""
    SELECT sample.*
    FROM unnest(%s::text[]) AS chosen (destination)
    CROSS JOIN (
        VALUES (0, {ATTEMPTS_OF_UNTRIED}), ({ATTEMPTS_OF_UNTRIED + 1}, {_ATTEMPTS_MAX})
    ) AS kind (attempts_min, attempts_max)
    CROSS JOIN LATERAL (
        SELECT u.id, true, {READ_COLUMNS}
        FROM unnest(%s::int[]) AS held (held_lane) CROSS JOIN LATERAL (
            SELECT * FROM undelivered_message
            WHERE undelivered_message.lane = held.held_lane
                AND undelivered_message.destination = chosen.destination
                AND undelivered_message.attempts_count
                    BETWEEN kind.attempts_min AND kind.attempts_max
            ORDER BY undelivered_message.attempts_count, undelivered_message.id LIMIT 1
        ) AS u
        ORDER BY u.attempts_count, u.id LIMIT 1
    ) AS sample
"""
_NAMELESS: Final = """
    SELECT id, exchange, routing_key, coordinator_type FROM undelivered_message
    WHERE lane = ANY(%s) AND destination IS NULL
    LIMIT %s
"""
_NAME: Final = """
    UPDATE undelivered_message AS u SET destination = named.destination
    FROM unnest(%s::bigint[], %s::text[]) AS named (id, destination)
    WHERE u.id = named.id
"""


def set_aside(
    connection: psycopg.Connection,
    ids: Collection[int],
    destination: str,
    reason: str,
    now: datetime,
    *,
    is_tried: bool,
) -> dict[int, int]:
    """Move messages of one destination out of the outbox, with the reason.

    `is_tried` tells whether the broker would not take these very messages. One
    that was set aside before only leaves the outbox. One whose id belongs to
    another message set aside, which should never happen, gets a new id; these
    are returned, by the old ones.
    """
    attempts_count = ATTEMPTS_OF_UNTRIED + is_tried
    parameters = (numbers(ids), destination, reason, attempts_count, now + _NEXT_ATTEMPT)
    return dict(connection.execute(_SET_ASIDE, parameters).fetchall())


def note_failure(
    connection: psycopg.Connection,
    ids: Collection[int],
    destination: str,
    reason: str,
    now: datetime,
) -> None:
    """Take note that messages set aside before were tried in vain once more."""
    connection.execute(_NOTE_FAILURE, (destination, reason, now + _NEXT_ATTEMPT, numbers(ids)))


def delete(connection: psycopg.Connection, ids: Collection[int]) -> None:
    """Delete messages read from here that the broker has confirmed after all."""
    if ids:
        connection.execute(_DELETE, (numbers(ids),))


def delete_late(connection: psycopg.Connection, rows: Collection[OutboxMessage]) -> None:
    """Delete messages that were confirmed after they had been set aside.

    Another message that has the id of one of them stays.
    """
    messages = [row.message for row in rows]
    parameters = (
        numbers(row.id for row in rows),
        [message.message_type for message in messages],
        [message.routing_key for message in messages],
        [message.body for message in messages],
    )
    connection.execute(_DELETE_SAME, parameters)


def destinations(
    connection: psycopg.Connection,
    lanes: Collection[int],
    name: Callable[[str, str, str | None], str],
) -> set[str]:
    """Return the destinations of all that is set aside in the lanes: one look-up for each.

    `name` makes a destination of exchange, routing key and coordinator type;
    the version before has set messages aside without it.
    """
    _name_the_nameless(connection, lanes, name)
    return {row[0] for row in connection.execute(_DESTINATIONS, (list(lanes),))}


def counts(
    connection: psycopg.Connection, lanes: Collection[int], destinations: Collection[str]
) -> dict[str, int]:
    """Return how many messages are set aside for each destination. Reads all of them."""
    cursor = connection.execute(_COUNTS, (list(lanes), list(destinations)))
    return dict(cursor.fetchall())


def take(
    connection: psycopg.Connection,
    lanes: Collection[int],
    destination: str,
    *,
    with_tried: bool,
    count_max: int,
    bytes_max: int,
    taken_ids: Iterable[int] = (),
) -> list[OutboxMessage]:
    """Return messages of a destination, as `outbox.take_page` does.

    First those that were set aside in the company of others; those that the
    broker itself would not take only if `with_tried`.
    """
    attempts_max = _ATTEMPTS_MAX if with_tried else ATTEMPTS_OF_UNTRIED
    taken = numbers(taken_ids)
    parameters = (list(lanes), destination, attempts_max, taken, count_max, count_max)
    return read(connection, _TAKE, parameters, _BODY, bytes_max)


def samples(
    connection: psycopg.Connection,
    lanes: Collection[int],
    destinations: Collection[str],
    *,
    bytes_max: int,
) -> list[OutboxMessage]:
    """Return one or two messages of each destination, by which to find out whether it is well.

    They are the first one of those that were set aside in the company of
    others, and of those that the broker would not take, the one that was tried least.
    """
    parameters = (list(destinations), list(lanes))
    return read(connection, _SAMPLES, parameters, _BODY, bytes_max)


def _name_the_nameless(
    connection: psycopg.Connection,
    lanes: Collection[int],
    name: Callable[[str, str, str | None], str],
) -> None:
    deadline = time.monotonic() + _NAMING_SECONDS
    is_more = True
    while is_more and time.monotonic() < deadline:
        nameless = connection.execute(_NAMELESS, (list(lanes), _NAMED_AT_ONCE)).fetchall()
        if nameless:
            names = [name(*row[1:]) for row in nameless]
            connection.execute(_NAME, (numbers(row[0] for row in nameless), names))
        is_more = len(nameless) == _NAMED_AT_ONCE
