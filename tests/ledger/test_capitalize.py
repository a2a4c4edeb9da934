"""CapitalizeInterest: interest becomes principal (protocol.rst, Interest payments)."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate
from swpt_accounts.ledger.interest import INTEREST_MAX
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import MAX_INT64
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    FIRST_CHANGE_ID,
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    capitalize_interest,
    event,
    events_of,
    local,
    nothing_happened,
    only_event,
    root_account,
)

DAY = timedelta(days=1)
YEAR = timedelta(seconds=31_557_600)
EVERY_UNIT = Policy(capitalization_interval_min=timedelta(0))


def capitalize(*accounts: Account, **options: Any) -> WorkingSet:
    return apply_batch(capitalize_interest(), accounts=accounts, **options)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"is_deleted": True}, id="deleted"),
        pytest.param({"last_interest_capitalization_ts": NOW - 13.9 * DAY}, id="too early"),
        pytest.param({"interest": 0.999}, id="less than a unit"),
        pytest.param({"principal": 10**7}, id="not worth it"),
        pytest.param({"principal": MAX_INT64}, id="no room for it"),
    ],
)
def test_nothing_happens(fields: dict[str, Any]) -> None:
    it = account(**{"principal": 1000, "interest": 50.0, **fields})
    outcome = capitalize(it, root_account())
    assert nothing_happened(outcome)


def test_there_is_no_such_account() -> None:
    assert capitalize(root_account()).changed_accounts() == []


def test_root_accounts_have_no_interest() -> None:
    root = root_account(principal=-1000, interest=50.0)
    outcome = apply_batch(capitalize_interest(creditor_id=0), accounts=[root])
    assert outcome.changed_accounts() == []


# -- how much ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "interest", "paid", "remaining"),
    [
        pytest.param(1000, 50.0, 50, 0.0, id="a whole number"),
        pytest.param(1000, 50.75, 50, 0.75, id="the fraction remains"),
        pytest.param(1000, -50.0, -50, 0.0, id="below zero"),
        pytest.param(1000, -50.25, -51, 0.75, id="below zero it is rounded down"),
        pytest.param(0, -0.3, -1, 0.7, id="rounded down from zero"),
        pytest.param(0, 1.0, 1, 0.0, id="where there was nothing"),
        pytest.param(-1000, 50.5, 50, 0.5, id="a debt becomes smaller"),
        pytest.param(-1000, -50.5, -51, 0.5, id="a debt becomes larger"),
        pytest.param(50, -50.0, -50, 0.0, id="nothing is left"),
        pytest.param(50, -60.0, -60, 0.0, id="less than nothing is left"),
        pytest.param(2**53 + 1, 2.0**40 + 0.5, 2**40, 0.5, id="floats do not touch the principal"),
        pytest.param(2**62 + 1, 2.0**60, 2**60, 0.0, id="near the highest principal"),
        pytest.param(MAX_INT64 - 7, 2.0**60, 7, 2.0**60 - 7, id="as much as there is room for"),
        pytest.param(-MAX_INT64 + 7, -(2.0**60), -7, 7 - 2.0**60, id="the same below zero"),
        pytest.param(0, 1e24, MAX_INT64, 1e24 - MAX_INT64, id="more than a principal can be"),
        pytest.param(0, -1e24, -MAX_INT64, MAX_INT64 - 1e24, id="the same below zero again"),
    ],
)
def test_whole_units_are_paid(principal: int, interest: float, paid: int, remaining: float) -> None:
    it, root = account(principal=principal, interest=interest), root_account()
    outcome = capitalize(it, root, policy=EVERY_UNIT)
    assert it.principal == principal + paid
    assert it.interest == remaining
    assert root.principal == -paid
    assert [entry.amount for entry in outcome.journal] == [paid, -paid]
    assert all(entry.clipped_amount == 0 for entry in outcome.journal)
    assert it.last_interest_capitalization_ts == NOW


@pytest.mark.parametrize(("principal", "interest"), [(MAX_INT64, -1e24), (-MAX_INT64, 1e24)])
@pytest.mark.parametrize("roots_shard", [local(SENDER_ID, 0), local(SENDER_ID)])
def test_a_payment_is_never_more_than_a_message_can_say(
    principal: int, interest: float, roots_shard: Any
) -> None:
    """There is room for twice as much, but neither a journal entry nor a message could hold it."""
    it = account(principal=principal, interest=interest)
    outcome = capitalize(it, root_account(), is_local=roots_shard)
    assert it.principal == 0
    assert outcome.journal[0].amount == -principal
    assert it.interest == interest + principal
    assert [change.principal_delta for change in outcome.sent] in ([], [principal])


def test_interest_counts_until_now() -> None:
    it = account(principal=1_000_000, interest_rate=10.0, last_change_ts=NOW - YEAR)
    capitalize(it, root_account())
    assert (it.principal, it.interest) == (1_100_000, 0.0)
    assert it.last_change_ts == NOW


def test_negative_rates_take_from_the_principal() -> None:
    it = account(principal=1_000_000, interest_rate=-50.0, last_change_ts=NOW - YEAR)
    root = root_account(principal=-1_000_000)
    capitalize(it, root)
    assert (it.principal, it.interest, root.principal) == (500_000, 0.0, -500_000)


def test_the_payment_itself_earns_nothing() -> None:
    """It happens now, so it can't be late, whatever the moments on the account are."""
    it = account(
        principal=1000,
        interest=100.0,
        interest_rate=100.0,
        previous_interest_rate=-50.0,
        last_interest_rate_change_ts=NOW + 5 * YEAR,
        last_change_ts=NOW,
    )
    capitalize(it, root_account())
    assert (it.principal, it.interest) == (1100, 0.0)


