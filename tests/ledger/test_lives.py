"""Accounts that end and come back, batch after batch (protocol.rst, Deletion and Purge)."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import (
    AccountPurge,
    AccountTransfer,
    AccountUpdate,
    RejectedTransfer,
)
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.upkeep import chores_for_account
from swpt_accounts.ledger.values import CONFIG_SCHEDULED_FOR_DELETION
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    apply_batch,
    capitalize_interest,
    change_interest_rate,
    configure_account,
    configure_root_account,
    events_of,
    finalize_transfer,
    locking_account,
    nothing_happened,
    only_event,
    pending_balance_change,
    prepare_transfer,
    prepared_transfer,
    purge_account,
    root_account,
    send_account_update,
    try_to_delete_account,
    update_debtor_info,
)

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SENDER, ROOT = (DEBTOR_ID, SENDER_ID), (DEBTOR_ID, 0)

FLAG = CONFIG_SCHEDULED_FOR_DELETION


class Life:
    """A shard with some accounts, which lives from batch to batch."""

    def __init__(self) -> None:
        self.now = NOW
        self.accounts: dict[tuple[int, int], Account] = {}
        self.log: list[Any] = []

    def do(self, *commands: Any, after: timedelta = HOUR) -> WorkingSet:
        """Apply one batch, after some time has passed."""
        self.now += after
        outcome = apply_batch(*commands, accounts=self.accounts.values(), now=self.now)
        for key in outcome.purged:
            del self.accounts[key]
        self.accounts |= outcome.accounts
        for account in self.accounts.values():
            account.is_created = account.is_changed = False
        self.log += outcome.events
        return outcome

    @property
    def sender(self) -> Account:
        return self.accounts[SENDER]

    def config(self, **fields: Any) -> Any:
        return configure_account(**{"ts": self.now, **fields})

    def credit(self, amount: int, change_id: int = 1) -> PendingBalanceChange:
        """Return money that another shard has sent to the account."""
        return pending_balance_change(
            creditor_id=SENDER_ID,
            other_creditor_id=STRANGER_ID,
            principal_delta=amount,
            change_id=change_id,
            committed_at=self.now,
        )


@pytest.fixture
def life() -> Life:
    """An account that has been opened, used, scheduled for deletion, and deleted."""
    life = Life()
    life.do(configure_root_account(ts=NOW), life.config(seqnum=1))
    life.do(life.credit(2, change_id=1))
    life.do(life.config(seqnum=2, config_flags=FLAG, negligible_amount=3.0), after=30 * DAY)
    life.do(try_to_delete_account())
    assert life.sender.is_deleted
    assert (life.sender.principal, life.sender.last_transfer_number) == (0, 2)
    return life


def updates_of(outcome: WorkingSet, creditor_id: int = SENDER_ID) -> list[AccountUpdate]:
    return [u for u in events_of(outcome, AccountUpdate) if u.creditor_id == creditor_id]


def place(update: AccountUpdate) -> tuple[Any, ...]:
    """Return what owners put their account's updates in order by."""
    return update.creation_date, update.last_change_ts, update.last_change_seqnum


# -- dead ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chore",
    [
        send_account_update(),
        change_interest_rate(ts=NOW + 100 * DAY),
        update_debtor_info(ts=NOW + 100 * DAY),
        capitalize_interest(),
        try_to_delete_account(),
        purge_account(),
    ],
    ids=lambda chore: type(chore).__name__,
)
def test_chores_about_a_deleted_account_do_nothing(life: Life, chore: Any) -> None:
    outcome = life.do(chore, after=50 * DAY)
    assert nothing_happened(outcome)


def test_a_deleted_account_can_send_nothing_and_be_sent_nothing(life: Life) -> None:
    life.do(configure_account(creditor_id=RECIPIENT_ID, ts=life.now))
    outgoing = prepare_transfer(ts=life.now)
    incoming = prepare_transfer(
        creditor_id=RECIPIENT_ID, recipient=str(SENDER_ID), coordinator_request_id=2, ts=life.now
    )
    outcome = life.do(outgoing, incoming)
    assert [event.status_code for event in events_of(outcome, RejectedTransfer)] == [
        "SENDER_IS_UNREACHABLE",
        "RECIPIENT_IS_UNREACHABLE",
    ]


def test_an_old_configuration_does_not_bring_it_back(life: Life) -> None:
    ts, seqnum = life.sender.last_config_ts, life.sender.last_config_seqnum
    for old in ({"ts": ts, "seqnum": seqnum}, {"ts": ts, "seqnum": seqnum - 1}, {"ts": NOW}):
        outcome = life.do(configure_account(**old))
        assert outcome.events == []
        assert life.sender.is_deleted


