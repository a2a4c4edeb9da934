"""Walks a table from its first row to its last one, page by page, at an even pace."""

import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

import msgspec

from swpt_accounts.ledger.chores import Chore
from swpt_accounts.store import scans
from swpt_accounts.store.pages import Key
from swpt_accounts.store.scans import Progress
from swpt_accounts.workers.scanner import Session

logger = logging.getLogger(__name__)

PAGE_SIZE_MAX: Final = 1_000
BEAT_SECONDS: Final = 1.0
"""A page is as large as what this time is for, within limits."""

PACE_MIN: Final = 10.0
"""Rows per second. Slower, a table would have to be small, and looking at it costs nothing."""

PASS_SECONDS_MIN: Final = 0.001
"""A pass that may take no time at all is made as fast as can be."""

HASTE: Final = 1.1
"""A pass is done a bit early, rather than a bit late."""

JITTER: Final = 0.1
WORD_SECONDS: Final = 60.0
"""So often a pass tells how far it is; shorter passes only tell when something was due."""


class Look(msgspec.Struct, frozen=True):
    """What one page comes to: `chores` are due, `removed_count` rows are gone already."""

    last_key: Key
    rows_count: int
    chores: Sequence[Chore] = ()
    removed_count: int = 0


class Rows(Protocol):
    """The rows that a walk looks at."""

    @property
    def table(self) -> str:
        """The name of the table."""

    def look(self, session: Session, after: Key, count_max: int) -> Look:
        """Look at the rows that follow the key, at most `count_max`; fewer are the last ones."""


class Walk:
    """One pass after the other over some rows, each of which takes `pass_duration`."""

    def __init__(self, name: str, rows: Rows, pass_duration: timedelta) -> None:
        self._name = name
        self._rows = rows
        self._pass_seconds = max(pass_duration.total_seconds(), PASS_SECONDS_MIN)
        self._progress: Progress | None = None
        self._passes_count = 0
        self._expected_count = 0
        self._pass_began = 0.0
        self._last_word = 0.0
        self._found: Counter[str] = Counter()

    @property
    def is_done(self) -> bool:
        """Tell whether the last row has been seen."""
        return self._passes_count > 0

    def begin(self, session: Session) -> None:
        """Go on where the pass was interrupted."""
        self._progress = scans.load(session.statements, self._name, session.now)
        self._estimate(session)
        seen_count = self._progress.rows_count
        self._pass_began = time.monotonic() - seen_count / self._pace
        if seen_count:
            logger.info("%s goes on after %s rows", self._name, f"{seen_count:,}")

    def step(self, session: Session) -> float:
        """Look at one page; return the seconds until the next one is due."""
        progress = self._progress
        assert progress is not None, "the walk has not begun"
        if time.monotonic() - self._last_word >= WORD_SECONDS or not progress.position:
            self._estimate(session)
            self._tell(progress)
        count_max = max(1, min(PAGE_SIZE_MAX, round(self._pace * BEAT_SECONDS)))
        look = self._rows.look(session, progress.position, count_max)
        session.chores.send(look.chores)
        self._found.update(type(chore).__name__ for chore in look.chores)
        self._found.update({"removed": look.removed_count} if look.removed_count else {})
        progress.rows_count += look.rows_count
        if look.rows_count == count_max:
            progress.position = look.last_key
            pause = count_max / self._pace
        else:
            pause = self._end_pass(progress, session)
        scans.save(session.statements, self._name, progress, session.now)
        return pause * random.uniform(1 - JITTER, 1 + JITTER)

    @property
    def _pace(self) -> float:
        """How many rows to look at in a second."""
        return max(PACE_MIN, HASTE * self._expected_count / self._pass_seconds)

    def _estimate(self, session: Session) -> None:
        assert self._progress is not None, "the walk has not begun"
        estimate = scans.estimate_rows_count(session.statements, self._rows.table)
        self._expected_count = max(estimate, self._progress.previous_rows_count)

    def _tell(self, progress: Progress) -> None:
        self._last_word = time.monotonic()
        if progress.position:
            logger.info(
                "%s: %s of about %s rows, %.0f rows per second; due in this pass: %s",
                self._name,
                f"{progress.rows_count:,}",
                f"{max(self._expected_count, progress.rows_count):,}",
                self._pace,
                self._summary(),
            )

    def _end_pass(self, progress: Progress, session: Session) -> float:
        """Return how long to wait until the next pass begins."""
        now = time.monotonic()
        seconds = now - self._pass_began
        is_news = self._pass_seconds >= WORD_SECONDS or self._found.total() > 0
        logger.log(
            logging.INFO if is_news else logging.DEBUG,
            "%s: a pass over %s rows has taken %.1f seconds; due were: %s",
            self._name,
            f"{progress.rows_count:,}",
            seconds,
            self._summary(),
        )
        self._found.clear()
        self._passes_count += 1
        self._pass_began = max(now, self._pass_began + self._pass_seconds)
        progress.previous_rows_count = progress.rows_count
        progress.rows_count = 0
        progress.position = ()
        progress.began_at = session.now
        return self._pass_began - now

    def _summary(self) -> str:
        found = sorted(self._found.items())
        return ", ".join(f"{count:,} {what}" for what, count in found) or "nothing"
