"""What all scans have in common: one for each database, stopped by clocks that are in doubt."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
import psycopg

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.store import scans
from swpt_accounts.store.clock import TimeUncertain, require_agreement
from swpt_accounts.store.connection import HOLDS_LOCKS, IDLE_SECONDS_MAX, connect
from swpt_accounts.store.transaction import (
    Conflict,
    DatabaseUnavailable,
    Transaction,
    translated_errors,
)
from swpt_accounts.workers.backoff import Backoff
from swpt_accounts.workers.chore_sender import ChoreSender
from swpt_accounts.workers.states import StateReport
from swpt_accounts.workers.stopping import Stopping

logger = logging.getLogger(__name__)

CLOCK_SKEW_MAX: Final = timedelta(minutes=1)
CLOCK_PAUSE_SECONDS: Final = 10.0
REST: Final = 0.7
"""How long to rest after a step, compared with the time that the step took. So the database is
left to others for much of the time, and for longer when it is slow."""

CLAIM_SECONDS: Final = 2.0
"""So often a second scan looks whether the first one is still there."""
CONGESTION_SECONDS: Final = 1.0

ABSENCE_MAX: Final = timedelta(days=90)
"""A scan that has not been at work for longer than this doubts the clock, and waits a while."""

ABSENCE_SECONDS: Final = 3600.0

TOUCH_SECONDS: Final = IDLE_SECONDS_MAX / 4
"""A scan that has nothing to ask asks for nothing so often, so as not to lose its claim."""

# A scan only remembers where it is: if that is lost, it looks at a page again. And
# no statement of a scan is worth a wait for a lock that somebody has forgotten.
_SESSION_OPTIONS: Final = (
    f"{HOLDS_LOCKS} -c synchronous_commit=off -c lock_timeout=5s -c statement_timeout=60s"
)
_ANSWER_SECONDS_MAX: Final = 65.0


class Session(msgspec.Struct, frozen=True):
    """What a step of a scan works with; the moment is the same for all of the step."""

    statements: Transaction
    chores: ChoreSender
    now: datetime


class Task(Protocol):
    """Something that a scan does again and again."""

    def begin(self, session: Session) -> None:
        """Find out where to go on: at the start, and after a server was lost."""

    def step(self, session: Session) -> float:
        """Do a bounded piece of work; return the seconds until the next piece is due."""

    @property
    def is_done(self) -> bool:
        """Tell whether everything has been looked at, at least once."""


class Scanner:
    """Runs the tasks of one scan, on a connection that nobody else has for this scan."""

    def __init__(
        self,
        name: str,
        number: int,
        tasks: Sequence[Task],
        *,
        postgres_url: str,
        make_publisher: Callable[[], Publisher],
        chores_queue: str,
        clock: Callable[[], datetime],
        quit_early: bool = False,
    ) -> None:
        """`number` tells the scan from others; `make_publisher` returns one not started yet.

        With `quit_early` the scan ends when every task has looked at everything once.
        """
        self._name = name
        self._number = number
        self._tasks = tasks
        self._postgres_url = postgres_url
        self._make_publisher = make_publisher
        self._chores_queue = chores_queue
        self._clock = clock
        self._quit_early = quit_early
        self._backoff = Backoff()
        self._started = time.monotonic()
        self._report = StateReport(logger)

    def run(self, stopping: Stopping) -> None:
        """Scan until stopping is requested."""
        while not stopping.requested:
            try:
                self._run(stopping)
            except TimeUncertain as error:
                self._report.trouble("clock", f"{self._name} has stopped: {error}", logging.ERROR)
                stopping.wait(CLOCK_PAUSE_SECONDS)
            except (BrokerLost, DatabaseUnavailable, Conflict) as error:
                self._report.trouble("servers", f"{self._name} is interrupted ({error})")
                stopping.wait(self._backoff.next_pause())
            else:
                return

    def _run(self, stopping: Stopping) -> None:
        publisher = self._make_publisher()
        try:
            with (
                translated_errors(),
                connect(
                    self._postgres_url,
                    application_name=self._name,
                    autocommit=True,
                    session_options=_SESSION_OPTIONS,
                    answer_seconds=_ANSWER_SECONDS_MAX,
                ) as connection,
            ):
                if self._await_claim(connection, stopping):
                    publisher.start()
                    statements = Transaction(connection.cursor())
                    self._work(statements, self._chore_sender(publisher, statements), stopping)
        finally:
            # A broker that is slow to say goodbye keeps nobody from the claim.
            publisher.stop()

    def _chore_sender(self, publisher: Publisher, statements: Transaction) -> ChoreSender:
        return ChoreSender(publisher, self._chores_queue, lambda: scans.touch(statements))

    def _await_claim(self, connection: psycopg.Connection, stopping: Stopping) -> bool:
        """Wait until no other process runs this scan; False when stopping."""
        while not stopping.requested:
            if scans.claim(connection, self._number):
                self._report.well("claim")
                return True
            self._report.well("servers")
            holder = scans.holder(connection, self._number)
            self._report.trouble(
                "claim",
                f"{self._name} waits: it is run already, by {holder}. There can be only one for a"
                " database.",
            )
            stopping.wait(CLAIM_SECONDS * random.uniform(0.5, 1.0))
        return False

    def _work(self, statements: Transaction, chores: ChoreSender, stopping: Stopping) -> None:
        self._require_presence(statements)
        for task in self._tasks:
            task.begin(self._session(statements, chores))
        logger.info("%s begins", self._name)
        due = [time.monotonic()] * len(self._tasks)
        while not (self._quit_early and all(task.is_done for task in self._tasks)):
            index = due.index(min(due))
            if _wait(due[index] - time.monotonic(), statements, stopping):
                return
            if not self._await_room(statements, chores, stopping):
                return
            began = time.monotonic()
            pause = self._tasks[index].step(self._session(statements, chores))
            ended = time.monotonic()
            due[index] = max(began + pause, ended + REST * (ended - began))
            self._backoff.reset()
            self._report.well("servers")

    def _require_presence(self, statements: Transaction) -> None:
        """Doubt a clock that says that nobody has been here for months.

        It may have been set wrong while the machine was off. Then everything
        would seem to be due.
        """
        last = scans.last_saved(statements, self._name)
        now = self._clock()
        waited = time.monotonic() - self._started
        if last is not None and now - last > ABSENCE_MAX and waited < ABSENCE_SECONDS:
            raise TimeUncertain(
                f"by the clock, which says {now.isoformat()}, it was last at work {now - last} ago."
                f" If that is wrong, set the clock right; if it is right, there is nothing to do:"
                f" the scan begins in {ABSENCE_SECONDS - waited:.0f} seconds"
            )

    def _await_room(self, statements: Transaction, chores: ChoreSender, stopping: Stopping) -> bool:
        """Wait until there are not too many chores in the queue; False when stopping."""
        while chores.is_congested:
            count = chores.waiting_count()
            self._report.trouble(
                "room", f"{self._name} waits: there are {count} chores in the queue already"
            )
            if _wait(CONGESTION_SECONDS, statements, stopping):
                return False
        self._report.well("room")
        return True

    def _session(self, statements: Transaction, chores: ChoreSender) -> Session:
        """Look at the clocks; raise `TimeUncertain` unless they can be believed."""
        now = require_agreement(statements, self._clock, CLOCK_SKEW_MAX)
        self._report.well("clock")
        return Session(statements, chores, now)


def _wait(seconds: float, statements: Transaction, stopping: Stopping) -> bool:
    """Wait so long, without falling silent; tell whether it is time to stop."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > TOUCH_SECONDS:
        if stopping.wait(TOUCH_SECONDS):
            return True
        scans.touch(statements)
    return stopping.wait(max(0.0, left))
