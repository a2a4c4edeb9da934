"""Random commands: ordinary ones mostly, and every odd one now and then."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Final

from swpt_accounts.ledger.chores import (
    CapitalizeInterest,
    ChangeInterestRate,
    Chore,
    PurgeAccount,
    RemindOfTransfer,
    SendAccountUpdate,
    TryToDeleteAccount,
    UpdateDebtorInfo,
)
from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.events import PreparedTransfer
from swpt_accounts.ledger.values import MAX_INT64, AccountKey, TransferKey, account_id

# With two realms, both have accounts of both debtors, and one root account.
DEBTOR_IDS: Final = (7, -2)
CREDITOR_IDS: Final = (
    0x0000020100000001,
    0x0000020100000002,
    0x0000020100000003,
    0x0000030100000001,
    5,
    -(2**63),
)
OUTSIDER_ID: Final = 0x0000040100000001
"""Somebody of whom nothing is known here but the money that comes and goes."""

AGENT_ID: Final = 0x0000020000000009
FAR_FUTURE: Final = datetime.fromisoformat("9999-12-31T23:59:59+00:00")

DOCUMENTS: Final = (
    "",
    '{"type":"RootConfigData"}',
    '{"type":"RootConfigData","rate":7.25}',
    '{"type":"RootConfigData-v2","rate":-50,"limit":100000}',
    '{"type":"RootConfigData","rate":100,"info":{"type":"DebtorInfo","iri":"https://example.com/"}}',
    '{"type":"RootConfigData","rate":1e-9,"info":{"type":"DebtorInfo","iri":"x:y",'
    '"contentType":"text/plain","sha256":"' + "0F" * 32 + '"}}',
)
INVALID_DOCUMENTS: Final = ("{", "[]", '{"type":"RootConfigData","rate":101}', '{"rate":5}')
SUMS: Final = ("", "0F" * 32)
NOTES: Final = ("", "for the bread", "{\\\"NULL\",'%s'}", "кафе ☕ " * 20)
AMOUNTS: Final = (0, 1, 2, 3, 10, 99, 1000, 10**6, 2**53 + 1, 2**62, MAX_INT64)
DELAYS: Final = (0, 1, 3600, 86400, 2**31 - 1)

SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)


class Traffic:
    """Makes commands as peers might send them at a given moment.

    Nobody can finalize what has not been announced to them: `announced` holds
    the transfers that the coordinators know of, and have not seen the end of.
    """

    def __init__(self) -> None:
        self.announced: dict[TransferKey, PreparedTransfer] = {}
        self._request_ids = count(1)
        self._outside_ids = count(-1, -1)
        self._seqnums = count(1)
        self._kinds: Sequence[Callable[[Random, datetime], Command | Chore]] = (
            *[self.prepare] * 6,
            *[self.finalize] * 6,
            self.configure,
            self.outside_change,
            self.chore,
        )

    def any_command(self, random: Random, now: datetime) -> Command | Chore:
        """Return a command or a chore, of any kind."""
        return random.choice(self._kinds)(random, now)

    def opening(self, random: Random, debtor_id: int, now: datetime) -> list[Command]:
        """Return what sets a currency up: its root account, and most creditors' accounts."""
        seqnum = next(self._seqnums)
        document = random.choice(DOCUMENTS)
        openers = [creditor_id for creditor_id in CREDITOR_IDS if random.randrange(4)]
        return [
            ConfigureAccount(debtor_id, 0, 1e30, 0, document, now, seqnum),
            *(ConfigureAccount(debtor_id, c, 0.0, 0, "", now, seqnum) for c in openers),
        ]

    def endowment(self, random: Random, debtor_id: int, now: datetime) -> list[Command]:
        """Return money from outside for most."""
        amounts = (1, 5000, 10**6, 2**53 + 1, 2**62, MAX_INT64)
        return [
            self.given(debtor_id, creditor_id, random.choice(amounts), now)
            for creditor_id in CREDITOR_IDS
            if random.randrange(4)
        ]

    def configure(self, random: Random, now: datetime) -> Command:
        """Return a configuration, of which some are invalid, old, or premature."""
        debtor_id, creditor_id = self._account(random)
        documents: Sequence[str] = DOCUMENTS if creditor_id == 0 else ("",)
        if random.randrange(8) == 0:
            documents = INVALID_DOCUMENTS
        ages = (timedelta(0), SECOND, -SECOND, -3 * DAY, 3 * DAY, 7 * DAY, 8 * DAY)
        return ConfigureAccount(
            debtor_id,
            creditor_id,
            negligible_amount=random.choice((0.0, 0.0, 1.0, 2.5, 1000.0, 1e30)),
            config_flags=random.choice((0, 0, 0, 1, 2, -(2**31), 2**31 - 1)),
            config_data=random.choice(documents),
            ts=now - random.choice(ages),
            seqnum=random.choice((next(self._seqnums), 0, 2**31 - 1, -(2**31))),
        )

    def closing(self, random: Random, key: AccountKey, now: datetime) -> Command:
        """Return the wish that an account be deleted, whatever is on it, or nearly so."""
        negligible_amount = random.choice((0.0, 2.5, 1e30, 1e30))
        seqnum = next(self._seqnums)
        return ConfigureAccount(*key, negligible_amount, 1, "", now, seqnum)

    def chore(self, random: Random, now: datetime) -> Chore:
        """Return a chore that scans may have sent, or not."""
        key = self._account(random)
        ts = now - random.choice((timedelta(0), SECOND, -SECOND, DAY, 2 * DAY))
        rate = random.choice((0.0, 7.25, -50.0, 100.0, 1e-9, 1000.0, -99.5))
        chores: list[Chore] = [
            SendAccountUpdate(*key),
            ChangeInterestRate(*key, rate, ts),
            UpdateDebtorInfo(*key, random.choice(("", "x:y")), "", random.choice(SUMS), ts),
            CapitalizeInterest(*key),
            TryToDeleteAccount(*key),
            PurgeAccount(*key),
        ]
        chores += [
            RemindOfTransfer(*key) for key in random.choices([*self.announced] or [(7, 5, 1)])
        ]
        return random.choice(chores)

    def prepare(self, random: Random, now: datetime) -> Command:
        """Return a request for a transfer."""
        debtor_id, creditor_id = self._account(random)
        coordinator_type, coordinator_id = self._coordinator(random, debtor_id, creditor_id)
        lowest, highest = sorted((self._amount(random), self._amount(random)))
        return PrepareTransfer(
            debtor_id,
            creditor_id,
            coordinator_type,
            coordinator_id,
            coordinator_request_id=random.choice((next(self._request_ids), 1, 2)),
            min_locked_amount=random.choice((0, 0, lowest)),
            max_locked_amount=highest,
            recipient=self._recipient(random),
            final_interest_rate_ts=random.choice((FAR_FUTURE, FAR_FUTURE, now, now - 30 * DAY)),
            max_commit_delay=random.choice((2**31 - 1, random.choice(DELAYS))),
            ts=now - random.choice((timedelta(0), SECOND, -SECOND, DAY)),
        )

    def finalize(self, random: Random, now: datetime) -> Command:
        """Return the end of a transfer that was announced, if there is any."""
        if not self.announced:
            return self.prepare(random, now)
        transfer = random.choice(list(self.announced.values()))
        locked = transfer.locked_amount
        small = random.randrange(1, 50)
        amounts = (locked, locked, locked // 2, locked + small, small, 0, self._amount(random))
        request_id = transfer.coordinator_request_id
        transfer_id = transfer.transfer_id
        if random.randrange(10) == 0:
            request_id, transfer_id = random.choice(
                ((request_id + 1, transfer_id), (request_id, -transfer_id))
            )
        return FinalizeTransfer(
            transfer.debtor_id,
            transfer.creditor_id,
            transfer_id,
            transfer.coordinator_type,
            transfer.coordinator_id,
            request_id,
            committed_amount=min(random.choice(amounts), MAX_INT64),
            transfer_note=random.choice(NOTES),
            transfer_note_format=random.choice(("", "txt", "-.Az09")),
            ts=now,
        )

    def outside_change(self, random: Random, now: datetime) -> Command:
        """Return money that comes from an account that is nowhere here, or goes there."""
        debtor_id, creditor_id = self._account(random)
        delta = random.choice((1, 1, -1)) * max(1, self._amount(random))
        late = (timedelta(0), SECOND, -SECOND, DAY, 60 * DAY, 400 * DAY)
        kind = random.choice(("direct", "agent", "issuing", "interest", "delete"))
        return self.given(debtor_id, creditor_id, delta, now - random.choice(late), kind)

    def given(
        self, debtor_id: int, creditor_id: int, delta: int, moment: datetime, kind: str = "direct"
    ) -> PendingBalanceChange:
        return PendingBalanceChange(
            debtor_id,
            creditor_id,
            change_id=next(self._outside_ids),
            coordinator_type=kind,
            transfer_note_format="",
            transfer_note="",
            committed_at=moment,
            principal_delta=delta,
            other_creditor_id=OUTSIDER_ID,
        )

    def _account(self, random: Random) -> AccountKey:
        return random.choice(DEBTOR_IDS), random.choice((0, 0, *CREDITOR_IDS))

    def _amount(self, random: Random) -> int:
        small = random.randrange(200)
        return random.choice((small, small, small, random.choice(AMOUNTS)))

    def _coordinator(self, random: Random, debtor_id: int, creditor_id: int) -> tuple[str, int]:
        kinds = [("direct", creditor_id), ("direct", creditor_id), ("strange", 3)]
        if creditor_id == 0:
            kinds = [("issuing", debtor_id), ("issuing", debtor_id), ("direct", 0)]
        elif creditor_id >> 40 == AGENT_ID >> 40:
            kinds.append(("agent", AGENT_ID))
        return random.choice(kinds)

    def _recipient(self, random: Random) -> str:
        if random.randrange(10) == 0:
            return random.choice(("", "05", "+5", " 5", "x", "99", str(2**64), "9" * 100))
        return account_id(random.choice((0, *CREDITOR_IDS)))
