"""A flusher's sleep, from which those who write to the outbox wake it."""

import psycopg

from swpt_accounts.store import outbox


class Sleeping:
    """Tells others when this flusher sleeps, so that they wake it only then."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._is_said = False
        self._has_found = False
        outbox.listen(connection)

    def found(self) -> None:
        """Take note that there was something to send, so that it is not the time to sleep.

        While it is only now and then, others go on to wake this one, which costs
        less than to say it each time.
        """
        if self._has_found and self._is_said:
            outbox.wake_up(self._connection)
            self._is_said = False
        self._has_found = True

    def sleep(self, seconds: float) -> None:
        """Wait until somebody writes to the outbox, or for so long.

        The first time it only says that it will: what was written before that must be looked for.
        """
        self._has_found = False
        if not self._is_said:
            outbox.fall_asleep(self._connection)
            self._is_said = True
            return
        for _ in self._connection.notifies(timeout=seconds, stop_after=1):
            pass
