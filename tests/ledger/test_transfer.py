"""Prepared transfers: until when they can be committed, and what finalizing them comes to."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.transfer import deadline_of
from swpt_accounts.ledger.values import EPOCH
from tests.factories import (
    DEBTOR_ID,
    FAR_FUTURE,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    account,
    locking_account,
    prepared_transfer,
    root_account,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
COMMIT_PERIOD = 90 * DAY
END = datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("ts", "max_commit_delay", "deadline"),
    [
        pytest.param(NOW, 2**31 - 1, NOW + COMMIT_PERIOD, id="the commit period"),
        pytest.param(NOW, 86400, NOW + DAY, id="what the coordinator asks for"),
        pytest.param(NOW, 0, NOW, id="at once"),
        pytest.param(NOW - 2 * DAY, 86400, NOW - DAY, id="counted from when it was asked"),
        pytest.param(NOW + 2 * DAY, 86400, NOW + 3 * DAY, id="asked in the future"),
        pytest.param(NOW, 90 * 86400, NOW + COMMIT_PERIOD, id="exactly the commit period"),
        pytest.param(END, 2**31 - 1, NOW + COMMIT_PERIOD, id="asked at the end of time"),
        pytest.param(END - DAY, 2**31 - 1, NOW + COMMIT_PERIOD, id="beyond the end of time"),
        pytest.param(
            datetime.min.replace(tzinfo=UTC),
            2**31 - 1,
            datetime.min.replace(tzinfo=UTC) + timedelta(seconds=2**31 - 1),
            id="asked in the first year",
        ),
    ],
)
def test_the_deadline(ts: datetime, max_commit_delay: int, deadline: datetime) -> None:
    assert deadline_of(ts, max_commit_delay, NOW, COMMIT_PERIOD) == deadline


@pytest.mark.parametrize(
    ("now", "deadline"),
    [
        pytest.param(END - COMMIT_PERIOD - MICROSECOND, END - MICROSECOND, id="just before"),
        pytest.param(END - COMMIT_PERIOD, END, id="exactly at"),
        pytest.param(END - COMMIT_PERIOD + MICROSECOND, END, id="beyond, so saturated"),
        pytest.param(END, END, id="at the end of time already"),
    ],
)
def test_the_deadline_is_saturated_at_the_end_of_time(now: datetime, deadline: datetime) -> None:
    assert deadline_of(now, 2**31 - 1, now, COMMIT_PERIOD) == deadline


RATE_CHANGED = {"last_interest_rate_change_ts": NOW + MICROSECOND}
RATE_KNOWN = {"last_interest_rate_change_ts": NOW}


@pytest.mark.parametrize(
    ("transfer_fields", "account_fields", "committed_amount", "later", "status_code"),
    [
        pytest.param({}, {}, 500, 0 * DAY, "OK", id="all of what was locked"),
        pytest.param({}, {}, 1, 0 * DAY, "OK", id="less than what was locked"),
        pytest.param({}, {}, 1000, 0 * DAY, "OK", id="more than what was locked, all there is"),
        pytest.param(
            {},
            {},
            1001,
            0 * DAY,
            "INSUFFICIENT_AVAILABLE_AMOUNT",
            id="one unit more than there is",
        ),
        pytest.param(
            {},
            {"total_locked_amount": 900},
            601,
            0 * DAY,
            "INSUFFICIENT_AVAILABLE_AMOUNT",
            id="what others have locked",
        ),
        pytest.param(
            {}, {"total_locked_amount": 900}, 600, 0 * DAY, "OK", id="up to what others have locked"
        ),
        pytest.param(
            {"locked_amount": 0}, {"total_locked_amount": 0}, 1000, 0 * DAY, "OK", id="zero lock"
        ),
        pytest.param(
            {"locked_amount": 0},
            {"total_locked_amount": 0},
            1001,
            0 * DAY,
            "INSUFFICIENT_AVAILABLE_AMOUNT",
            id="zero lock, not enough",
        ),
        pytest.param({}, {}, 0, 0 * DAY, "OK", id="dismissed"),
        pytest.param({}, RATE_CHANGED, 0, 999 * DAY, "OK", id="dismissed after everything"),
        pytest.param({}, {}, 500, 90 * DAY, "OK", id="exactly at the deadline"),
        pytest.param({}, {}, 500, 90 * DAY + MICROSECOND, "TIMEOUT", id="after the deadline"),
        pytest.param(
            {"final_interest_rate_ts": NOW},
            RATE_CHANGED,
            500,
            90 * DAY + MICROSECOND,
            "TIMEOUT",
            id="the deadline comes before the rate",
        ),
        pytest.param(
            {"final_interest_rate_ts": NOW},
            RATE_CHANGED,
            500,
            0 * DAY,
            "NEWER_INTEREST_RATE",
            id="a newer rate",
        ),
        pytest.param(
            {"final_interest_rate_ts": NOW},
            RATE_CHANGED,
            5000,
            0 * DAY,
            "NEWER_INTEREST_RATE",
            id="the rate comes before the amount",
        ),
        pytest.param(
            {"final_interest_rate_ts": NOW}, RATE_KNOWN, 500, 0 * DAY, "OK", id="the known rate"
        ),
        pytest.param(
            {"final_interest_rate_ts": EPOCH}, {}, 500, 0 * DAY, "OK", id="the rate never changed"
        ),
    ],
)
def test_the_verdict(
    transfer_fields: dict[str, Any],
    account_fields: dict[str, Any],
    committed_amount: int,
    later: timedelta,
    status_code: str,
) -> None:
    transfer = prepared_transfer(**transfer_fields)
    sender = locking_account(transfer, **{"principal": 1000, **account_fields})
    assert transfer.verdict(sender, committed_amount, NOW + later) == status_code


@pytest.mark.parametrize(
    ("days", "secured"),
    [
        pytest.param(0, 1000, id="at once"),
        pytest.param(30, 944, id="after 30 days (a factor of 0.9446582976965447)"),
        pytest.param(90, 842, id="after 90 days (a factor of 0.8429935098773893)"),
    ],
)
def test_a_lock_is_honoured_less_the_demurrage_whatever_the_balance(
    days: int, secured: int
) -> None:
    transfer = prepared_transfer(locked_amount=1000)
    sender = locking_account(transfer, principal=-5000)
    now = NOW + days * DAY
    assert transfer.verdict(sender, secured, now) == "OK"
    assert transfer.verdict(sender, secured + 1, now) == "INSUFFICIENT_AVAILABLE_AMOUNT"


def test_the_lock_of_a_root_account_is_honoured_without_demurrage() -> None:
    transfer = prepared_transfer(coordinator_type="issuing", creditor_id=0, locked_amount=1000)
    sender = locking_account(transfer, principal=-5000, negligible_amount=0.0)
    now = NOW + 90 * DAY
    assert transfer.verdict(sender, 1000, now) == "OK"
    assert transfer.verdict(sender, 1001, now) == "INSUFFICIENT_AVAILABLE_AMOUNT"


def test_a_root_account_may_commit_more_than_the_lock_up_to_its_limit() -> None:
    transfer = prepared_transfer(coordinator_type="issuing", creditor_id=0, locked_amount=1000)
    sender = locking_account(transfer, principal=-5000, negligible_amount=7500.0)
    assert transfer.verdict(sender, 2500, NOW) == "OK"
    assert transfer.verdict(sender, 2501, NOW) == "INSUFFICIENT_AVAILABLE_AMOUNT"


def test_interest_can_be_spent_on_commit() -> None:
    transfer = prepared_transfer(locked_amount=0)
    sender = locking_account(transfer, principal=1000, interest_rate=5.0)
    later = NOW + timedelta(days=36.525)
    # A tenth of a year at 5 percents: 1000 · 1.05^0.1 = 1004.89.
    assert transfer.verdict(sender, 1004, later) == "OK"
    assert transfer.verdict(sender, 1005, later) == "INSUFFICIENT_AVAILABLE_AMOUNT"


def test_the_announcement_says_what_was_prepared_and_a_reminder_only_differs_in_its_ts() -> None:
    transfer = prepared_transfer(recipient_creditor_id=-7)
    first, reminder = transfer.announcement(NOW), transfer.announcement(NOW + DAY)
    assert msgspec.structs.asdict(first) == {
        "debtor_id": DEBTOR_ID,
        "creditor_id": SENDER_ID,
        "transfer_id": 77,
        "coordinator_type": "direct",
        "coordinator_id": SENDER_ID,
        "coordinator_request_id": 1,
        "locked_amount": 500,
        "recipient": "18446744073709551609",
        "prepared_at": NOW,
        "demurrage_rate": -50.0,
        "deadline": NOW + 90 * DAY,
        "final_interest_rate_ts": FAR_FUTURE,
        "ts": NOW,
    }
    assert reminder == msgspec.structs.replace(first, ts=NOW + DAY)
    assert transfer.announcement(NOW - DAY).ts == NOW, "not before it was prepared"


def test_keys() -> None:
    transfer = prepared_transfer(recipient_creditor_id=RECIPIENT_ID)
    assert transfer.key == (DEBTOR_ID, SENDER_ID, 77)
    assert transfer.coordinator_key == (DEBTOR_ID, SENDER_ID, "direct", SENDER_ID, 1)
    assert account().key == (DEBTOR_ID, SENDER_ID)
    assert root_account().account_id == "0"
