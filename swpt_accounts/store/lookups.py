"""The two questions about an account that other shards ask; a standby can answer them, too."""

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import psycopg
from psycopg import errors
from psycopg.types.numeric import Int8
from psycopg_pool import ConnectionPool, PoolTimeout

from swpt_accounts.ledger.values import CONFIG_SCHEDULED_FOR_DELETION, ROOT_CREDITOR_ID
from swpt_accounts.store.connection import conninfo
from swpt_accounts.store.transaction import Conflict, DatabaseUnavailable, translated_errors

_IS_REACHABLE: Final = f"""
SELECT 1 FROM account
WHERE debtor_id = %s AND creditor_id = %s
  AND NOT is_deleted AND config_flags & {CONFIG_SCHEDULED_FOR_DELETION} = 0
"""

# Deleted accounts have a configuration, too.
_CONFIG_DATA: Final = "SELECT config_data FROM account WHERE debtor_id = %s AND creditor_id = %s"

# Those who ask wait for some seconds at most, and a health check must not
# queue up behind them for longer than it waits itself.
_CONNECTION_TIMEOUT_SECONDS: Final = 2.0
_STATEMENT_TIMEOUT: Final = "SET statement_timeout = '4s'"
_WAITED_LONG_ENOUGH: Final = (PoolTimeout, errors.QueryCanceled)

# While the database is away, only now and then somebody has to wait in order
# to find out whether it is back.
_PAUSE_SECONDS: Final = 1.0

_logger = logging.getLogger(__name__)


class AccountLookups:
    """Answers from the table of accounts, through at most `connections_max` connections.

    May be used by many threads, and made before a fork: the first question
    opens the connections. Every method raises `DatabaseUnavailable` when there
    is no answer to be had now.
    """

    def __init__(
        self,
        postgres_url: str,
        *,
        connections_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conninfo = conninfo(postgres_url)
        self._connections_max = connections_max
        self._clock = clock
        self._lock = Lock()
        self._pool: ConnectionPool | None = None
        self._is_away = False
        self._away_until = float("-inf")

    def is_reachable(self, debtor_id: int, creditor_id: int) -> bool:
        """Tell whether the account accepts transfers; a root account always does."""
        if creditor_id == ROOT_CREDITOR_ID:
            return True
        return self._ask(_IS_REACHABLE, debtor_id, creditor_id) is not None

    def config_data(self, debtor_id: int, creditor_id: int) -> str | None:
        """Return the account's raw configuration, or None when there is no such account."""
        row = self._ask(_CONFIG_DATA, debtor_id, creditor_id)
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close all connections; the next question opens new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _ask(self, question: str, debtor_id: int, creditor_id: int) -> tuple[Any, ...] | None:
        if self._clock() < self._away_until:
            raise DatabaseUnavailable("The database was away a moment ago.")
        # A server that restarts breaks all connections at once. Each one that
        # turns out to be broken leaves the pool; after them comes a new one.
        attempts_left = 1 + self._connections_max
        while True:
            try:
                row = self._fetch(question, (Int8(debtor_id), Int8(creditor_id)))
            except (DatabaseUnavailable, Conflict) as error:
                attempts_left -= 1
                if not attempts_left or isinstance(error.__cause__, _WAITED_LONG_ENOUGH):
                    self._note_absence(error)
                    raise DatabaseUnavailable(str(error)) from error
            else:
                if self._is_away:
                    self._note_return()
                return row

    def _fetch(self, question: str, key: tuple[Int8, Int8]) -> tuple[Any, ...] | None:
        pool = self._pool or self._opened_pool()
        with translated_errors(), pool.connection() as connection:
            return connection.execute(question, key, prepare=True, binary=True).fetchone()

    def _note_absence(self, error: Exception) -> None:
        self._away_until = self._clock() + _PAUSE_SECONDS
        if not self._is_away:
            self._is_away = True
            _logger.error("The database is away, questions about accounts go unanswered: %s", error)

    def _note_return(self) -> None:
        self._is_away = False
        _logger.warning("The database is back, questions about accounts are answered again.")

    def _opened_pool(self) -> ConnectionPool:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._conninfo,
                    kwargs={"autocommit": True, "application_name": "swpt_accounts web"},
                    configure=_configure,
                    min_size=1,
                    max_size=self._connections_max,
                    timeout=_CONNECTION_TIMEOUT_SECONDS,
                    reconnect_timeout=_CONNECTION_TIMEOUT_SECONDS,
                    open=True,
                )
            return self._pool


def _configure(connection: psycopg.Connection) -> None:
    connection.execute(_STATEMENT_TIMEOUT)