# -- resurrected ---------------------------------------------------------------------------------


def test_late_money_brings_it_back_and_then_it_is_deleted_again(life: Life) -> None:
    before = life.sender.creation_date, life.sender.last_transfer_id
    seqnum = life.sender.last_change_seqnum
    outcome = life.do(life.credit(1000, change_id=2), after=DAY)
    it = life.sender
    assert (it.is_deleted, it.principal, it.config_flags) == (False, 1000, FLAG)
    assert (it.creation_date, it.last_transfer_id) == before
    (told,) = events_of(outcome, AccountTransfer)
    assert (told.transfer_number, told.previous_transfer_number, told.principal) == (3, 2, 1000)
    assert told.creation_date == before[0]
    (update,) = updates_of(outcome)
    assert (update.principal, update.config_flags) == (1000, FLAG)
    assert update.last_change_seqnum > seqnum

    life.do(try_to_delete_account(), after=DAY)
    assert not it.is_deleted, "the last attempt was lately"
    life.do(try_to_delete_account(), after=14 * DAY)
    assert not it.is_deleted, "it holds too much"
    it.negligible_amount = 1000.0
    life.do(try_to_delete_account(), after=14 * DAY)
    assert (it.is_deleted, it.principal) == (True, 0)
    assert life.accounts[ROOT].principal == 2 + 1000
    assert it.last_transfer_number == 4


def test_negligible_late_money_brings_it_back_silently(life: Life) -> None:
    outcome = life.do(life.credit(3, change_id=2))
    assert events_of(outcome, AccountTransfer) == []
    (update,) = updates_of(outcome)
    assert (update.principal, update.last_transfer_number) == (3, 2)
    life.do(try_to_delete_account(), after=14 * DAY)
    assert (life.sender.is_deleted, life.accounts[ROOT].principal) == (True, 2 + 3)


def test_late_money_of_the_own_shard_brings_it_back(life: Life) -> None:
    transfer = prepared_transfer(creditor_id=RECIPIENT_ID, recipient_creditor_id=SENDER_ID)
    payer = locking_account(transfer, principal=500)
    outcome = apply_batch(
        finalize_transfer(transfer),
        accounts=[payer, life.sender],
        transfers=[transfer],
        now=life.now,
    )
    assert (life.sender.is_deleted, life.sender.principal) == (False, 500)
    assert len(updates_of(outcome)) == 1


def test_late_money_may_be_less_than_nothing(life: Life) -> None:
    """A debt that comes late is written off like any other."""
    life.do(life.credit(-7, change_id=2))
    assert (life.sender.is_deleted, life.sender.principal) == (False, -7)
    life.do(try_to_delete_account(), after=14 * DAY)
    assert (life.sender.is_deleted, life.sender.principal) == (True, 0)
    assert life.accounts[ROOT].principal == 2 - 7


def test_money_that_came_before_does_not_bring_it_back_a_second_time(life: Life) -> None:
    outcome = apply_batch(
        life.credit(2, change_id=1),
        accounts=life.accounts.values(),
        registered_changes=[(DEBTOR_ID, STRANGER_ID, 1)],
    )
    assert outcome.changed_accounts() == []
    assert life.sender.is_deleted


@pytest.mark.parametrize("flags", [0, FLAG])
def test_a_newer_configuration_brings_it_back(life: Life, flags: int) -> None:
    before = life.sender.creation_date, life.sender.last_transfer_id
    outcome = life.do(life.config(seqnum=3, config_flags=flags), after=DAY)
    it = life.sender
    assert (it.is_deleted, it.principal, it.config_flags) == (False, 0, flags)
    assert (it.creation_date, it.last_transfer_id, it.last_transfer_number) == (*before, 2)
    (update,) = updates_of(outcome)
    assert (update.last_config_seqnum, update.config_flags) == (3, flags)
    life.do(try_to_delete_account(), after=14 * DAY)
    assert it.is_deleted is (flags == FLAG)


def test_an_account_brought_back_follows_its_currency_again(life: Life) -> None:
    life.do(
        configure_root_account(
            ts=life.now, seqnum=9, config_data='{"type": "RootConfigData", "rate": 4.5}'
        )
    )
    life.do(life.config(seqnum=3))
    assert life.sender.interest_rate == 4.5


