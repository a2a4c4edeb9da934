"""What other shards have answered lately."""

from collections.abc import Callable, Collection
from threading import Lock
from typing import Final

from cachetools import TLRUCache, TTLCache

from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.web.answers import Answer, Question

# An account that becomes unreachable in the meantime gets transfers which its
# shard will still credit, so a short memory is harmless, and saves a question
# for each of many payments to the same shop.
REACHABLE_SECONDS: Final = 60.0

# "Not reachable" is remembered only when it came too late for those who had
# asked: a freshly opened account must not wait for a cache.
LATE_NO_SECONDS: Final = 10.0

# Root accounts are reconfigured rarely, and nothing depends on noticing soon.
ROOT_CONFIG_DATA_SECONDS: Final = 7200.0
# A currency whose root account does not exist yet is about to be set up.
NO_ROOT_ACCOUNT_SECONDS: Final = 60.0


class Memory:
    """Keeps `size` answers of each kind. May be used by several threads."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._lock = Lock()
        self._reachable: TTLCache[AccountKey, bool] = TTLCache(size, REACHABLE_SECONDS, clock)
        self._late_no: TTLCache[AccountKey, bool] = TTLCache(size, LATE_NO_SECONDS, clock)
        self._root_config_data: TLRUCache[int, str | None] = TLRUCache(
            size, _root_config_data_expiry, clock
        )

    def recall(
        self, recipients: Collection[AccountKey], debtors: Collection[int]
    ) -> tuple[Facts, list[Question]]:
        """Return what is remembered, and the questions that remain."""
        facts = Facts(reachable={}, root_config_data={})
        remaining: list[Question] = []
        with self._lock:
            for recipient in recipients:
                if self._reachable.get(recipient):
                    facts.reachable[recipient] = True
                elif recipient in self._late_no:
                    facts.reachable[recipient] = False
                else:
                    remaining.append(recipient)
            for debtor_id in debtors:
                try:
                    facts.root_config_data[debtor_id] = self._root_config_data[debtor_id]
                except KeyError:
                    remaining.append(debtor_id)
        return facts, remaining

    def remember(self, question: Question, answer: Answer, *, is_late: bool) -> None:
        """Keep an answer for some time; `is_late` when nobody has got it yet."""
        with self._lock:
            if isinstance(question, int):
                assert not isinstance(answer, bool)
                self._root_config_data[question] = answer
            elif answer:
                self._reachable[question] = True
                self._late_no.pop(question, None)
            elif is_late:
                self._late_no[question] = True


def _root_config_data_expiry(_debtor_id: int, config_data: str | None, now: float) -> float:
    return now + (NO_ROOT_ACCOUNT_SECONDS if config_data is None else ROOT_CONFIG_DATA_SECONDS)
