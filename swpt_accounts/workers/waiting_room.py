"""Where messages wait that can be neither applied nor refused yet, and when they are called."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from swpt_accounts.protocol.sharding import Groups
from swpt_accounts.store import waiting
from swpt_accounts.store.transaction import Database
from swpt_accounts.store.waiting import WaitingMessage

LOOK_SECONDS: Final = 0.5
"""So often it is looked whether a message's time has come."""

TAKEN_MAX: Final = 250
"""So many are taken for their time, and as many of shards that answer again."""


class Silence(Protocol):
    """Knows which groups of accounts belong to shards that give no answer."""

    @property
    def groups(self) -> Groups:
        """How accounts are put into groups."""

    def is_silent(self, group: int) -> bool:
        """Tell whether nothing can be found out about the accounts of the group now."""


class WaitingRoom:
    """Takes waiting messages, in one process for each database. Belongs to one thread.

    It must be looked at more often than the session may be idle: whoever holds
    the claim and does nothing loses it.
    """

    def __init__(
        self,
        database: Database,
        silence: Silence,
        clock: Callable[[], datetime],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`database` is the one by which the messages are applied: its session has the claim."""
        self._database = database
        self._silence = silence
        self._clock = clock
        self._seconds = seconds
        self._next_look = seconds()
        self._is_claimed = False
        self._is_occupied = True
        self._last_taken: list[WaitingMessage] = []

    @property
    def is_due(self) -> bool:
        """Tell whether it is time to look."""
        return self._seconds() >= self._next_look

    @property
    def is_occupied(self) -> bool:
        """Tell whether any message waited, whoever takes it, when this process last looked."""
        return self._is_occupied

    def note_written(self) -> None:
        """Take note that this process has written messages down."""
        self._is_occupied = True

    @property
    def is_claimed(self) -> bool:
        """Tell whether this process was the one that takes messages, when it last looked."""
        return self._is_claimed

    def take(self) -> list[WaitingMessage]:
        """Return messages that are to be tried now. They stay where they are."""
        self._next_look = self._seconds() + LOOK_SECONDS
        bits = self._silence.groups.bits
        with self._database.transaction() as transaction:
            self._is_claimed = waiting.claim(transaction)
            self._is_occupied = waiting.exists(transaction)
            if not (self._is_claimed and self._is_occupied):
                return []
            groups = waiting.awaited_groups(transaction, bits)
            answering = [group for group in groups if not self._silence.is_silent(group)]
            messages = waiting.take(transaction, answering, bits, TAKEN_MAX, self._clock())
        if len(messages) >= TAKEN_MAX and messages != self._last_taken:
            # There may be more, and the next batch need not wait for them.
            self._next_look = self._seconds()
        self._last_taken = messages
        return messages