def test_a_clock_that_went_back_earns_nothing_and_turns_nothing_back() -> None:
    ahead = NOW + YEAR
    it = account(principal=1000, interest=100.0, interest_rate=100.0, last_change_ts=ahead)
    outcome = capitalize(it, root_account(principal=-1000))
    assert (it.principal, it.interest) == (1100, 0.0)
    assert (it.last_change_ts, it.last_change_seqnum) == (ahead, 6)
    assert it.last_interest_capitalization_ts == NOW
    (told,) = events_of(outcome, AccountTransfer)
    assert (told.committed_at, told.ts) == (ahead, NOW)


def test_the_root_account_may_be_full() -> None:
    """The owner gets everything. What the root account cannot hold is in the journal."""
    it, root = account(principal=1000, interest=50.0), root_account(principal=-MAX_INT64 + 20)
    outcome = capitalize(it, root)
    assert (it.principal, root.principal, root.is_overflown) == (1050, -MAX_INT64, True)
    assert [entry.clipped_amount for entry in outcome.journal] == [0, -30]


# -- how often ---------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy(), EVERY_UNIT])
def test_a_chore_that_comes_twice_pays_once(policy: Policy) -> None:
    it = account(principal=1000, interest=50.5)
    chores = [capitalize_interest()] * 3
    outcome = apply_batch(*chores, accounts=[it, root_account()], policy=policy)
    assert (it.principal, it.interest) == (1050, 0.5)
    assert len(outcome.journal) == 2


def test_chores_of_one_currency_share_the_root_account() -> None:
    accounts = [account(creditor_id=n, principal=1000 * n, interest=50.0) for n in range(1, 6)]
    root = root_account(principal=-15_000)
    chores = [capitalize_interest(creditor_id=n) for n in range(1, 6)]
    apply_batch(*chores, accounts=[*accounts, root])
    assert root.principal == -15_250
    assert root.last_journal_number == 5


# -- what is told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interest", "sender", "recipient"),
    [(50.0, "0", str(SENDER_ID)), (-50.0, str(SENDER_ID), "0")],
)
def test_the_owner_is_told_and_the_debtor_is_not(
    interest: float, sender: str, recipient: str
) -> None:
    it = account(principal=1000, interest=interest, last_transfer_number=7)
    outcome = capitalize(it, root_account())
    assert only_event(outcome, AccountTransfer) == event(
        AccountTransfer,
        creation_date=it.creation_date,
        coordinator_type="interest",
        sender=sender,
        recipient=recipient,
        acquired_amount=int(interest),
        principal=1000 + int(interest),
        transfer_number=8,
        previous_transfer_number=7,
    )
    assert (it.last_transfer_number, it.last_transfer_committed_at) == (8, NOW)


@pytest.mark.parametrize(
    ("interest", "negligible_amount", "is_told"),
    [(50.0, 50.0, False), (50.0, 49.9, True), (-50.0, 1e30, True)],
)
def test_negligible_interest_is_paid_silently(
    interest: float, negligible_amount: float, is_told: bool
) -> None:
    it = account(principal=1000, interest=interest, negligible_amount=negligible_amount)
    outcome = capitalize(it, root_account())
    assert it.principal == 1000 + interest
    assert bool(outcome.events) is is_told
    assert it.last_transfer_number == (1 if is_told else 0)


