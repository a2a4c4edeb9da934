"""Applies a batch in one transaction; when that fails, finds out whose fault it is.

Nobody pays for another's trouble: what needs a row that somebody keeps locked
waits, what fails alone steps aside, and the rest is applied.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.journal import BooksDoNotBalance
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import (
    Blocked,
    Conflict,
    DatabaseUnavailable,
    StoreDefect,
    may_be_a_messages_fault,
)
from swpt_accounts.store.waiting import WaitingKey
from swpt_accounts.workers.held_rows import HeldRows
from swpt_accounts.workers.ledger_batch import Aside, LedgerBatch, TakenByOthers
from swpt_accounts.workers.settled import Received, Settled
from swpt_accounts.workers.states import StateReport

logger = logging.getLogger(__name__)

FAILURES_IN_ROW_MAX: Final = 10
"""So many commands that fail one after the other, and nobody is to blame for it but ourselves."""

WAITS_IN_VAIN_MAX: Final = 10
"""So often a lock that cannot be found is waited for: enough to find one message by halving."""

_NAMED_MAX: Final = 5


class Fallback(Protocol):
    """What becomes of a message that is not applied. Nothing here writes to the database itself."""

    @property
    def is_pending(self) -> bool:
        """Tell whether something has to be written."""

    def wait(self, received: Received, reason: str) -> None:
        """The message is to be tried again later."""

    def fail(self, received: Received, reason: str) -> None:
        """The message fails alone, by a defect of this program."""

    def refuse(self, received: Received, reason: str) -> None:
        """The message alone is refused by the database."""

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
        self._waits_in_vain = 0
        self._report = StateReport(logger)

    def apply(
        self, received: Sequence[Received], facts: Facts, fallback: Fallback, settled: Settled
    ) -> None:
        """Apply the messages, each or not at all, and note in `settled` what was.

        Raises `DatabaseUnavailable` and `TimeUncertain`, when it can be called again
        for those that are not settled, and `StoreDefect` when the defect is ours.
        """
        if not received:
            return
        self._waits_in_vain = 0
        tried, stuck = self._held_rows.split_known(received)
        for r in stuck:
            fallback.wait(r, _LOCKED)
        self._apply(tried, facts, fallback, settled)

    def write_down(self, fallback: Fallback, settled: Settled) -> None:
        """Write what is not in the database yet. Raises what `apply` raises."""
        if fallback.is_pending:
            self._apply((), NO_FACTS, fallback, settled)

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
        elif not received:
            # Nothing but writing down has failed, which is nobody's fault in particular.
            raise DatabaseUnavailable(f"messages cannot be written down: {error}") from error
        else:
            # Whatever has failed, it must not be blamed on those who come along.
            self.write_down(fallback, settled)
            if isinstance(error, Blocked):
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
        except (DatabaseUnavailable, TimeUncertain):
            self._failures_in_row = 0  # They are going to be tried again.
            raise
        except StoreDefect:
            raise
        except (MemoryError, OSError) as error:
            raise DatabaseUnavailable(f"this machine lacks something: {error!r}") from error
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
        if stuck:
            for r in stuck:
                fallback.wait(r, _LOCKED)
            self._apply(free, facts, fallback, settled)
            return
        # It was free again when somebody looked; or it is no row that could be seen.
        self._waits_in_vain += 1
        if self._waits_in_vain > WAITS_IN_VAIN_MAX:
            raise DatabaseUnavailable(
                f"somebody keeps locks that cannot be found: {error}. The oldest transactions:"
                f" {self._held_rows.oldest_transactions()}"
            ) from error
        self._isolate(received, facts, fallback, settled, Conflict(str(error)))

    def _isolate(
        self,
        received: Sequence[Received],
        facts: Facts,
        fallback: Fallback,
        settled: Settled,
        error: Exception,
    ) -> None:
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
        what = f"a {received.message_type} for account {received.account_key}"
        if isinstance(error, Conflict):
            fallback.wait(received, _IN_CONFLICT)
            self._report.trouble(
                "conflict",
                f"{what} waits, since other transactions keep getting in its way ({error}). The"
                f" oldest ones: {self._held_rows.oldest_transactions()}",
            )
            return
        self._blamed_count += 1
        reason = f"it could not be applied: {type(error).__name__}: {error}"
        if may_be_a_messages_fault(error):
            self._report.trouble(
                ("refused", type(error)), f"{what} cannot be applied: {error}", logging.ERROR
            )
            fallback.refuse(received, reason)
            return
        self._failures_in_row += 1
        if self._failures_in_row >= FAILURES_IN_ROW_MAX:
            raise StoreDefect(
                f"{self._failures_in_row} commands in a row have failed; the last one was {what}:"
                f" {error!r}"
            ) from error
        logger.error(
            "%s cannot be applied, by a defect of this program: it steps aside, and is left to an"
            " operator (`swpt_accounts parked_messages`)",
            what,
            exc_info=error,
        )
        fallback.fail(received, reason)


_LOCKED: Final = "another session keeps a row locked that it needs"
_IN_CONFLICT: Final = "other transactions keep getting in its way"
