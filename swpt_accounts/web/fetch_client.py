"""Asks other shards about their accounts, all questions of a batch at once.

No answer is not a "no". Only what looks as protocol.rst (Fetch API) says is an
answer; everything else, from a refused connection to an error page, leaves the
question open, and the batch decides what to do.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.sharding import GROUP_BITS_MIN, Groups
from swpt_accounts.web.answers import Question, account_of
from swpt_accounts.web.asking import Asking
from swpt_accounts.web.background import Background
from swpt_accounts.web.http_get import HttpGet
from swpt_accounts.web.memory import Memory
from swpt_accounts.web.round import Round
from swpt_accounts.web.silence import Silence
from swpt_accounts.web.silence_report import SilenceReport

DNS_CACHE_SECONDS: Final = 10.0

GATHER_SECONDS: Final = 0.5
"""How long a batch waits for answers, at most. One that comes later is remembered."""

_logger = logging.getLogger(__name__)


class FetchClient:
    """Obtains the facts about accounts of other shards.

    `base_url` is where the proxy in front of the shards listens; without it,
    no question is ever answered. A request may take `timeout_seconds`, in a
    thread of the client's own, which is started by the first question: a
    client may be made before a fork. Each of the caches keeps `cache_size`
    answers. `groups` says for whom an account stands that gives no answer.
    Raises `ValueError` for a URL that is no `http` or `https` one.

    `gather` and `close` belong to one thread, all else may be asked by any.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        timeout_seconds: float,
        connections_max: int,
        cache_size: int,
        dns_cache_seconds: float = DNS_CACHE_SECONDS,
        groups: Groups = Groups(GROUP_BITS_MIN),  # noqa: B008 - it never changes
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.groups: Final = groups
        self._get = (
            HttpGet(base_url, connections_max=connections_max, dns_cache_seconds=dns_cache_seconds)
            if base_url
            else None
        )
        self._is_url_missed = False
        self._connections_max = connections_max
        self._timeout_seconds = timeout_seconds
        self._memory = Memory(cache_size, clock)
        self._silence = Silence()
        self._background: Background | None = None
        self._asking: Asking | None = None

    def gather(self, recipients: Collection[AccountKey], debtors: Collection[int]) -> Facts:
        """Ask which recipients are reachable, and how the debtors' root accounts are configured.

        Waits for `GATHER_SECONDS` at most, for silent groups not at all, and
        never fails: what was not answered is absent from the facts. An answer
        that comes later is remembered.
        """
        facts, questions = self._memory.recall(recipients, debtors)
        if questions:
            self._ask(questions, facts)
        return facts

    def known(self, recipients: Collection[AccountKey], debtors: Collection[int]) -> Facts:
        """Return what is remembered of the same; ask nobody, and don't wait."""
        return self._memory.recall(recipients, debtors)[0]

    def is_silent(self, group: int) -> bool:
        """Tell whether the shards of the group (see `groups`) give no answers just now."""
        return self._get is None or group in self._silence

    @property
    def silent_groups(self) -> frozenset[int]:
        """The groups whose shards give no answers just now; see `groups`."""
        return self._silence.snapshot()

    def close(self) -> None:
        """Give up what is being asked, close all connections, and end the thread."""
        if self._background is not None and self._asking is not None:
            self._background.close(self._asking.close)
            self._background = self._asking = None
            self._silence = Silence()

    def _ask(self, questions: Collection[Question], facts: Facts) -> None:
        if self._get is None:
            self._warn_of_missing_url()
            return
        if self._background is None or self._asking is None:
            self._asking = self._new_asking(self._get)
            self._background = Background("fetch_client")
        hopeful: dict[Question, int] = {}
        in_vain: dict[int, Question] = {}
        for question in questions:
            group = self.groups.of(*account_of(question))
            if group in self._silence:
                in_vain[group] = question
            else:
                hopeful[question] = group
        round_ = Round(hopeful, in_vain)
        self._background.call(self._asking.ask, round_)
        for question, answer in round_.wait(GATHER_SECONDS).items():
            if isinstance(question, int):
                assert not isinstance(answer, bool)
                facts.root_config_data[question] = answer
            else:
                facts.reachable[question] = bool(answer)

    def _new_asking(self, get: HttpGet) -> Asking:
        return Asking(
            get,
            self._memory,
            self._silence,
            SilenceReport(self.groups),
            connections_max=self._connections_max,
            timeout_seconds=self._timeout_seconds,
        )

    def _warn_of_missing_url(self) -> None:
        if not self._is_url_missed:
            self._is_url_missed = True
            _logger.warning(
                "FETCH_API_URL is not set, so nothing can be found out about accounts of other"
                " shards: transfers to them will wait until it is."
            )
