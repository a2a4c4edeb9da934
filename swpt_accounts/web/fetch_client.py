"""Asks other shards about their accounts, all questions of a batch at once.

No answer is not a "no". Only the two statuses that protocol.rst (Fetch API)
gives a meaning to are answers; everything else, from a refused connection to
an error page, leaves the question open, and the batch decides what to do.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from cachetools import TLRUCache, TTLCache

from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.values import ROOT_CREDITOR_ID, AccountKey, account_id
from swpt_accounts.web.parallel_get import Answer, ParallelGet

# An account that becomes unreachable in the meantime gets transfers which its
# shard will still credit, so a short memory is harmless, and saves a question
# for each of many payments to the same shop.
REACHABLE_SECONDS: Final = 60.0

DNS_CACHE_SECONDS: Final = 10.0

# Root accounts are reconfigured rarely, and nothing depends on noticing soon.
ROOT_CONFIG_DATA_SECONDS: Final = 7200.0
# A currency whose root account does not exist yet is about to be set up.
NO_ROOT_ACCOUNT_SECONDS: Final = 60.0

_logger = logging.getLogger(__name__)


class FetchClient:
    """Obtains the facts about accounts of other shards.

    `base_url` is where the proxy in front of the shards listens; without it,
    no question is ever answered. See `ParallelGet` for the limits. Each of the
    two caches keeps `cache_size` answers. Belongs to one thread.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        timeout_seconds: float,
        connections_max: int,
        cache_size: int,
        dns_cache_seconds: float = DNS_CACHE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._get = (
            ParallelGet(
                base_url,
                timeout_seconds=timeout_seconds,
                connections_max=connections_max,
                dns_cache_seconds=dns_cache_seconds,
            )
            if base_url
            else None
        )
        self._is_url_missed = False
        # Only "reachable" is remembered: a freshly opened account must not
        # wait for a cache.
        self._reachable: TTLCache[AccountKey, bool] = TTLCache(cache_size, REACHABLE_SECONDS, clock)
        self._root_config_data: TLRUCache[int, str | None] = TLRUCache(
            cache_size, _root_config_data_expiry, clock
        )

    def gather(self, recipients: Collection[AccountKey], debtors: Collection[int]) -> Facts:
        """Ask which recipients are reachable, and how the debtors' root accounts are configured.

        Waits for a named time at most, and never fails: what was not answered
        is absent from the facts.
        """
        facts = Facts(reachable={}, root_config_data={})
        questions: dict[str, AccountKey | int] = {}
        for recipient in recipients:
            if (is_reachable := self._reachable.get(recipient)) is not None:
                facts.reachable[recipient] = is_reachable
            else:
                questions[_path(*recipient, "reachable")] = recipient
        for debtor_id in debtors:
            try:
                facts.root_config_data[debtor_id] = self._root_config_data[debtor_id]
            except KeyError:
                questions[_path(debtor_id, ROOT_CREDITOR_ID, "config")] = debtor_id
        if questions:
            self._ask(questions, facts)
        return facts

    def close(self) -> None:
        """Close all connections."""
        if self._get is not None:
            self._get.close()

    def _ask(self, questions: dict[str, AccountKey | int], facts: Facts) -> None:
        if self._get is None:
            self._warn_of_missing_url()
            return
        outcome = self._get(questions)
        for path, answer in outcome.answers.items():
            try:
                self._take(questions[path], answer, facts)
            except ValueError as error:
                outcome.troubles[path] = str(error)
        if outcome.troubles:
            path, trouble = next(iter(outcome.troubles.items()))
            _logger.warning(
                "%d of %d questions to other shards got no answer; for example %s: %s",
                len(outcome.troubles),
                len(questions),
                path,
                trouble,
            )

    def _take(self, question: AccountKey | int, answer: Answer, facts: Facts) -> None:
        """Add an answer to the facts; raise `ValueError` when it is none."""
        if isinstance(question, int):
            config_data = _read_config_data(answer)
            facts.root_config_data[question] = config_data
            self._root_config_data[question] = config_data
        else:
            is_reachable = _read_reachable(answer)
            facts.reachable[question] = is_reachable
            if is_reachable:
                self._reachable[question] = is_reachable

    def _warn_of_missing_url(self) -> None:
        if not self._is_url_missed:
            self._is_url_missed = True
            _logger.warning(
                "FETCH_API_URL is not set, so nothing can be found out about accounts of other"
                " shards: transfers to them will wait until it is."
            )


def _path(debtor_id: int, creditor_id: int, question: str) -> str:
    return f"/accounts/{account_id(debtor_id)}/{account_id(creditor_id)}/{question}"


def _read_reachable(answer: Answer) -> bool:
    if answer.status == 204:
        return True
    if answer.status == 404:
        return False
    raise ValueError(f"status {answer.status} instead of 204 or 404")


def _read_config_data(answer: Answer) -> str | None:
    if answer.status == 200:
        return answer.body.decode("utf-8")
    if answer.status == 404:
        return None
    raise ValueError(f"status {answer.status} instead of 200 or 404")


def _root_config_data_expiry(_debtor_id: int, config_data: str | None, now: float) -> float:
    return now + (NO_ROOT_ACCOUNT_SECONDS if config_data is None else ROOT_CONFIG_DATA_SECONDS)
