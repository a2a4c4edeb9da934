"""Applies a batch in one transaction; when that fails, finds out whose fault it is.

Nobody pays for another's trouble: what needs a row that somebody keeps locked
waits, what fails alone steps aside, and the rest is applied.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.journal import BooksDoNotBalance
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import Blocked, Conflict, DatabaseUnavailable, StoreDefect
from swpt_accounts.store.waiting import WaitingKey
from swpt_accounts.workers.held_rows import HeldRows
from swpt_accounts.workers.ledger_batch import Aside, LedgerBatch, TakenByOthers
from swpt_accounts.workers.settled import Received, Settled

logger = logging.getLogger(__name__)

FAILURES_IN_ROW_MAX: Final = 10
"""So many commands one after the other that would unbalance the books, and it is our own defect."""

_NAMED_MAX: Final = 5


class Fallback(Protocol):
    """What becomes of a message that is not applied. Nothing here writes to the database itself."""

    @property
    def is_pending(self) -> bool:
        """Tell whether something has to be written."""

    def wait(self, received: Received, reason: str) -> None:
        """The message is to be tried again later."""

    def fail(self, received: Received, reason: str) -> None:
        """The message alone would unbalance the books."""

    def refuse(self, received: Received, reason: str) -> None:
        """The message alone cannot be applied."""

    def aside(self, applied: Sequence[Received]) -> Aside:
        """Return what the transaction that applies some messages has to write."""

    def written(self) -> None:
        """Take note that what `aside` has returned is written."""

    def forget(self, keys: Collection[WaitingKey]) -> None:
        """Leave out waiting messages that another process has taken."""


class Isolation:
    """Applies the batches of one process."""

    def __init__(self, ledger_batch: LedgerBatch) -> None:
        self._ledger_batch = ledger_batch
        self._held_rows = HeldRows(ledger_batch.database, self._needs_of)
        self._failures_in_row = 0
        self._blamed_count = 0

    def apply(
        self, received: Sequence[Received], facts: Facts, fallback: Fallback, settled: Settled
    ) -> None:
        """Apply the messages, each or not at all, and note in `settled` what was.

        Raises `DatabaseUnavailable` and `TimeUncertain`, when it can be called again
        for those that are not settled, and `StoreDefect` when the defect is ours.
        """
        if not received:
            return
        tried, stuck = self._held_rows.split_known(received)
        for r in stuck:
            fallback.wait(r, _LOCKED)
        self._apply(tried, facts, fallback, settled)

    def write_down(self, fallback: Fallback, settled: Settled) -> None:
        """Write what is not in the database yet. Raises what `apply` raises."""
        if fallback.is_pending:
            self._apply((), Facts(), fallback, settled)

    def _needs_of(self, received: Sequence[Received]) -> Needs:
        return self._ledger_batch.needs_of([r.command for r in received])

    def _apply(
        self, received: Sequence[Received], facts: Facts, fallback: Fallback, settled: Settled
    ) -> None:
        if not received and not fallback.is_pending:
            return
        error = self._attempt(received, facts, fallback)
        if error is None:
            if received:
                self._failures_in_row = 0
            fallback.written()
            settled.accept(received)
        elif isinstance(error, TakenByOthers):
            fallback.forget(error.keys)
            ours = [r for r in received if r.waited is None or r.waited.key not in error.keys]
            self._apply(ours, facts, fallback, settled)
        elif isinstance(error, Blocked):
            self._apply_what_is_free(received, facts, fallback, settled, error)
        else:
            self._isolate(received, facts, fallback, settled, error)

    def _attempt(
        self, received: Sequence[Received], facts: Facts, fallback: Fallback
    ) -> Exception | None:
        """Apply all of the messages, or none; return what may be the fault of one of them."""
        commands = [r.command for r in received]
        needs = self._ledger_batch.needs_of(commands)
        try:
            self._ledger_batch.apply(commands, needs, facts, fallback.aside(received))
        except Blocked as error:
            return error
        except (DatabaseUnavailable, TimeUncertain, StoreDefect):
            raise
        except Exception as error:  # noqa: BLE001 - it is found out whose fault that is
            return error
        return None

    def _apply_what_is_free(
        self,
        received: Sequence[Received],
        facts: Facts,
        fallback: Fallback,
        settled: Settled,
        error: Blocked,
    ) -> None:
        free, stuck = self._held_rows.split_blocked(received)
        if not stuck:
            # It was free again when somebody looked, or is a row that cannot be seen yet.
            self._isolate(received, facts, fallback, settled, Conflict(str(error)))
            return
        for r in stuck:
            fallback.wait(r, _LOCKED)
        self._apply(free, facts, fallback, settled)

    def _isolate(
        self,
        received: Sequence[Received],
        facts: Facts,
        fallback: Fallback,
        settled: Settled,
        error: Exception,
    ) -> None:
        if not received:
            # Nothing but writing down has failed, which is nobody's fault in particular.
            raise DatabaseUnavailable(f"messages cannot be written down: {error}") from error
        if len(received) == 1:
            self._blame(received[0], fallback, error)
            return
        blamed_count = self._blamed_count
        half = len(received) // 2
        self._apply(received[:half], facts, fallback, settled)
        self._apply(received[half:], facts, fallback, settled)
        if isinstance(error, BooksDoNotBalance) and self._blamed_count == blamed_count:
            logger.error(
                "a batch of %d commands would have unbalanced the books, though no part of it"
                " does: %s. Its first commands: %s",
                len(received),
                error,
                ", ".join(f"{r.message_type} {r.account_key}" for r in received[:_NAMED_MAX]),
            )

    def _blame(self, received: Received, fallback: Fallback, error: Exception) -> None:
        """Decide what becomes of a message that fails alone."""
        if isinstance(error, Conflict):
            fallback.wait(received, _IN_CONFLICT)
            return
        self._blamed_count += 1
        what = f"a {received.message_type} for account {received.account_key}"
        reason = f"it could not be applied: {type(error).__name__}: {error}"
        if not isinstance(error, BooksDoNotBalance):
            logger.error("%s cannot be applied, and steps aside", what, exc_info=error)
            fallback.refuse(received, reason)
            return
        self._failures_in_row += 1
        if self._failures_in_row >= FAILURES_IN_ROW_MAX:
            raise StoreDefect(
                f"{self._failures_in_row} commands in a row would have unbalanced the books; the"
                f" last one was {what}: {error}"
            ) from error
        logger.error(
            "%s would unbalance the books, and is left to an operator (`swpt_accounts"
            " parked_messages`)",
            what,
            exc_info=error,
        )
        fallback.fail(received, reason)


_LOCKED: Final = "another session keeps a row locked that it needs"
_IN_CONFLICT: Final = "other transactions keep getting in its way"