def test_interest_does_not_grow_on_the_dead(life: Life) -> None:
    life.sender.interest_rate = 100.0
    life.sender.last_interest_rate_change_ts = NOW
    life.now += 90 * DAY
    life.do(life.credit(1000, change_id=2), after=timedelta(0))
    assert (life.sender.principal, life.sender.interest) == (1000, 0.0)


# -- forgotten, and created anew -----------------------------------------------------------------


def test_after_the_purge_it_is_another_account(life: Life) -> None:
    old = life.sender
    purged = life.do(purge_account(), after=107 * DAY)
    assert SENDER not in life.accounts
    assert only_event(purged, AccountPurge).creation_date == old.creation_date
    outcome = life.do(life.config(seqnum=-5))
    new = life.sender
    assert new is not old
    assert new.creation_date > old.creation_date
    assert new.last_transfer_id > old.last_transfer_id + 2**40
    assert (new.last_transfer_number, new.last_journal_number) == (0, 0)
    (update,) = updates_of(outcome)
    assert update.creation_date == new.creation_date
    assert (update.last_change_ts, update.last_change_seqnum) > (old.last_change_ts, 0)


def test_money_that_is_later_than_anything_may_be_creates_it_anew(life: Life) -> None:
    old = life.sender
    life.do(purge_account(), after=107 * DAY)
    outcome = life.do(life.credit(1000, change_id=2))
    new = life.sender
    assert (new.principal, new.config_flags, new.last_config_seqnum) == (1000, 0, 0)
    assert new.creation_date > old.creation_date
    (told,) = events_of(outcome, AccountTransfer)
    assert (told.transfer_number, told.previous_transfer_number) == (1, 0)
    assert told.creation_date == new.creation_date


def test_a_very_old_configuration_does_not_create_it_anew(life: Life) -> None:
    old = life.config(seqnum=99)
    life.do(purge_account(), after=107 * DAY)
    assert life.do(old).events == []
    assert SENDER not in life.accounts


def test_money_that_comes_before_the_purge_prevents_it(life: Life) -> None:
    life.do(life.credit(1, change_id=2), after=105 * DAY)
    life.do(purge_account(), after=50 * DAY)
    assert not life.sender.is_deleted
    life.do(try_to_delete_account())
    life.do(purge_account(), after=105 * DAY)
    assert life.sender.is_deleted, "its life has ended later than that"
    life.do(purge_account(), after=2 * DAY)
    assert SENDER not in life.accounts


def test_a_root_account_is_forgotten_and_created_anew_in_one_batch(life: Life) -> None:
    """The journal of the new one begins from nothing."""
    root = root_account(
        is_deleted=True,
        creation_date=(NOW - 500 * DAY).date(),
        last_change_ts=NOW - 400 * DAY,
        last_journal_number=12,
    )
    it = life.do(life.config(seqnum=3, config_flags=FLAG)).accounts[SENDER]
    it.principal = 2
    outcome = apply_batch(
        purge_account(creditor_id=0),
        try_to_delete_account(),
        accounts=[it, root],
        now=life.now + 14 * DAY,
    )
    assert set(outcome.purged) == {ROOT}
    new = outcome.accounts[ROOT]
    assert (new.principal, new.last_journal_number, new.is_created) == (2, 1, True)
    assert new.creation_date > root.creation_date
    purge, *_, update = [event for event in outcome.events if event.creditor_id == 0]
    assert isinstance(purge, AccountPurge)
    assert isinstance(update, AccountUpdate)
    assert purge.creation_date < update.creation_date


# -- all of it -----------------------------------------------------------------------------------


def test_a_scan_now_and_then_leads_an_account_through_its_whole_life(life: Life) -> None:
    """What is told about it comes in an order that its owner can rely on."""
    life.do(life.credit(1, change_id=2))
    while SENDER in life.accounts:
        chores = chores_for_account(life.sender, None, Policy(), life.now)
        life.do(*chores, after=8 * HOUR)
    told = [event for event in life.log if event.creditor_id == SENDER_ID]
    *updates, purge = [event for event in told if not isinstance(event, AccountTransfer)]
    assert isinstance(purge, AccountPurge)
    assert updates == sorted(updates, key=place)
    for update, following in pairwise(updates):
        is_repetition = msgspec.structs.replace(following, ts=update.ts) == update
        assert is_repetition is (place(following) == place(update))
    assert purge.creation_date == updates[0].creation_date
    outlived = updates[-1].ts + timedelta(seconds=updates[-1].ttl)
    assert purge.ts > outlived
    numbers = [event.transfer_number for event in told if isinstance(event, AccountTransfer)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert life.accounts[ROOT].principal == 2 + 1, "all that was credited to it"