def test_changed_balances_are_announced_later_and_together() -> None:
    it, root = account(principal=1000, interest=50.0), root_account()
    outcome = capitalize(it, root)
    assert events_of(outcome, AccountUpdate) == []
    assert it.update_pending_since == root.update_pending_since == NOW


def test_both_ends_are_in_the_journal_under_one_change_id() -> None:
    outcome = capitalize(account(principal=1000, interest=50.0), root_account())
    payment, debit = outcome.journal
    assert (payment.creditor_id, payment.other_creditor_id) == (SENDER_ID, 0)
    assert (debit.creditor_id, debit.other_creditor_id) == (0, SENDER_ID)
    for entry in (payment, debit):
        assert entry.coordinator_type == "interest"
        assert (entry.transfer_id, entry.change_id) == (None, FIRST_CHANGE_ID)
        assert entry.transfer_note == entry.transfer_note_format == ""


# -- the root account ---------------------------------------------------------------------------


def test_the_root_account_of_another_shard_is_sent_the_opposite() -> None:
    it = account(principal=1000, interest=50.75)
    outcome = capitalize(it, is_local=local(SENDER_ID))
    assert events_of(outcome, PendingBalanceChange) == [
        PendingBalanceChange(
            debtor_id=DEBTOR_ID,
            creditor_id=0,
            change_id=FIRST_CHANGE_ID,
            coordinator_type="interest",
            transfer_note_format="",
            transfer_note="",
            committed_at=NOW,
            principal_delta=-50,
            other_creditor_id=SENDER_ID,
        )
    ]
    assert (it.principal, it.interest) == (1050, 0.75)


def test_a_root_account_that_does_not_exist_is_created() -> None:
    outcome = capitalize(account(principal=1000, interest=50.0))
    root = outcome.accounts[DEBTOR_ID, 0]
    assert (root.principal, root.is_created) == (-50, True)
    (update,) = events_of(outcome, AccountUpdate)
    assert (update.creditor_id, update.principal) == (0, -50)


def test_a_deleted_root_account_comes_back_to_life() -> None:
    root = root_account(is_deleted=True, config_flags=1, last_config_seqnum=9)
    outcome = capitalize(account(principal=1000, interest=50.0), root)
    assert (root.principal, root.is_deleted) == (-50, False)
    (update,) = events_of(outcome, AccountUpdate)
    assert (update.creditor_id, update.config_flags, update.last_config_seqnum) == (0, 1, 9)


# -- whatever the numbers are --------------------------------------------------------------------


PRINCIPALS = (
    st.integers(-MAX_INT64, MAX_INT64)
    | st.integers(-1000, 1000)
    | st.sampled_from([MAX_INT64, -MAX_INT64, 2**53 + 1])
)
INTERESTS = st.floats(-INTEREST_MAX, INTEREST_MAX) | st.floats(-1000, 1000)
ELAPSED = st.timedeltas(-400 * DAY, 400 * DAY)


@given(PRINCIPALS, INTERESTS, st.floats(-50, 100), ELAPSED, PRINCIPALS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_paying_makes_nobody_richer_or_poorer(
    principal: int,
    interest: float,
    rate: float,
    elapsed: timedelta,
    root_principal: int,
    is_root_local: bool,
) -> None:
    it = account(
        principal=principal, interest=interest, interest_rate=rate, last_change_ts=NOW - elapsed
    )
    root = root_account(principal=root_principal)
    accumulated = it.interest_at(NOW)
    outcome = capitalize(
        it,
        root,
        policy=EVERY_UNIT,
        is_local=local(SENDER_ID, 0) if is_root_local else local(SENDER_ID),
    )
    paid = it.principal - principal
    assert abs(paid) <= MAX_INT64
    assert abs(it.principal) <= MAX_INT64
    clipped = sum(entry.clipped_amount for entry in outcome.journal)
    sent = sum(change.principal_delta for change in outcome.sent)
    assert it.principal + root.principal + clipped + sent == principal + root_principal
    if paid == 0:
        assert outcome.changed_accounts() == []
    elif abs(accumulated) < 2**53:
        assert it.interest == accumulated - paid, "one rounding, of the fraction that remains"
    else:
        assert it.interest == pytest.approx(accumulated - paid, rel=1e-15, abs=1024)
