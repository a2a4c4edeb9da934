"""Looks at accounts: all of them once in a while, and soon at those that wait to be announced."""

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Final

from cachetools import TTLCache

from swpt_accounts.ledger import root_config
from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import Chore, SendAccountUpdate
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import RootConfig
from swpt_accounts.ledger.upkeep import chores_for_account
from swpt_accounts.ledger.values import EPOCH, MIN_INT64, ROOT_CREDITOR_ID, AccountKey
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import pages
from swpt_accounts.store.accounts import read_root_config_data
from swpt_accounts.store.pages import Key, WaitingKey
from swpt_accounts.workers.scanner import Session
from swpt_accounts.workers.walk import Look

GatherFacts = Callable[[Collection[AccountKey], Collection[int]], Facts]
"""Asks other shards about recipients, and about currencies' configurations."""

UNANSWERED_SECONDS: Final = 60.0
"""A currency that could not be asked about is asked about again after this time."""

_UNANSWERED_MAX: Final = 100_000

WAITING_PAGE_SIZE: Final = 500
WAITING_PACE: Final = 500.0
"""Accounts announced in a second, unless they have waited too long already."""

TOO_LATE_MIN: Final = timedelta(minutes=1)

LOOKS_PER_DELAY: Final = 20
LOOK_SECONDS_MIN: Final = 0.2
LOOK_SECONDS_MAX: Final = 10.0

_BEFORE_ALL: Final[WaitingKey] = (EPOCH, MIN_INT64, MIN_INT64)


class AllAccounts:
    """The rows that a walk over the accounts looks at."""

    table: Final = "account"

    def __init__(self, realm: Realm, policy: Policy, gather_facts: GatherFacts) -> None:
        self._realm = realm
        self._policy = policy
        self._gather_facts = gather_facts
        # Waiting in vain for a shard that is away, page after page, would hold up the scan.
        self._unanswered: TTLCache[int, bool] = TTLCache(_UNANSWERED_MAX, UNANSWERED_SECONDS)

    def look(self, session: Session, after: Key, count_max: int) -> Look:
        """Find out what is due on the accounts of a page."""
        accounts = pages.read_accounts(session.statements, after, count_max)
        ours = [account for account in accounts if self._realm.contains(*account.key)]
        currencies = self._currencies_of(ours, session)
        chores: list[Chore] = []
        for account in ours:
            currency = currencies.get(account.debtor_id)
            chores += chores_for_account(account, currency, self._policy, session.now)
        return Look(accounts[-1].key if accounts else (), len(accounts), chores)

    def _currencies_of(
        self, accounts: Iterable[Account], session: Session
    ) -> dict[int, RootConfig]:
        """Return what the debtors have decided, as far as it can be found out now."""
        debtor_ids = {a.debtor_id for a in accounts if not (a.is_root or a.is_deleted)}
        local = {d for d in debtor_ids if self._realm.contains(d, ROOT_CREDITOR_ID)}
        documents = read_root_config_data(session.statements, local)
        foreign = {d for d in debtor_ids - local if d not in self._unanswered}
        if foreign:
            answers = self._gather_facts((), foreign).root_config_data
            self._unanswered.update(dict.fromkeys(foreign - answers.keys(), True))
            documents |= answers
        currencies = {}
        for debtor_id, config_data in documents.items():
            currency = None if config_data is None else root_config.parse(config_data)
            if currency is not None:
                currencies[debtor_id] = currency
        return currencies


class WaitingAccounts:
    """Has accounts announced that have changed, when their owners have waited long enough."""

    def __init__(self, realm: Realm, delay: timedelta) -> None:
        self._realm = realm
        self._delay = delay
        self._position = _BEFORE_ALL
        self._is_swept = False
        self._has_sent = False

    @property
    def is_done(self) -> bool:
        """Tell whether all accounts that wait have been found, at least once."""
        return self._is_swept

    def begin(self, _session: Session) -> None:
        """Begin with those who have waited longest."""
        self._position = _BEFORE_ALL

    def step(self, session: Session) -> float:
        """Send chores for some accounts; return the seconds until the next step."""
        # What was sent in the last sweep is found again until it is done.
        if self._position == _BEFORE_ALL and self._has_sent and session.chores.waiting_count():
            return self._pause
        due = session.now - self._delay
        rows = pages.read_waiting_accounts(
            session.statements, due, self._position, WAITING_PAGE_SIZE
        )
        chores = [SendAccountUpdate(*key) for _, key in rows if self._realm.contains(*key)]
        session.chores.send(chores)
        if self._position == _BEFORE_ALL:
            self._has_sent = False
        self._has_sent = self._has_sent or bool(chores)
        if len(rows) < WAITING_PAGE_SIZE:
            self._position = _BEFORE_ALL
            self._is_swept = True
            return self._pause
        first, last = rows[0][0], rows[-1][0]
        self._position = last
        is_late = due - first[0] > max(self._delay, TOO_LATE_MIN)
        return 0.0 if is_late else len(rows) / WAITING_PACE

    @property
    def _pause(self) -> float:
        seconds = self._delay.total_seconds() / LOOKS_PER_DELAY
        return min(max(seconds, LOOK_SECONDS_MIN), LOOK_SECONDS_MAX)
