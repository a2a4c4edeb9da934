"""What an account holds, what may be spent, and the verbs that change it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.root_config import DEFAULT_ROOT_CONFIG, DebtorInfo
from swpt_accounts.ledger.values import EPOCH, MAX_INT32, MAX_INT64, MIN_INT32
from tests.factories import DEBTOR_ID, NOW, SENDER_ID, account, root_account

DAY = timedelta(days=1)
YEAR = timedelta(days=365.25)


def test_a_new_account_holds_nothing_and_is_to_be_announced() -> None:
    new = Account.create(DEBTOR_ID, SENDER_ID, datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC))
    assert new.creation_date == date(2026, 1, 1)
    assert (new.principal, new.interest, new.interest_rate) == (0, 0.0, 0.0)
    assert (new.total_locked_amount, new.pending_transfers_count) == (0, 0)
    assert (new.last_change_seqnum, new.last_config_seqnum, new.last_transfer_number) == (0, 0, 0)
    assert new.last_change_ts == datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
    assert new.last_config_ts == new.last_interest_rate_change_ts == EPOCH
    assert new.last_transfer_committed_at == EPOCH
    assert (new.config_flags, new.config_data, new.negligible_amount) == (0, "", 0.0)
    assert new.is_created
    assert new.is_changed
    assert new.is_update_due


@pytest.mark.parametrize(
    ("now", "first_id"),
    [
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), 0, id="1970"),
        pytest.param(datetime(2026, 1, 1, tzinfo=UTC), 22489410834530304, id="2026"),
    ],
)
def test_transfer_ids_begin_with_the_day_of_creation(now: datetime, first_id: int) -> None:
    new = Account.create(DEBTOR_ID, SENDER_ID, now)
    assert new.lock(10) == first_id + 1
    assert new.lock(10) == first_id + 2


# -- available amount ----------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "later", "available"),
    [
        pytest.param({"principal": 1000}, 0 * DAY, 1000, id="the principal"),
        pytest.param({"principal": -1000}, 0 * DAY, -1000, id="a debt"),
        pytest.param({"principal": 1000, "interest": 0.999}, 0 * DAY, 1000, id="rounds down"),
        pytest.param({"principal": 1000, "interest": 1.0}, 0 * DAY, 1001, id="with the interest"),
        pytest.param(
            {"principal": 1000, "interest": -0.001}, 0 * DAY, 999, id="less negative interest"
        ),
        pytest.param(
            {"principal": 1000, "total_locked_amount": 400}, 0 * DAY, 600, id="less what is locked"
        ),
        pytest.param(
            {"principal": 100, "total_locked_amount": 400}, 0 * DAY, -300, id="more is locked"
        ),
        pytest.param(
            {"principal": 1000, "interest_rate": 5.0}, YEAR, 1050, id="interest since the change"
        ),
        pytest.param(
            {"principal": 1000, "interest_rate": -50.0}, YEAR, 500, id="demurrage since the change"
        ),
        pytest.param(
            {"principal": 1000, "interest_rate": 5.0}, -YEAR, 1000, id="the clock is late"
        ),
        pytest.param(
            {"principal": MAX_INT64, "interest": 1e6}, 0 * DAY, MAX_INT64, id="contained above"
        ),
        pytest.param(
            {"principal": -MAX_INT64, "total_locked_amount": MAX_INT64},
            0 * DAY,
            -MAX_INT64,
            id="contained below",
        ),
        pytest.param(
            {"principal": 2**53 + 1, "interest": 0.5}, 0 * DAY, 2**53 + 1, id="beyond 2^53, exactly"
        ),
    ],
)
def test_the_available_amount(fields: dict[str, Any], later: timedelta, available: int) -> None:
    assert account(**fields).available_amount(NOW + later) == available


LIMIT_1000 = '{"type":"RootConfigData","limit":1000}'
LIMIT_MAX = '{"type":"RootConfigData","limit":9223372036854775807}'


@pytest.mark.parametrize(
    ("config_data", "negligible_amount", "lowest_balance"),
    [
        pytest.param("", 0.0, 0, id="nothing negligible: nothing can be issued"),
        pytest.param("", 500.0, -500, id="no limit: the negligible amount"),
        pytest.param(LIMIT_1000, 500.0, -500, id="the negligible amount is smaller"),
        pytest.param(LIMIT_1000, 5000.0, -1000, id="the limit is smaller"),
        pytest.param(LIMIT_1000, 1e30, -1000, id="the negligible amount is huge"),
        pytest.param("", 1e30, -MAX_INT64, id="neither limits"),
        pytest.param(LIMIT_MAX, 1e308, -MAX_INT64, id="the largest possible"),
        pytest.param('{"type":"RootConfigData","limit":0}', 1e30, 0, id="a limit of zero"),
        pytest.param("", 1234567.0, -1234567, id="seven digits, exactly"),
        pytest.param("", 1234567.9, -1234567, id="rounded towards zero"),
        pytest.param("", 0.99, 0, id="less than one unit"),
        pytest.param("", 2.0**53 + 2, -(2**53 + 2), id="a float beyond 2^53, exactly"),
        pytest.param("", 2.0**62, -(2**62), id="a float far beyond 2^53, exactly"),
        pytest.param(LIMIT_MAX, 2.0**63, -MAX_INT64, id="a float just beyond 64 bits"),
        pytest.param(
            '{"type":"RootConfigData","limit":9007199254740993}',
            1e30,
            -(2**53 + 1),
            id="a limit that no float can hold",
        ),
    ],
)
def test_how_far_below_zero_a_root_account_may_go(
    config_data: str, negligible_amount: float, lowest_balance: int
) -> None:
    root = root_account(config_data=config_data, negligible_amount=negligible_amount)
    assert root.lowest_balance == lowest_balance
    assert root.available_amount(NOW) == -lowest_balance


def test_other_accounts_may_not_go_below_zero() -> None:
    assert account(negligible_amount=1e30).lowest_balance == 0


def test_an_unreadable_configuration_counts_as_the_default_one() -> None:
    assert root_account(config_data="{").root_config == DEFAULT_ROOT_CONFIG


@pytest.mark.parametrize(
    ("fields", "accepts"),
    [
        pytest.param({}, True, id="live"),
        pytest.param({"is_deleted": True}, False, id="deleted"),
        pytest.param({"config_flags": 1}, False, id="scheduled for deletion"),
        pytest.param({"config_flags": -1}, False, id="all flags"),
        pytest.param({"config_flags": -2}, True, id="all flags but that one"),
        pytest.param({"creditor_id": 0, "is_deleted": True, "config_flags": 1}, True, id="root"),
    ],
)
def test_which_accounts_accept_transfers(fields: dict[str, Any], accepts: bool) -> None:
    assert account(**fields).accepts_transfers is accepts


# -- interest -------------------------------------------------------------------


def test_accruing_brings_the_interest_up_to_date_and_counts_a_change() -> None:
    it = account(principal=1000, interest_rate=5.0, last_change_seqnum=7)
    it.accrue(NOW + YEAR, due=0.25)
    assert it.interest == 50.25
    assert it.last_change_ts == NOW + YEAR
    assert it.last_change_seqnum == 8
    assert it.update_pending_since == NOW + YEAR
    assert it.is_changed
    assert not it.is_update_due


def test_the_last_change_does_not_go_back_with_the_clock() -> None:
    it = account(principal=1000, interest_rate=5.0, last_change_ts=NOW)
    it.accrue(NOW - DAY)
    assert it.last_change_ts == NOW
    assert it.interest == 0.0
    assert it.last_change_seqnum == 6


def test_the_number_of_the_last_change_wraps() -> None:
    it = account(last_change_seqnum=MAX_INT32)
    it.accrue(NOW)
    assert it.last_change_seqnum == MIN_INT32


@pytest.mark.parametrize("principal", [2**53 + 1, MAX_INT64])
def test_accrued_interest_is_exact_to_the_last_bit_beside_a_large_principal(
    principal: int,
) -> None:
    it = account(principal=principal, interest=0.125, interest_rate=3.0)
    it.accrue(NOW + timedelta(seconds=1))
    with localcontext(prec=80):
        growth = ((1 + Decimal(3) / 100).ln() / 31_557_600).exp() - 1
        exact = Decimal("0.125") + (principal + Decimal("0.125")) * growth
    assert it.interest == float(exact)
    assert it.whole_balance(NOW + timedelta(seconds=1)) == principal + int(exact)


def test_a_change_of_the_rate_keeps_what_has_accumulated() -> None:
    it = account(principal=1000, interest_rate=5.0, last_change_seqnum=7)
    it.set_interest_rate(-10.0, NOW + YEAR)
    assert (it.interest, it.interest_rate, it.previous_interest_rate) == (50.0, -10.0, 5.0)
    assert it.last_interest_rate_change_ts == it.last_change_ts == NOW + YEAR
    assert it.last_change_seqnum == 8
    assert it.is_update_due
    it.accrue(NOW + 2 * YEAR)
    assert it.interest == pytest.approx(50.0 - 105.0)


def test_the_last_change_of_the_rate_does_not_go_back_with_the_clock() -> None:
    it = account(principal=1000, last_change_ts=NOW)
    it.set_interest_rate(5.0, NOW - DAY)
    assert it.last_interest_rate_change_ts == it.last_change_ts == NOW


def test_new_debtor_info_is_a_change_to_be_announced() -> None:
    it = account(last_change_seqnum=7)
    info = DebtorInfo("https://example.com/", "text/html", b"x" * 32)
    it.set_debtor_info(info, NOW + DAY)
    assert it.debtor_info == info
    assert (it.last_change_ts, it.last_change_seqnum) == (NOW + DAY, 8)
    assert it.is_update_due


def due_by_the_specification(
    amount: int, committed_at: datetime, now: datetime, changed_at: datetime, r0: float, r: float
) -> float:
    """Return what protocol.rst, Interest, says is due to a late transfer."""

    def seconds(period: timedelta) -> Decimal:
        return Decimal(period // timedelta(microseconds=1)) / 1_000_000

    def k(rate: float) -> Decimal:
        return (1 + Decimal(rate) / 100).ln() / 31_557_600

    with localcontext(prec=80):
        e = max(committed_at, now)
        q = min(changed_at, e)
        t0 = max(Decimal(0), seconds(q - committed_at))
        t = min(seconds(e - committed_at), seconds(e - q))
        return float(amount * ((k(r0) * t0 + k(r) * t).exp() - 1))


@pytest.mark.parametrize("amount", [10_000, -10_000, MAX_INT64])
@pytest.mark.parametrize(
    ("committed_ago", "changed_ago"),
    [
        pytest.param(10 * DAY, 30 * DAY, id="the rate changed before"),
        pytest.param(10 * DAY, 4 * DAY, id="the rate changed meanwhile"),
        pytest.param(10 * DAY, 0 * DAY, id="the rate changed right now"),
        pytest.param(10 * DAY, -2 * DAY, id="the rate changes in the future of this clock"),
        pytest.param(0 * DAY, 4 * DAY, id="not late at all"),
        pytest.param(-5 * DAY, 4 * DAY, id="committed in the future of this clock"),
        pytest.param(-5 * DAY, -7 * DAY, id="committed, and the rate changed, in the future"),
    ],
)
def test_interest_due_to_a_late_transfer(
    amount: int, committed_ago: timedelta, changed_ago: timedelta
) -> None:
    it = account(
        interest_rate=-8.5,
        previous_interest_rate=12.25,
        last_interest_rate_change_ts=NOW - changed_ago,
    )
    expected = due_by_the_specification(
        amount, NOW - committed_ago, NOW, NOW - changed_ago, 12.25, -8.5
    )
    assert it.due_interest(amount, NOW - committed_ago, NOW) == pytest.approx(expected, rel=1e-15)


def test_accounts_without_a_rate_are_due_nothing() -> None:
    assert root_account().due_interest(10_000, NOW - YEAR, NOW) == 0.0


# -- verbs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "amount", "after", "clipped_amount"),
    [
        pytest.param(100, 50, 150, 0, id="fits"),
        pytest.param(100, -150, -50, 0, id="becomes a debt"),
        pytest.param(MAX_INT64 - 1, 1, MAX_INT64, 0, id="reaches the highest exactly"),
        pytest.param(MAX_INT64 - 1, 2, MAX_INT64, 1, id="one too much"),
        pytest.param(MAX_INT64, MAX_INT64, MAX_INT64, MAX_INT64, id="nothing of it fits"),
        pytest.param(1 - MAX_INT64, -1, -MAX_INT64, 0, id="reaches the lowest exactly"),
        pytest.param(1 - MAX_INT64, -2, -MAX_INT64, -1, id="one too much below zero"),
        pytest.param(-MAX_INT64, MAX_INT64, 0, 0, id="back to zero"),
    ],
)
def test_principals_are_contained_and_what_does_not_fit_is_told(
    principal: int, amount: int, after: int, clipped_amount: int
) -> None:
    it = account(principal=principal)
    assert it.add_to_principal(amount) == clipped_amount
    assert it.principal == after
    assert it.is_overflown is (clipped_amount != 0)
    assert it.is_changed


def test_an_overflow_is_never_forgotten() -> None:
    it = account(principal=5, is_overflown=True)
    it.add_to_principal(1)
    assert it.is_overflown


def test_locking_and_unlocking_count_but_are_no_meaningful_change() -> None:
    it = account(principal=1000, interest_rate=5.0, last_change_seqnum=7, last_transfer_id=40)
    assert it.lock(300) == 41
    assert it.lock(0) == 42
    assert (it.total_locked_amount, it.pending_transfers_count) == (300, 2)
    it.unlock(300)
    it.unlock(0)
    assert (it.total_locked_amount, it.pending_transfers_count) == (0, 0)
    assert it.last_transfer_id == 42
    assert (it.last_change_ts, it.last_change_seqnum) == (NOW, 7)
    assert it.is_changed
    assert it.update_pending_since is None


@pytest.mark.parametrize(
    ("total_locked_amount", "available"),
    [
        pytest.param(0, MAX_INT64, id="all the room there is"),
        pytest.param(5, MAX_INT64 - 5, id="less room"),
        pytest.param(MAX_INT64 - 5, 5, id="hardly any room"),
        pytest.param(MAX_INT64, 0, id="no room"),
    ],
)
def test_no_more_is_available_than_the_total_of_all_locks_has_room_for(
    total_locked_amount: int, available: int
) -> None:
    root = root_account(
        principal=MAX_INT64, negligible_amount=1e30, total_locked_amount=total_locked_amount
    )
    assert root.available_amount(NOW) == available


@pytest.mark.parametrize(("count", "too_many"), [(0, False), (2**31 - 2, False), (2**31 - 1, True)])
def test_so_many_transfers_can_be_prepared(count: int, too_many: bool) -> None:
    assert account(pending_transfers_count=count).has_too_many_transfers is too_many


def test_a_revived_account_is_announced_and_keeps_its_flags() -> None:
    it = account(is_deleted=True, config_flags=1)
    it.revive()
    assert not it.is_deleted
    assert it.config_flags == 1
    assert it.is_changed
    assert it.is_update_due
