"""When something is due, to the microsecond, on both sides of each limit (Periodic work)."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from swpt_accounts.ledger import upkeep
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DebtorInfo
from swpt_accounts.ledger.values import EPOCH, MAX_INT64
from tests.factories import NOW, account, prepared_transfer, root_account

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
YEAR = timedelta(seconds=31_557_600)


def around(limit: timedelta) -> list[Any]:
    """Return ages on both sides of a limit that is reached when it is exactly over."""
    return [
        pytest.param(-10 * 365 * DAY, False, id="in the future"),
        pytest.param(timedelta(0), False, id="now"),
        pytest.param(limit - MICROSECOND, False, id="just before"),
        pytest.param(limit, True, id="exactly"),
        pytest.param(limit + MICROSECOND, True, id="just after"),
        pytest.param(limit + 3650 * DAY, True, id="long after"),
    ]


# -- AccountUpdate -----------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "is_due"), around(HOUR))
def test_a_change_is_announced_when_it_has_waited_long_enough(age: timedelta, is_due: bool) -> None:
    changed = account(last_update_sent_ts=NOW, update_pending_since=NOW - age)
    assert upkeep.is_update_due(changed, Policy(), NOW) is is_due


@pytest.mark.parametrize(("age", "is_due"), around(7 * DAY))
@pytest.mark.parametrize("make", [account, root_account])
def test_a_heartbeat_is_due_when_nothing_was_sent_for_long(
    make: Callable[..., Any], age: timedelta, is_due: bool
) -> None:
    unchanged = make(last_update_sent_ts=NOW - age)
    assert upkeep.is_update_due(unchanged, Policy(), NOW) is is_due


@pytest.mark.parametrize(("wanted", "lateness"), [(1 * DAY, 3 * DAY), (3 * DAY, 1 * DAY)])
def test_nothing_is_repeated_more_often_than_messages_may_be_late(
    wanted: timedelta, lateness: timedelta
) -> None:
    policy = Policy(heartbeat_interval=wanted, reminder_interval=wanted, message_delay_max=lateness)
    for age, is_due in ((3 * DAY - MICROSECOND, False), (3 * DAY, True)):
        unchanged = account(last_update_sent_ts=NOW - age)
        assert upkeep.is_update_due(unchanged, policy, NOW) is is_due
        transfer = prepared_transfer(prepared_at=NOW - age)
        assert upkeep.is_reminder_due(transfer, policy, NOW) is is_due


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        pytest.param({}, False, id="nothing has changed"),
        pytest.param({"update_pending_since": NOW - 2 * HOUR}, True, id="changed"),
        pytest.param(
            {"update_pending_since": NOW, "last_update_sent_ts": NOW - 8 * DAY},
            True,
            id="changed just now, but a heartbeat is due",
        ),
        pytest.param(
            {"is_deleted": True, "update_pending_since": NOW - 2 * HOUR}, False, id="deleted"
        ),
        pytest.param(
            {"is_deleted": True, "last_update_sent_ts": NOW - 100 * DAY},
            False,
            id="deleted accounts have no heartbeat",
        ),
    ],
)
def test_when_an_account_is_announced(fields: dict[str, Any], is_due: bool) -> None:
    it = account(**{"last_update_sent_ts": NOW - DAY, **fields})
    assert upkeep.is_update_due(it, Policy(), NOW) is is_due


def test_an_operator_may_want_changes_announced_at_once() -> None:
    changed = account(last_update_sent_ts=NOW, update_pending_since=NOW)
    assert upkeep.is_update_due(changed, Policy(account_update_delay=timedelta(0)), NOW)
    unchanged = account(last_update_sent_ts=NOW)
    assert not upkeep.is_update_due(unchanged, Policy(account_update_delay=timedelta(0)), NOW)


# -- interest rate and debtor info --------------------------------------------------------------


@pytest.mark.parametrize(("age", "is_due"), around(8 * DAY))
def test_the_rate_changes_at_most_once_in_eight_days(age: timedelta, is_due: bool) -> None:
    it = account(interest_rate=1.0, last_interest_rate_change_ts=NOW - age)
    assert upkeep.is_rate_change_due(it, 2.0, Policy(), NOW) is is_due


@pytest.mark.parametrize(("age", "is_due"), around(3.5 * DAY))
def test_the_interval_is_a_day_more_than_messages_may_be_late(age: timedelta, is_due: bool) -> None:
    it = account(interest_rate=1.0, last_interest_rate_change_ts=NOW - age)
    policy = Policy(message_delay_max=2.5 * DAY)
    assert upkeep.is_rate_change_due(it, 2.0, policy, NOW) is is_due


@pytest.mark.parametrize(
    ("stored", "wanted", "is_due"),
    [
        pytest.param(0.0, 0.0, False, id="the same"),
        pytest.param(0.0, -0.0, False, id="zero has no sign"),
        pytest.param(0.0, 5e-324, True, id="the smallest difference from zero"),
        pytest.param(5.0, 5.000000000000001, True, id="the smallest difference"),
        pytest.param(3.123456789012345, 3.123456789012345, False, id="all digits are kept"),
        pytest.param(0.1, 0.1, False, id="not a binary fraction"),
        pytest.param(100.0, 100.00000000000001, False, id="contained, above"),
        pytest.param(100.0, 1e308, False, id="contained, far above"),
        pytest.param(-50.0, -50.00000000000001, False, id="contained, below"),
        pytest.param(-50.0, -1e308, False, id="contained, far below"),
        pytest.param(99.0, 101.0, True, id="not yet at the highest"),
        pytest.param(-49.0, -51.0, True, id="not yet at the lowest"),
        pytest.param(5.0, 0.0, True, id="no interest any more"),
        pytest.param(5.0, -5.0, True, id="the opposite"),
    ],
)
def test_rates_are_compared_as_they_are_stored(stored: float, wanted: float, is_due: bool) -> None:
    it = account(interest_rate=stored)
    assert upkeep.is_rate_change_due(it, wanted, Policy(), NOW) is is_due


INFO = DebtorInfo("https://example.com/", "text/html", bytes(range(32)))
INFO_FIELDS = {
    "debtor_info_iri": INFO.iri,
    "debtor_info_content_type": INFO.content_type,
    "debtor_info_sha256": INFO.sha256,
}


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        pytest.param({}, False, id="the same"),
        pytest.param({"debtor_info_iri": "https://example.com"}, True, id="another IRI"),
        pytest.param({"debtor_info_content_type": "text/HTML"}, True, id="another type"),
        pytest.param({"debtor_info_sha256": bytes(32)}, True, id="another hash"),
        pytest.param({"debtor_info_sha256": b""}, True, id="no hash yet"),
        pytest.param({"debtor_info_iri": "", "is_deleted": True}, False, id="deleted"),
        pytest.param({"debtor_info_iri": "", "creditor_id": 0}, False, id="root account"),
    ],
)
def test_when_the_debtor_info_changes(fields: dict[str, Any], is_due: bool) -> None:
    it = account(**{**INFO_FIELDS, **fields})
    assert upkeep.is_info_change_due(it, INFO) is is_due


def test_debtor_info_can_be_taken_back() -> None:
    assert upkeep.is_info_change_due(account(**INFO_FIELDS), DebtorInfo())
    assert not upkeep.is_info_change_due(account(), DebtorInfo())


@pytest.mark.parametrize("fields", [{"is_deleted": True}, {"creditor_id": 0}], ids=str)
def test_rates_of_root_accounts_and_deleted_ones_do_not_change(fields: dict[str, Any]) -> None:
    assert not upkeep.is_rate_change_due(account(**fields), 2.0, Policy(), NOW)


# -- interest payments ---------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "is_due"), around(14 * DAY))
def test_interest_is_paid_once_in_a_while(age: timedelta, is_due: bool) -> None:
    it = account(principal=1000, interest=50.0, last_interest_capitalization_ts=NOW - age)
    assert upkeep.is_capitalization_due(it, Policy(), NOW) is is_due


@pytest.mark.parametrize(
    ("principal", "interest", "is_due"),
    [
        pytest.param(9998, 1.0, True, id="exceeds the ratio"),
        pytest.param(9999, 1.0, False, id="is the ratio"),
        pytest.param(9999, 1.999, False, id="a fraction does not count"),
        pytest.param(9999, 2.0, True, id="one unit more exceeds it"),
        pytest.param(-9998, -1.0, True, id="below zero, exceeds the ratio"),
        pytest.param(-9999, -1.0, False, id="below zero, is the ratio"),
        pytest.param(-9999, -1.001, True, id="below zero, is rounded down"),
        pytest.param(0, 0.0, False, id="nothing"),
        pytest.param(0, 0.999, False, id="less than a unit"),
        pytest.param(0, 1.0, True, id="a unit where there was nothing"),
        pytest.param(0, -1e-9, True, id="less than nothing"),
        pytest.param(10**6, -0.3, False, id="a unit of many"),
        pytest.param(MAX_INT64, 1e24, False, id="there is no room for it"),
        pytest.param(-MAX_INT64, -1e24, False, id="there is no room for it below zero"),
        pytest.param(MAX_INT64 - 2**60, 1e24, True, id="there is room for a part of it"),
        pytest.param(MAX_INT64, -1e24, True, id="a lot is taken from a lot"),
    ],
)
def test_interest_is_paid_when_it_is_worth_it(
    principal: int, interest: float, is_due: bool
) -> None:
    it = account(principal=principal, interest=interest)
    assert upkeep.is_capitalization_due(it, Policy(), NOW) is is_due


def test_the_ratio_is_the_operators() -> None:
    it = account(principal=99, interest=10.0)
    assert not upkeep.is_capitalization_due(it, Policy(interest_to_principal_ratio_max=0.10), NOW)
    it.interest = 11.0
    assert upkeep.is_capitalization_due(it, Policy(interest_to_principal_ratio_max=0.10), NOW)


def test_interest_counts_until_now() -> None:
    it = account(principal=10**6, interest_rate=10.0, last_change_ts=NOW - YEAR)
    assert upkeep.is_capitalization_due(it, Policy(), NOW)
    assert not upkeep.is_capitalization_due(it, Policy(), NOW - YEAR)


@pytest.mark.parametrize("fields", [{"is_deleted": True}, {"creditor_id": 0}], ids=str)
@pytest.mark.parametrize("policy", [Policy(), Policy(capitalization_interval_min=timedelta(0))])
def test_root_accounts_and_deleted_ones_get_no_interest(
    fields: dict[str, Any], policy: Policy
) -> None:
    it = account(principal=1000, interest=50.0, **fields)
    assert not upkeep.is_capitalization_due(it, policy, NOW)


@pytest.mark.parametrize(
    ("principal", "interest", "is_due"),
    [
        (10**12, 1.0, True),
        (10**12, 0.999, False),
        (10**12, 0.0, False),
        (10**12, -0.001, True),
        (MAX_INT64, 1e9, False),
        (MAX_INT64 - 1, 1e9, True),
    ],
)
def test_without_a_least_interval_every_whole_unit_is_paid(
    principal: int, interest: float, is_due: bool
) -> None:
    it = account(principal=principal, interest=interest, last_interest_capitalization_ts=NOW)
    policy = Policy(capitalization_interval_min=timedelta(0))
    assert upkeep.is_capitalization_due(it, policy, NOW) is is_due


# -- the end of accounts -------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "is_due"), around(14 * DAY))
def test_deletion_is_tried_once_in_a_while(age: timedelta, is_due: bool) -> None:
    it = account(config_flags=1, last_deletion_attempt_ts=NOW - age)
    assert upkeep.is_deletion_attempt_due(it, Policy(), NOW) is is_due


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        pytest.param({"config_flags": 1}, True, id="scheduled, never tried"),
        pytest.param({"config_flags": 0}, False, id="not scheduled"),
        pytest.param({"config_flags": -2}, False, id="all other flags"),
        pytest.param({"config_flags": -1}, True, id="scheduled, and all other flags"),
        pytest.param({"config_flags": 1, "is_deleted": True}, False, id="deleted already"),
        pytest.param({"config_flags": 1, "creditor_id": 0}, True, id="root accounts too"),
        pytest.param({"config_flags": 1, "principal": 10**9}, True, id="whatever it holds"),
    ],
)
def test_when_deletion_is_tried(fields: dict[str, Any], is_due: bool) -> None:
    assert upkeep.is_deletion_attempt_due(account(**fields), Policy(), NOW) is is_due


@pytest.mark.parametrize(
    ("policy", "delay"),
    [
        (Policy(), 106 * DAY),
        (Policy(commit_period=30 * DAY), 46 * DAY),
        (Policy(intranet_delay_max=1 * DAY, commit_period=30 * DAY), 33 * DAY),
    ],
)
@pytest.mark.parametrize("make", [account, root_account])
def test_a_deleted_account_is_remembered_for_long(
    make: Callable[..., Any], policy: Policy, delay: timedelta
) -> None:
    for age, is_due in (
        (-3650 * DAY, False),
        (delay - MICROSECOND, False),
        (delay, False),
        (delay + MICROSECOND, True),
    ):
        it = make(is_deleted=True, creation_date=date(2025, 1, 1), last_change_ts=NOW - age)
        assert upkeep.is_purge_due(it, policy, NOW) is is_due


def test_a_live_account_is_not_forgotten() -> None:
    assert not upkeep.is_purge_due(account(last_change_ts=EPOCH), Policy(), NOW)


@pytest.mark.parametrize(
    ("now", "creation_date", "is_due"),
    [
        (datetime(2026, 1, 4, tzinfo=UTC), date(2026, 1, 1), False),
        (datetime(2026, 1, 4, 23, 59, 59, 999999, UTC), date(2026, 1, 1), False),
        (datetime(2026, 1, 5, tzinfo=UTC), date(2026, 1, 1), True),
        (datetime(2026, 1, 5, tzinfo=UTC), date(2026, 1, 2), False),
        (datetime(2026, 1, 5, tzinfo=UTC), date(2027, 1, 1), False),
    ],
)
def test_an_account_created_anew_has_a_later_date_everywhere(
    now: datetime, creation_date: date, is_due: bool
) -> None:
    """The other limit must not hide this one, whatever the operator's delays are."""
    policy = Policy(intranet_delay_max=-2 * DAY, commit_period=timedelta(0))
    it = account(is_deleted=True, creation_date=creation_date, last_change_ts=now - DAY)
    assert upkeep.is_purge_due(it, policy, now) is is_due


# -- reminders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "is_due"), around(7 * DAY))
def test_a_reminder_is_due_a_week_after_the_preparation(age: timedelta, is_due: bool) -> None:
    transfer = prepared_transfer(prepared_at=NOW - age)
    assert upkeep.is_reminder_due(transfer, Policy(), NOW) is is_due
    chores = upkeep.chores_for_transfer(transfer, Policy(), NOW)
    assert bool(chores) is is_due


@pytest.mark.parametrize(("age", "is_due"), around(7 * DAY))
def test_a_reminder_is_due_a_week_after_the_last_one(age: timedelta, is_due: bool) -> None:
    transfer = prepared_transfer(prepared_at=NOW - 1000 * DAY, last_reminder_ts=NOW - age)
    assert upkeep.is_reminder_due(transfer, Policy(), NOW) is is_due


def test_reminders_go_on_after_the_deadline() -> None:
    transfer = prepared_transfer(prepared_at=NOW - 8 * DAY, deadline=NOW - 8 * DAY)
    assert upkeep.is_reminder_due(transfer, Policy(), NOW)
