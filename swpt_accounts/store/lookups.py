"""The two questions about an account that other shards ask; a standby can answer them, too."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import psycopg
from psycopg import errors

from swpt_accounts.ledger.values import CONFIG_SCHEDULED_FOR_DELETION, ROOT_CREDITOR_ID, AccountKey
from swpt_accounts.store.arrays import numbers
from swpt_accounts.store.connection import LOOK_UPS_ONLY, AsyncConnection, conninfo
from swpt_accounts.store.transaction import Conflict, DatabaseUnavailable, translated_errors

# Each account is found by an index look-up of its own: see `store/accounts.py`.
_QUESTION: Final = """
    SELECT key.debtor_id, key.creditor_id, account.answer
    FROM unnest(%s::bigint[], %s::bigint[]) AS key (debtor_id, creditor_id)
    CROSS JOIN LATERAL (
        SELECT {answer} AS answer
        FROM account
        WHERE account.debtor_id = key.debtor_id AND account.creditor_id = key.creditor_id
        {condition}
        OFFSET 0
    ) account
"""
_IS_REACHABLE: Final = _QUESTION.format(
    answer="true",
    condition=f"AND NOT is_deleted AND config_flags & {CONFIG_SCHEDULED_FOR_DELETION} = 0",
)
# Deleted accounts have a configuration, too.
_CONFIG_DATA: Final = _QUESTION.format(answer="config_data", condition="")

_KEYS_MAX: Final = 500
"""So many accounts are looked up at once."""

# Those who ask wait for some seconds at most.
_CONNECT_SECONDS: Final = 2
_SESSION_OPTIONS: Final = f"{LOOK_UPS_ONLY} -c statement_timeout=4s"
_ANSWER_SECONDS: Final = 5.0

# While the database is away, only now and then somebody has to wait in order
# to find out whether it is back.
_PAUSE_SECONDS: Final = 1.0

_logger = logging.getLogger(__name__)

Asked = dict[AccountKey, asyncio.Future[Any]]
"""The accounts that a question is about, and where the answers go. Without an answer: None."""


class AccountLookups:
    """Answers from the table of accounts, through at most `connections_max` connections.

    What is asked while a query is under way is looked up by the next one, all
    at once. To be used in one event loop; may be made before that, and before
    a fork: the first question opens a connection. Every question raises
    `DatabaseUnavailable` when there is no answer to be had now.
    """

    def __init__(
        self,
        postgres_url: str,
        *,
        connections_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conninfo = conninfo(postgres_url, _SESSION_OPTIONS)
        self._connections_max = connections_max
        self._clock = clock
        self._asked: defaultdict[str, Asked] = defaultdict(dict)
        self._idle: list[psycopg.AsyncConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_work_count = 0
        self._is_away = False
        self._away_until = float("-inf")

    async def is_reachable(self, debtor_id: int, creditor_id: int) -> bool:
        """Tell whether the account accepts transfers; a root account always does."""
        if creditor_id == ROOT_CREDITOR_ID:
            return True
        return await self._ask(_IS_REACHABLE, (debtor_id, creditor_id)) is not None

    async def config_data(self, debtor_id: int, creditor_id: int) -> str | None:
        """Return the account's raw configuration, or None when there is no such account."""
        answer: str | None = await self._ask(_CONFIG_DATA, (debtor_id, creditor_id))
        return answer

    async def close(self) -> None:
        """Close all connections, after the last answer; the next question opens new ones."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._close_idle()

    async def _ask(self, question: str, key: AccountKey) -> Any:
        if self._clock() < self._away_until:
            raise DatabaseUnavailable("The database was away a moment ago.")
        asked = self._asked[question]
        future = asked.get(key)
        if future is None:
            future = asked[key] = asyncio.get_running_loop().create_future()
            if self._at_work_count < self._connections_max:
                self._at_work_count += 1
                task = asyncio.create_task(self._answer_all())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        # Somebody else may wait for the same answer: whoever leaves, leaves alone.
        return await asyncio.shield(future)

    async def _answer_all(self) -> None:
        """Answer until nothing is left that somebody has asked."""
        try:
            while batch := self._next_batch():
                await self._answer(*batch)
        finally:
            # At once, not a moment later: a question that finds all at work starts nobody.
            self._at_work_count -= 1

    async def _answer(self, question: str, asked: Asked) -> None:
        try:
            found = await self._find(question, list(asked))
        except BaseException as error:
            for future in asked.values():
                _refuse(future, error)
            if not isinstance(error, DatabaseUnavailable | Conflict):
                raise
            self._note_absence(error)
        else:
            self._note_presence()
            for key, future in asked.items():
                if not future.done():
                    future.set_result(found.get(key))

    def _next_batch(self) -> tuple[str, Asked] | None:
        for question, asked in self._asked.items():
            if asked:
                keys = list(islice(asked, _KEYS_MAX))
                return question, {key: asked.pop(key) for key in keys}
        return None

    async def _find(self, question: str, keys: list[AccountKey]) -> dict[AccountKey, Any]:
        if self._idle:
            try:
                return await self._find_through(self._idle.pop(), question, keys)
            except (DatabaseUnavailable, Conflict) as error:
                if isinstance(error.__cause__, errors.QueryCanceled):
                    raise
                # A server that restarts breaks all connections at once.
                await self._close_idle()
        with translated_errors():
            connection = await AsyncConnection.connect(
                self._conninfo,
                autocommit=True,
                application_name="swpt_accounts web",
                connect_timeout=_CONNECT_SECONDS,
            )
        connection.answer_seconds = _ANSWER_SECONDS
        return await self._find_through(connection, question, keys)

    async def _find_through(
        self, connection: psycopg.AsyncConnection, question: str, keys: list[AccountKey]
    ) -> dict[AccountKey, Any]:
        debtor_ids, creditor_ids = zip(*keys, strict=True)
        parameters = numbers(debtor_ids), numbers(creditor_ids)
        try:
            with translated_errors():
                cursor = await connection.execute(
                    question.encode(), parameters, prepare=True, binary=True
                )
                rows = await cursor.fetchall()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return {(row[0], row[1]): row[2] for row in rows}

    async def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    def _note_absence(self, error: Exception) -> None:
        self._away_until = self._clock() + _PAUSE_SECONDS
        if not self._is_away:
            self._is_away = True
            _logger.error("The database is away, questions about accounts go unanswered: %s", error)

    def _note_presence(self) -> None:
        if self._is_away:
            self._is_away = False
            _logger.warning("The database is back, questions about accounts are answered again.")


def _refuse(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(DatabaseUnavailable(str(error)))
        # When nobody waits for it any more, that is no reason to complain.
        future.exception()
