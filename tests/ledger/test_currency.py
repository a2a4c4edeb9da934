"""ChangeInterestRate and UpdateDebtorInfo: accounts follow their currency."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import ChangeInterestRate, UpdateDebtorInfo
from swpt_accounts.ledger.events import AccountUpdate
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DebtorInfo
from swpt_accounts.ledger.upkeep import is_rate_change_due
from swpt_accounts.ledger.values import EPOCH
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    NOW,
    account,
    apply_batch,
    change_interest_rate,
    events_of,
    nothing_happened,
    only_event,
    root_account,
    update_debtor_info,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
YEAR = timedelta(seconds=31_557_600)

CHORES = [change_interest_rate, update_debtor_info]


def do(chore: ChangeInterestRate | UpdateDebtorInfo, it: Account, **options: Any) -> WorkingSet:
    return apply_batch(chore, accounts=[it], **options)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chore", CHORES)
@pytest.mark.parametrize(
    ("age", "is_done"),
    [
        pytest.param(timedelta(0), True, id="just found out"),
        pytest.param(DAY - MICROSECOND, True, id="almost a day old"),
        pytest.param(DAY, True, id="a day old"),
        pytest.param(DAY + MICROSECOND, False, id="older than a day"),
        pytest.param(3650 * DAY, False, id="very old"),
        pytest.param(-DAY, True, id="the clock went back"),
    ],
)
def test_what_was_found_out_long_ago_may_have_changed(
    chore: Any, age: timedelta, is_done: bool
) -> None:
    outcome = do(chore(ts=NOW - age), account())
    assert nothing_happened(outcome) is not is_done


@pytest.mark.parametrize("chore", CHORES)
def test_the_account_does_not_exist(chore: Any) -> None:
    assert nothing_happened(apply_batch(chore()))


@pytest.mark.parametrize("chore", CHORES)
def test_the_account_is_deleted(chore: Any) -> None:
    assert nothing_happened(do(chore(), account(is_deleted=True)))


@pytest.mark.parametrize("chore", CHORES)
def test_root_accounts_do_not_follow_themselves(chore: Any) -> None:
    assert nothing_happened(do(chore(creditor_id=0), root_account()))


@pytest.mark.parametrize("chore", CHORES)
def test_a_chore_that_comes_twice_changes_once(chore: Any) -> None:
    it = account()
    do(chore(), it)
    it.is_changed = False
    assert nothing_happened(do(chore(), it, now=NOW + DAY))


# -- the interest rate -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "is_done"),
    [
        pytest.param(NOW - EPOCH, True, id="never"),
        pytest.param(8 * DAY, True, id="eight days ago"),
        pytest.param(8 * DAY - MICROSECOND, False, id="almost eight days ago"),
        pytest.param(-DAY, False, id="the clock went back"),
    ],
)
def test_the_rate_rests_for_eight_days(since: timedelta, is_done: bool) -> None:
    it = account(interest_rate=1.0, last_interest_rate_change_ts=NOW - since)
    outcome = do(change_interest_rate(), it)
    assert nothing_happened(outcome) is not is_done
    assert it.interest_rate == (5.0 if is_done else 1.0)


def test_a_rate_change_is_told_at_once_and_what_has_accumulated_stays() -> None:
    it = account(
        principal=1_000_000,
        interest=0.0,
        interest_rate=10.0,
        previous_interest_rate=-3.0,
        last_interest_rate_change_ts=NOW - YEAR,
        last_change_ts=NOW - YEAR,
    )
    outcome = do(change_interest_rate(interest_rate=-20.0), it)
    assert (it.interest_rate, it.previous_interest_rate) == (-20.0, 10.0)
    assert (it.principal, it.interest) == (1_000_000, 100_000.0)
    assert it.last_interest_rate_change_ts == it.last_change_ts == NOW
    update = only_event(outcome, AccountUpdate)
    assert (update.interest_rate, update.interest) == (-20.0, 100_000.0)
    assert (update.last_interest_rate_change_ts, update.ts) == (NOW, NOW)
    assert update.last_change_seqnum == 6
    assert it.update_pending_since is None


@pytest.mark.parametrize(
    ("wanted", "stored"),
    [
        (5.000000000000001, 5.000000000000001),
        (1e-50, 1e-50),
        (5e-324, 5e-324),
        (100.0, 100.0),
        (100.00000000000001, 100.0),
        (1e308, 100.0),
        (-50.0, -50.0),
        (-50.00000000000001, -50.0),
        (-1e308, -50.0),
    ],
)
def test_rates_are_contained_stored_with_all_digits_and_not_changed_again(
    wanted: float, stored: float
) -> None:
    it = account(interest_rate=1.0)
    outcome = do(change_interest_rate(interest_rate=wanted), it)
    assert it.interest_rate == stored
    assert only_event(outcome, AccountUpdate).interest_rate == stored
    assert not is_rate_change_due(it, wanted, Policy(), NOW + YEAR)


@pytest.mark.parametrize(("current", "wanted"), [(5.0, 5.0), (100.0, 150.0), (-50.0, -60.0)])
def test_a_rate_that_would_be_the_same_is_no_change(current: float, wanted: float) -> None:
    it = account(interest_rate=current, last_change_ts=NOW - DAY, principal=1000)
    assert nothing_happened(do(change_interest_rate(interest_rate=wanted), it))
    assert it.last_interest_rate_change_ts == EPOCH


def test_the_moments_of_rate_changes_do_not_go_back_with_the_clock() -> None:
    ahead = NOW + YEAR
    it = account(principal=1000, interest_rate=10.0, last_change_ts=ahead)
    outcome = do(change_interest_rate(), it)
    update = only_event(outcome, AccountUpdate)
    assert (it.interest_rate, it.interest) == (5.0, 0.0)
    assert update.last_change_ts == update.last_interest_rate_change_ts == update.ts == ahead


# -- the debtor info ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "info"),
    [
        pytest.param(
            {},
            DebtorInfo("https://example.com/debtor", "text/html", bytes(range(32))),
            id="everything",
        ),
        pytest.param(
            {"debtor_info_content_type": "", "debtor_info_sha256": ""},
            DebtorInfo("https://example.com/debtor"),
            id="only the IRI",
        ),
        pytest.param(
            {
                "debtor_info_iri": "",
                "debtor_info_content_type": "",
                "debtor_info_sha256": "",
            },
            DebtorInfo(),
            id="nothing any more",
        ),
        pytest.param(
            {"debtor_info_sha256": "ab" * 32},
            DebtorInfo("https://example.com/debtor", "text/html", b"\xab" * 32),
            id="a hash in small letters",
        ),
        pytest.param(
            {"debtor_info_iri": "https://приме́р.example/𝔻"},
            DebtorInfo("https://приме́р.example/𝔻", "text/html", bytes(range(32))),
            id="letters of all kinds",
        ),
    ],
)
def test_new_debtor_info_is_told_at_once(fields: dict[str, Any], info: DebtorInfo) -> None:
    it = account(debtor_info_iri="old", principal=1_000_000, interest_rate=10.0)
    it.last_change_ts = NOW - YEAR
    outcome = do(update_debtor_info(**fields), it)
    assert it.debtor_info == info
    update = only_event(outcome, AccountUpdate)
    assert update.debtor_info_iri == info.iri
    assert update.debtor_info_content_type == info.content_type
    assert update.debtor_info_sha256 == info.sha256
    assert (update.last_change_ts, update.last_change_seqnum) == (NOW, 6)
    assert update.interest == 100_000.0


def test_debtor_info_may_change_any_time_and_leaves_the_rate_alone() -> None:
    it = account(interest_rate=1.0, last_interest_rate_change_ts=NOW)
    do(update_debtor_info(), it)
    it.is_changed = False
    outcome = do(update_debtor_info(debtor_info_iri="another"), it)
    assert only_event(outcome, AccountUpdate).debtor_info_iri == "another"
    assert (it.interest_rate, it.last_interest_rate_change_ts) == (1.0, NOW)


# -- together ----------------------------------------------------------------------------------


def test_an_account_whose_beginning_was_cut_short_is_completed_by_one_message() -> None:
    it = account()
    outcome = apply_batch(change_interest_rate(), update_debtor_info(), accounts=[it])
    update = only_event(outcome, AccountUpdate)
    assert (update.interest_rate, update.debtor_info_content_type) == (5.0, "text/html")
    assert update.last_change_seqnum == 7


def test_chores_of_several_accounts_change_each_its_own() -> None:
    accounts = [account(creditor_id=n) for n in (3, 1, 2)]
    chores = [change_interest_rate(creditor_id=n, interest_rate=n / 7) for n in (1, 2, 3)]
    outcome = apply_batch(*chores, accounts=accounts)
    told = {
        update.creditor_id: update.interest_rate for update in events_of(outcome, AccountUpdate)
    }
    assert told == {n: n / 7 for n in (1, 2, 3)}
