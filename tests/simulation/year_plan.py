"""What owners and debtors do in a year: random, but the same for the same seed."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Final

import msgspec

from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.events import PreparedTransfer
from swpt_accounts.ledger.values import AccountKey, account_id
from tests.simulation.exact_account import DAY, ExactAccount

RATES: Final = (0.0, 5.0, -10.0, 2.5, 100.0, -50.0, 0.01, 12.0, -1.5, 30.0)
"""With which the currencies begin. The first one never changes."""

ACCOUNTS_COUNT: Final = 1000
SAVERS_SHARE: Final = 10
"""One in so many owners opens an account, is paid once, and then only waits."""

FIRST_CREDITOR_ID: Final = 0x0000020000000001
AGENT_ID: Final = 0x0000020000ABCDEF
COURT_ID: Final = 0x0000030000000001
"""Somebody elsewhere who takes money from accounts, whether it is there or not."""

ISSUED_MAX: Final = 10**11
FAR_FUTURE: Final = datetime.fromisoformat("9999-12-31T23:59:59+00:00")

HOUR: Final = timedelta(hours=1)

Posted = Iterator[tuple[timedelta, Command]]
"""Commands, each with the time that it is under way."""


def delay(random: Random, longest: timedelta) -> timedelta:
    """Return how long a message is under way: not long, mostly."""
    return longest * random.random() ** random.choice((3, 9, 30))


class Plan:
    """Decides about all accounts, knowing what the exact books know of them."""

    def __init__(self, random: Random, start: datetime) -> None:
        self._random = random
        self._request_ids = count(1)
        self._seqnums = count(1)
        self._court_ids = count(-1, -1)
        self.debtor_ids: Sequence[int] = [
            random.randrange(1, 2**63) * random.choice((1, -1)) for _ in RATES
        ]
        per_currency = ACCOUNTS_COUNT // len(RATES) - 1
        self.savers: set[AccountKey] = set()
        self.owners: list[AccountKey] = []
        for debtor_id in self.debtor_ids:
            keys = [(debtor_id, FIRST_CREDITOR_ID + i) for i in range(per_currency)]
            self.savers.update(keys[::SAVERS_SHARE])
            self.owners += keys
        self._spenders = sorted({key[1] for key in self.owners if key not in self.savers})
        self.calendar = sorted(self._decisions(start), key=lambda item: item[0])

    def _decisions(self, start: datetime) -> Iterator[tuple[datetime, Command]]:
        """Yield what debtors will decide, and when accounts will be opened."""
        random = self._random
        begins = dict.fromkeys(self.debtor_ids, start)
        # One debtor is late: people have opened accounts already.
        begins[self.debtor_ids[-1]] = start + 25 * DAY
        for (debtor_id, begin), rate in zip(begins.items(), RATES, strict=True):
            yield begin, self._currency(debtor_id, rate, "", begin)
            moments = [begin + DAY * random.uniform(1, 390) for _ in range(5 if rate else 0)]
            moments += [m + DAY * random.uniform(1, 7) for m in moments if random.random() < 0.5]
            for moment in moments:
                changed = random.choice((rate, -rate, *RATES, random.uniform(-50, 100)))
                iri = random.choice(("", "https://example.com/", "https://example.org/"))
                contained = min(max(changed, -50.0), 100.0)
                yield moment, self._currency(debtor_id, contained, iri, moment)
        for key in self.owners:
            if key in self.savers or random.random() < 0.9:
                moment = start + HOUR + 30 * DAY * random.random()
                yield moment, self._configuration(key, moment)
                paid_at = max(moment, begins[key[0]]) + 2 * DAY
                yield paid_at, self._issue(key, paid_at)

    # -- one decision ------------------------------------------------------

    def act(self, account: ExactAccount | None, key: AccountKey, now: datetime) -> Posted:
        """Decide what the owner of an account does now."""
        if key in self.savers:
            return
        if account is not None and not account.is_deleted:
            yield from self._act_alive(account, key, now)
        elif account is None or self._random.random() < 0.16:
            if self._random.random() < 0.6:
                yield delay(self._random, 3 * DAY), self._configuration(key, now)
            else:
                yield delay(self._random, DAY), self._agent_payment(key, now)

    def _act_alive(self, account: ExactAccount, key: AccountKey, now: datetime) -> Posted:
        random = self._random
        what = random.random()
        if what < 0.10:
            yield from self._close(key, now)
        elif what < 0.12:
            age = random.choice((1, 9, 100)) * DAY
            yield delay(random, DAY), self._configuration(key, now - age)
        elif what < 0.14:
            yield delay(random, 9 * DAY), self._seizure(key, now)
        elif what < 0.17:
            yield delay(random, DAY), self._issue(key, now)
        else:
            yield delay(random, DAY), self._payment(account, key, now)

    def _close(self, key: AccountKey, now: datetime) -> Posted:
        """Have the account deleted, with everything, or with little left on it."""
        random = self._random
        negligible_amount = random.choice((0.0, 2.0, 1000.5, 1e30))
        command = self._configuration(key, now, negligible_amount, flags=1)
        yield delay(random, DAY), command
        if random.random() < 0.3:
            yield 20 * DAY, self._configuration(key, now + 20 * DAY)

    def answer(self, transfer: PreparedTransfer, now: datetime) -> Posted:
        """Decide when to finalize a transfer, and how."""
        random = self._random
        amounts = (transfer.locked_amount,) * 4 + (transfer.locked_amount // 2, 0)
        amount = random.choice((*amounts, transfer.locked_amount + random.randrange(1000)))
        command = FinalizeTransfer(
            transfer.debtor_id,
            transfer.creditor_id,
            transfer.transfer_id,
            transfer.coordinator_type,
            transfer.coordinator_id,
            transfer.coordinator_request_id,
            committed_amount=amount,
            transfer_note="",
            transfer_note_format="",
            ts=now,
        )
        yield delay(random, random.choice((HOUR, DAY, 45 * DAY))), command

    # -- commands ----------------------------------------------------------

    def _configuration(
        self, key: AccountKey, now: datetime, negligible_amount: float = 0.0, flags: int = 0
    ) -> ConfigureAccount:
        return ConfigureAccount(*key, negligible_amount, flags, "", now, next(self._seqnums))

    def _currency(self, debtor_id: int, rate: float, iri: str, now: datetime) -> ConfigureAccount:
        document: dict[str, object] = {"type": "RootConfigData", "rate": rate}
        if iri:
            document["info"] = {"type": "DebtorInfo", "iri": iri}
        text = msgspec.json.encode(document).decode()
        return ConfigureAccount(debtor_id, 0, 1e18, 0, text, now, next(self._seqnums))

    def _request(
        self, payer: AccountKey, recipient_id: int, kind: str, amount: int, now: datetime
    ) -> PrepareTransfer:
        random = self._random
        debtor_id, creditor_id = payer
        coordinators = {"direct": creditor_id, "issuing": debtor_id, "agent": AGENT_ID}
        return PrepareTransfer(
            debtor_id,
            creditor_id,
            kind,
            coordinators[kind],
            next(self._request_ids),
            min_locked_amount=random.choice((0, amount)),
            max_locked_amount=amount,
            recipient=account_id(recipient_id),
            final_interest_rate_ts=random.choice((FAR_FUTURE, FAR_FUTURE, FAR_FUTURE, now)),
            max_commit_delay=random.choice((2**31 - 1, 2**31 - 1, 86400)),
            ts=now,
        )

    def _issue(self, key: AccountKey, now: datetime) -> PrepareTransfer:
        amount = int(ISSUED_MAX ** self._random.uniform(0.1, 1))
        return msgspec.structs.replace(
            self._request((key[0], 0), key[1], "issuing", amount, now),
            final_interest_rate_ts=FAR_FUTURE,
            max_commit_delay=2**31 - 1,
        )

    def _payment(self, account: ExactAccount, key: AccountKey, now: datetime) -> PrepareTransfer:
        """Pay somebody, or give money back to the debtor: some of it, or almost everything."""
        random = self._random
        principal = account.principal
        part = int(principal * random.random())
        amount = max(0, random.choice((part, part, principal - random.randrange(5), 2 * principal)))
        others = [random.choice(self._spenders), 0]
        return self._request(key, random.choices(others, (9, 1))[0], "direct", amount, now)

    def _agent_payment(self, key: AccountKey, now: datetime) -> PrepareTransfer:
        """Let somebody pay to an account that may not exist."""
        payer = key[0], self._random.choice(self._spenders)
        return self._request(payer, key[1], "agent", self._random.randrange(1, 10**4), now)

    def _seizure(self, key: AccountKey, now: datetime) -> PendingBalanceChange:
        random = self._random
        return PendingBalanceChange(
            *key,
            change_id=next(self._court_ids),
            coordinator_type="court",
            transfer_note_format="",
            transfer_note="",
            committed_at=now,
            principal_delta=-int(10 ** random.uniform(0, 7)),
            other_creditor_id=COURT_ID,
        )
