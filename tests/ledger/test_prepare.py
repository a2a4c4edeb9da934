"""Locking an amount: how much, until when, and once only (protocol.rst, PrepareTransfer)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.events import PreparedTransfer, RejectedTransfer
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import EPOCH, MAX_INT64
from tests.factories import (
    DEBTOR_ID,
    FAR_FUTURE,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    account,
    apply_batch,
    finalize_transfer,
    only_event,
    prepare_transfer,
    prepared_transfer,
    recipient_account,
    root_account,
)

DAY = timedelta(days=1)


def test_locks_the_amount_and_tells_the_coordinator() -> None:
    sender = account(principal=1000, last_transfer_id=40, total_locked_amount=100)
    outcome = apply_batch(
        prepare_transfer(
            coordinator_request_id=-9,
            min_locked_amount=200,
            max_locked_amount=300,
            max_commit_delay=86400,
            ts=NOW - timedelta(hours=1),
            final_interest_rate_ts=FAR_FUTURE - DAY,
        ),
        accounts=[sender, recipient_account()],
    )
    assert msgspec.structs.asdict(only_event(outcome, PreparedTransfer)) == {
        "debtor_id": DEBTOR_ID,
        "creditor_id": SENDER_ID,
        "transfer_id": 41,
        "coordinator_type": "direct",
        "coordinator_id": SENDER_ID,
        "coordinator_request_id": -9,
        "locked_amount": 300,
        "recipient": str(RECIPIENT_ID),
        "prepared_at": NOW,
        "demurrage_rate": -50.0,
        "deadline": NOW + timedelta(hours=23),
        "final_interest_rate_ts": FAR_FUTURE - DAY,
        "ts": NOW,
    }
    (transfer,) = outcome.prepared.values()
    assert transfer.announcement(NOW) == only_event(outcome, PreparedTransfer)
    assert transfer.recipient_creditor_id == RECIPIENT_ID
    assert (sender.total_locked_amount, sender.pending_transfers_count) == (400, 1)
    assert [account.key for account in outcome.changed_accounts()] == [sender.key]


def test_preparing_is_no_meaningful_change() -> None:
    sender = account(principal=1000, last_change_seqnum=7)
    apply_batch(prepare_transfer(), accounts=[sender, recipient_account()], now=NOW + DAY)
    assert (sender.last_change_seqnum, sender.last_change_ts) == (7, NOW)
    assert sender.update_pending_since is None


# -- amounts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "minimum", "maximum", "locked_amount"),
    [
        pytest.param(1000, 0, 0, 0, id="zero lock"),
        pytest.param(0, 0, 0, 0, id="zero lock on an empty account"),
        pytest.param(-1000, 0, 0, 0, id="zero lock on a debt"),
        pytest.param(1000, 300, 300, 300, id="exactly what is asked for"),
        pytest.param(1000, 300, 700, 700, id="as much as is asked for"),
        pytest.param(500, 300, 700, 500, id="as much as there is"),
        pytest.param(300, 300, 700, 300, id="just the minimum"),
        pytest.param(299, 300, 700, None, id="less than the minimum"),
        pytest.param(-5, 0, 700, 0, id="nothing, when nothing is enough"),
        pytest.param(0, 1, 1, None, id="not a single unit"),
        pytest.param(MAX_INT64, 1, MAX_INT64, MAX_INT64, id="everything"),
    ],
)
def test_locks_as_much_as_possible_between_the_limits(
    principal: int, minimum: int, maximum: int, locked_amount: int | None
) -> None:
    sender = account(principal=principal)
    outcome = apply_batch(
        prepare_transfer(min_locked_amount=minimum, max_locked_amount=maximum),
        accounts=[sender, recipient_account()],
    )
    if locked_amount is None:
        refusal = only_event(outcome, RejectedTransfer)
        assert refusal.status_code == "INSUFFICIENT_AVAILABLE_AMOUNT"
    else:
        assert (
            only_event(outcome, PreparedTransfer).locked_amount
            == sender.total_locked_amount
            == locked_amount
        )


def test_requests_of_one_batch_see_each_others_locks() -> None:
    sender = account(principal=1000)
    commands = [
        prepare_transfer(coordinator_request_id=n, min_locked_amount=1, max_locked_amount=600)
        for n in (1, 2, 3)
    ]
    outcome = apply_batch(*commands, accounts=[sender, recipient_account()])
    first, second, third = outcome.events
    assert isinstance(first, PreparedTransfer)
    assert isinstance(second, PreparedTransfer)
    assert isinstance(third, RejectedTransfer)
    assert (first.locked_amount, second.locked_amount) == (600, 400)
    assert second.transfer_id == first.transfer_id + 1
    assert (third.status_code, third.total_locked_amount) == ("INSUFFICIENT_AVAILABLE_AMOUNT", 1000)


def test_accumulated_interest_can_be_locked() -> None:
    sender = account(principal=1000, interest_rate=5.0)
    outcome = apply_batch(
        prepare_transfer(min_locked_amount=1050, max_locked_amount=2000),
        accounts=[sender, recipient_account()],
        now=NOW + timedelta(days=365.25),
    )
    assert only_event(outcome, PreparedTransfer).locked_amount == 1050


@pytest.mark.parametrize(
    ("principal", "config_data", "negligible_amount", "issuable"),
    [
        pytest.param(0, "", 1234567.0, 1234567, id="up to the negligible amount, exactly"),
        pytest.param(-1000, "", 1234567.0, 1233567, id="less what has been issued"),
        pytest.param(
            0, '{"type":"RootConfigData","limit":500}', 1e30, 500, id="up to the configured limit"
        ),
        pytest.param(-500, '{"type":"RootConfigData","limit":500}', 1e30, 0, id="limit reached"),
        pytest.param(-600, '{"type":"RootConfigData","limit":500}', 1e30, -1, id="limit exceeded"),
        pytest.param(0, "", 2.0**53 + 2, 2**53 + 2, id="a float beyond 2^53, exactly"),
        pytest.param(-5, "", 1e30, MAX_INT64 - 5, id="practically without limit"),
        pytest.param(5, "", 1e30, MAX_INT64, id="no more than 64 bits at once"),
        pytest.param(0, "", 0.0, 0, id="nothing negligible: nothing"),
    ],
)
def test_how_much_can_be_issued(
    principal: int, config_data: str, negligible_amount: float, issuable: int
) -> None:
    root = root_account(
        principal=principal, config_data=config_data, negligible_amount=negligible_amount
    )
    everything, one_more = (
        prepare_transfer(
            coordinator_type="issuing",
            creditor_id=0,
            coordinator_request_id=minimum,
            min_locked_amount=minimum,
            max_locked_amount=MAX_INT64,
        )
        for minimum in (0, 1)
    )
    outcome = apply_batch(everything, one_more, accounts=[root, recipient_account()])
    answer, refused = outcome.events
    assert isinstance(answer, PreparedTransfer)
    assert answer.locked_amount == max(0, issuable)
    assert isinstance(refused, RejectedTransfer)
    assert refused.status_code == "INSUFFICIENT_AVAILABLE_AMOUNT"
    assert refused.total_locked_amount == max(0, issuable)


def test_issuing_needs_a_root_account() -> None:
    outcome = apply_batch(
        prepare_transfer(coordinator_type="issuing", creditor_id=0), accounts=[recipient_account()]
    )
    assert only_event(outcome, RejectedTransfer).status_code == "SENDER_IS_UNREACHABLE"


def test_the_total_of_all_locks_stays_within_64_bits() -> None:
    root = root_account(principal=MAX_INT64, negligible_amount=1e30)
    commands = [
        prepare_transfer(
            coordinator_type="issuing",
            creditor_id=0,
            coordinator_request_id=n,
            min_locked_amount=minimum,
            max_locked_amount=MAX_INT64 - 5,
        )
        for n, minimum in enumerate((1, 0, 1), start=1)
    ]
    outcome = apply_batch(*commands, accounts=[root, recipient_account()])
    first, second, third = outcome.events
    assert isinstance(first, PreparedTransfer)
    assert isinstance(second, PreparedTransfer)
    assert isinstance(third, RejectedTransfer)
    assert (first.locked_amount, second.locked_amount) == (MAX_INT64 - 5, 5)
    assert third.status_code == "INSUFFICIENT_AVAILABLE_AMOUNT"
    assert root.total_locked_amount == MAX_INT64


def test_a_sender_that_is_scheduled_for_deletion_may_still_send() -> None:
    outcome = apply_batch(
        prepare_transfer(), accounts=[account(config_flags=1), recipient_account()]
    )
    assert only_event(outcome, PreparedTransfer).creditor_id == SENDER_ID


# -- deadlines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "max_commit_delay", "deadline"),
    [
        pytest.param(NOW - 400 * DAY, 0, NOW - 400 * DAY, id="passed long ago"),
        pytest.param(NOW, 2**31 - 1, NOW + 90 * DAY, id="the longest"),
        pytest.param(
            datetime.max.replace(tzinfo=UTC), 2**31 - 1, NOW + 90 * DAY, id="asked in year 9999"
        ),
    ],
)
def test_no_deadline_prevents_the_preparation(
    ts: datetime, max_commit_delay: int, deadline: datetime
) -> None:
    outcome = apply_batch(
        prepare_transfer(ts=ts, max_commit_delay=max_commit_delay),
        accounts=[account(), recipient_account()],
    )
    assert only_event(outcome, PreparedTransfer).deadline == deadline


def test_the_commit_period_is_the_operators() -> None:
    outcome = apply_batch(
        prepare_transfer(),
        accounts=[account(), recipient_account()],
        policy=Policy(commit_period=30 * DAY),
    )
    assert only_event(outcome, PreparedTransfer).deadline == NOW + 30 * DAY


# -- repeated requests ------------------------------------------------------------------------


def test_a_repeated_request_in_one_batch_locks_once_and_gets_the_same_answer() -> None:
    sender = account(principal=1000)
    command = prepare_transfer(min_locked_amount=600, max_locked_amount=600)
    outcome = apply_batch(command, command, accounts=[sender, recipient_account()])
    first, second = outcome.events
    assert isinstance(first, PreparedTransfer)
    assert first == second
    assert len(outcome.prepared) == 1
    assert (sender.total_locked_amount, sender.pending_transfers_count) == (600, 1)


def test_a_request_repeated_later_gets_the_same_answer_with_a_new_ts() -> None:
    sender = account(principal=1000)
    command = prepare_transfer(min_locked_amount=600, max_locked_amount=600)
    first = apply_batch(command, accounts=[sender, recipient_account()])
    again = apply_batch(
        msgspec.structs.replace(command, ts=NOW + DAY, max_locked_amount=900, recipient="5"),
        accounts=[sender],
        transfers=first.prepared.values(),
        now=NOW + DAY,
    )
    assert only_event(again, PreparedTransfer) == msgspec.structs.replace(
        only_event(first, PreparedTransfer), ts=NOW + DAY
    )
    assert not again.prepared
    assert sender.total_locked_amount == 600


def test_a_request_repeated_after_the_recipient_has_gone_gets_the_same_answer() -> None:
    """A rejection would make the coordinator report failure, and then the commit might succeed."""
    transfer = prepared_transfer()
    sender = account(principal=-5, total_locked_amount=500, last_interest_rate_change_ts=NOW)
    outcome = apply_batch(
        prepare_transfer(
            min_locked_amount=500, max_locked_amount=500, final_interest_rate_ts=EPOCH
        ),
        accounts=[sender],
        transfers=[transfer],
    )
    assert only_event(outcome, PreparedTransfer) == transfer.announcement(NOW)


@pytest.mark.parametrize(
    "other",
    [
        {"coordinator_request_id": 2},
        {"coordinator_type": "something else", "coordinator_id": SENDER_ID},
        {"coordinator_id": 8},
        {"creditor_id": RECIPIENT_ID, "coordinator_id": SENDER_ID, "recipient": str(SENDER_ID)},
        {"debtor_id": 99},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_request_is_only_repeated_when_all_of_its_coordinates_are_the_same(
    other: dict[str, Any],
) -> None:
    accounts = [
        account(debtor_id=debtor_id, creditor_id=creditor_id)
        for debtor_id in (DEBTOR_ID, 99)
        for creditor_id in (SENDER_ID, RECIPIENT_ID)
    ]
    outcome = apply_batch(
        prepare_transfer(**other), accounts=accounts, transfers=[prepared_transfer()]
    )
    assert len(outcome.prepared) == 1


def test_a_request_repeated_after_it_was_finalized_in_the_same_batch_is_prepared_anew() -> None:
    transfer = prepared_transfer(locked_amount=0)
    sender = account(principal=1000, pending_transfers_count=1, last_transfer_id=77)
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=0),
        prepare_transfer(),
        accounts=[sender, recipient_account()],
        transfers=[transfer],
    )
    assert outcome.removed == [transfer.key]
    assert [key[2] for key in outcome.prepared] == [78]
    assert sender.pending_transfers_count == 1
