"""Looks at accounts: all of them once in a while, and soon at those that wait to be announced."""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Final

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

SENT_MAX: Final = 20_000
"""So many accounts may wait for chores that were sent for them. Twice what the queue may hold."""

LOST_SECONDS: Final = 600.0
"""A chore that has not been done after this time is sent again, if others are being done."""

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
        if foreign := debtor_ids - local:
            documents |= self._gather_facts((), foreign).root_config_data
        currencies = {}
        for debtor_id, config_data in documents.items():
            currency = None if config_data is None else root_config.parse(config_data)
            if currency is not None:
                currencies[debtor_id] = currency
        return currencies


class WaitingAccounts:
    """Has accounts announced that have changed, when their owners have waited long enough.

    An account is found in each sweep until the chore for it has been done, and
    the chore is sent once. It is sent again when the queue was seen empty: it
    must have been lost. Since other chores may keep the queue from ever being
    empty, the same is thought after a while, unless nobody takes any chores.
    """

    def __init__(
        self, realm: Realm, delay: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` counts seconds."""
        self._realm = realm
        self._delay = delay
        self._clock = clock
        self._position = _BEFORE_ALL
        self._is_swept = False
        self._sent: set[WaitingKey] = set()
        self._found: set[WaitingKey] = set()
        self._sent_since = 0.0
        self._waiting_count = 0
        self._are_chores_taken = False

    @property
    def is_done(self) -> bool:
        """Tell whether all accounts that wait have been found, at least once."""
        return self._is_swept

    def begin(self, _session: Session) -> None:
        """Begin with those who have waited longest."""
        self._position = _BEFORE_ALL
        self._sent |= self._found

    def step(self, session: Session) -> float:
        """Send chores for some accounts; return the seconds until the next step."""
        if self._position == _BEFORE_ALL:
            self._forget_lost(session)
        due = session.now - self._delay
        rows = pages.read_waiting_accounts(
            session.statements, due, self._position, WAITING_PAGE_SIZE
        )
        found = [waiting for waiting, key in rows if self._realm.contains(*key)]
        fresh = [waiting for waiting in found if waiting not in self._sent]
        session.chores.send([SendAccountUpdate(*key) for _, *key in fresh])
        self._found.update(found)
        if len(rows) < WAITING_PAGE_SIZE:
            self._is_swept = True
            self._end_sweep()
            seconds = self._delay.total_seconds() / LOOKS_PER_DELAY
            return min(max(seconds, LOOK_SECONDS_MIN), LOOK_SECONDS_MAX)
        if len(self._found) >= SENT_MAX:
            self._end_sweep()
            return LOOK_SECONDS_MIN
        self._position = rows[-1][0]
        is_late = due - rows[0][0][0] > max(self._delay, TOO_LATE_MIN)
        return 0.0 if is_late else len(fresh) / WAITING_PACE

    def _forget_lost(self, session: Session) -> None:
        """Have the chores sent again that have not been done, if that makes sense."""
        now = self._clock()
        if self._sent:
            count = session.chores.waiting_count()
            self._are_chores_taken = self._are_chores_taken or count < self._waiting_count
            self._waiting_count = count
            is_too_long = self._are_chores_taken and now - self._sent_since >= LOST_SECONDS
            if count == 0 or is_too_long:
                self._sent = set()
        if not self._sent:
            self._sent_since = now
            self._waiting_count = 0
            self._are_chores_taken = False

    def _end_sweep(self) -> None:
        """Forget those that were not found any more: their chores have been done."""
        self._position = _BEFORE_ALL
        self._sent, self._found = self._found, set()
