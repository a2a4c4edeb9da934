"""Looks at registered balance changes: which of them may be forgotten."""

from datetime import datetime
from typing import Final

from swpt_accounts.store import pages
from swpt_accounts.store.pages import Key
from swpt_accounts.workers.scanner import Session
from swpt_accounts.workers.walk import Look


class AllChanges:
    """The rows that a walk over the registered balance changes looks at.

    Nothing needs to be checked again before they are removed: nobody changes
    them, and a repetition that is as old is dropped (protocol.rst,
    PendingBalanceChange). So there is no chore for it.
    """

    table: Final = "registered_balance_change"

    def __init__(self, threshold: datetime) -> None:
        self._threshold = threshold

    def look(self, session: Session, after: Key, count_max: int) -> Look:
        """Remove those of a page that were committed before the threshold."""
        last_key, seen_count, forgotten_count = pages.forget_changes(
            session.statements, after, count_max, self._threshold
        )
        return Look(last_key, seen_count, removed_count=forgotten_count)
