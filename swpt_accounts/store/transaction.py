"""Begin, commit, roll back; and what a driver's error means for the batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors

from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect


class DatabaseUnavailable(Exception):
    """The database cannot do its work now, whatever it is asked: pause, and come back."""


class Conflict(Exception):
    """Another process was faster (a deadlock, a row inserted twice): try the batch again."""


class Blocked(DatabaseUnavailable):
    """Somebody has kept a lock for longer than it is waited for; all else is fine."""


class StoreDefect(Exception):
    """What was written is not what had to be written: a defect of this program, not of a message.

    Nothing of it is committed.
    """


BATCH_SESSION: Final = f"{LOOK_UPS_ONLY} -c lock_timeout=1s -c statement_timeout=10s"
"""For sessions that apply batches: whoever holds a row must not stop those who don't need it, and
a process that is frozen in the middle of a statement must let go. (A commit is no statement that
times out: PostgreSQL stops that clock before it commits.)"""


class Transaction:
    """The statements of one transaction. Made by `Database.transaction`."""

    def __init__(self, cursor: psycopg.Cursor) -> None:
        self._cursor = cursor

    def fetch(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return self._cursor.execute(statement, parameters, binary=True).fetchall()

    def execute(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run a statement and return how many rows it has touched."""
        return self._cursor.execute(statement, parameters).rowcount

    def copy(self, statement: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Stream rows into a table with a `COPY ... FROM STDIN (FORMAT BINARY)`."""
        with self._cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


class Database:
    """One connection, opened when it is first needed, and again after it was lost."""

    def __init__(
        self, postgres_url: str, *, application_name: str, session_options: str = ""
    ) -> None:
        """`session_options` are added to those of every session that applies batches."""
        self._postgres_url = postgres_url
        self._application_name = application_name
        self._session_options = BATCH_SESSION + session_options
        self._connection: psycopg.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit when the block ends, roll back when it raises.

        Raises `DatabaseUnavailable`, `Conflict` and `Blocked`. A commit whose answer was
        lost is `DatabaseUnavailable` too: it may have happened, which is why
        every command may be applied again.
        """
        try:
            with translated_errors():
                connection = self._connected()
                with connection.transaction(), connection.cursor() as cursor:
                    yield Transaction(cursor)
        except Blocked:
            raise
        except DatabaseUnavailable:
            # A server that has become a standby answers, but not this one.
            self.close()
            raise

    def execute(self, statement: str, parameters: Sequence[Any]) -> None:
        """Run one statement in a transaction of its own; raises what `transaction` raises."""
        try:
            with translated_errors():
                self._connected().execute(statement, parameters)
        except DatabaseUnavailable:
            self.close()
            raise

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(
                self._postgres_url,
                application_name=self._application_name,
                autocommit=True,
                session_options=self._session_options,
            )
        return self._connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


# Only errors of these classes can be the fault of a message: data exceptions
# and violated constraints. Everything else (a full disk, a server that shuts
# down, a standby, a missing table) would hit every message alike.
_FAULTS_OF_DATA = (psycopg.DataError, psycopg.IntegrityError)
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)


def may_be_a_messages_fault(error: Exception) -> bool:
    """Tell whether the database has refused a row for what was to be written there."""
    return isinstance(error, _FAULTS_OF_DATA)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate a driver's errors; those that a message may be guilty of pass through."""
    try:
        yield
    except _CONFLICTS as error:
        raise Conflict(_text(error)) from error
    except errors.LockNotAvailable as error:
        raise Blocked(_text(error)) from error
    except _FAULTS_OF_DATA:
        raise
    except psycopg.Error as error:
        raise DatabaseUnavailable(_text(error)) from error


def _text(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip() or type(error).__name__
