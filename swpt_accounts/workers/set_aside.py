"""Sets messages aside, many at once, and tells the first time that a destination takes nothing."""

import logging
from collections.abc import Callable
from datetime import datetime

import psycopg

from swpt_accounts.store import undelivered
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.destinations import Destination

logger = logging.getLogger(__name__)


class SetAside:
    """What is to be set aside, until `flush`."""

    def __init__(self, connection: psycopg.Connection, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._clock = clock
        self._rows: dict[tuple[Destination, str, bool], list[OutboxMessage]] = {}

    def add(
        self, row: OutboxMessage, destination: Destination, reason: str, *, is_tried: bool = False
    ) -> None:
        """Set a message aside; `is_tried` tells whether the broker would not take this very one."""
        self._rows.setdefault((destination, reason, is_tried), []).append(row)

    def flush(self) -> None:
        """Write down what was added, and say what is new about it."""
        if not self._rows:
            return
        now = self._clock()
        rows_by_group, self._rows = self._rows, {}
        told: dict[Destination, tuple[list[OutboxMessage], str]] = {}
        for (destination, reason, is_tried), rows in rows_by_group.items():
            new_ids = [row.id for row in rows if not row.is_set_aside]
            old_ids = [row.id for row in rows if row.is_set_aside]
            if new_ids:
                renamed = undelivered.set_aside(
                    self._connection, new_ids, destination.name, reason, now, is_tried=is_tried
                )
                if renamed:
                    _tell_of_renamed(renamed)
            if old_ids and is_tried:
                undelivered.note_failure(self._connection, old_ids, destination.name, reason, now)
            if not destination.is_told:
                told.setdefault(destination, ([], reason))[0].extend(rows)
            if is_tried and not destination.is_sick and new_ids:
                _tell_of_single(rows, reason)
        for destination, (rows, reason) in told.items():
            if destination.is_sick or destination.is_slow:
                destination.is_told = True
                _tell(destination, rows, reason)


def _tell(destination: Destination, rows: list[OutboxMessage], reason: str) -> None:
    message = rows[0].message
    logger.error(
        "The destination %s takes %s: what is for it is set aside until it does, %d messages so"
        " far. The first is a %s to exchange %s with routing key %s: %s",
        destination.name,
        "nothing" if destination.is_sick else "messages too slowly",
        len(rows),
        message.message_type,
        message.exchange,
        message.routing_key,
        reason,
    )


def _tell_of_renamed(renamed: dict[int, int]) -> None:
    logger.error(
        "%d messages in the outbox had the ids of other messages that were set aside, which must"
        " never happen: have ids come again after a restore? Nothing is lost, they got new ids."
        " (The first had the id %d, and has %d now.)",
        len(renamed),
        *next(iter(renamed.items())),
    )


def _tell_of_single(rows: list[OutboxMessage], reason: str) -> None:
    message = rows[0].message
    logger.error(
        "%d messages are set aside, for their own sake. The first is a %s to exchange %s with"
        " routing key %s: %s",
        len(rows),
        message.message_type,
        message.exchange,
        message.routing_key,
        reason,
    )
