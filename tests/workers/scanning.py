"""Scans put together as `wiring` does it, but with tasks that a test can watch."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import psycopg

from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.store import accounts
from swpt_accounts.store.transaction import Transaction
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers.scanner import Scanner, Session, Task
from tests import factories
from tests.factories import NOW
from tests.workers.waiting import SECONDS

NAME = "scan_accounts"
NUMBER = 1


class Steps:
    """A task that remembers its steps, and says that it is done after some of them."""

    def __init__(
        self,
        *,
        pause: float = 0.01,
        needed_count: int = 1,
        chores: Callable[[], Sequence[Chore]] = tuple,
    ) -> None:
        self.moments: list[datetime] = []
        self.begun_count = 0
        self._pause = pause
        self._needed_count = needed_count
        self._chores = chores

    def begin(self, _session: Session) -> None:
        self.begun_count += 1

    def step(self, session: Session) -> float:
        session.chores.send(self._chores())
        self.moments.append(session.now)
        return self._pause

    @property
    def is_done(self) -> bool:
        return len(self.moments) >= self._needed_count

    @property
    def count(self) -> int:
        return len(self.moments)


def make_scanner(
    postgres_url: str, broker_url: str, chores_queue: str, *tasks: Task, **options: Any
) -> Scanner:
    """A scan of accounts, unless it is given another name and number."""
    defaults = {"name": NAME, "number": NUMBER, "clock": utc_now}
    return Scanner(
        tasks=tasks,
        postgres_url=postgres_url,
        make_publisher=lambda: Publisher(broker_url, confirm_timeout_seconds=SECONDS),
        chores_queue=chores_queue,
        **{**defaults, **options},
    )


def scan_sessions(shard: psycopg.Connection, name: str = NAME) -> list[int]:
    """The ids of the server's processes that hold the lock of a scan, by the scan's name."""
    holders = shard.execute(
        "SELECT pid FROM pg_locks JOIN pg_stat_activity AS a USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND application_name = %s"
        " AND datname = current_database()",
        [name],
    )
    return [row[0] for row in holders]


def add_accounts(shard: psycopg.Connection, *rows: dict[str, Any]) -> None:
    """Add accounts with these fields, announced a moment ago unless they say something else."""
    announced = {"is_created": True, "last_update_sent_ts": NOW}
    made = [factories.account(**{**announced, **row}) for row in rows]
    with shard.transaction(), shard.cursor() as cursor:
        accounts.save(Transaction(cursor), sorted(made, key=lambda a: a.key), {})
