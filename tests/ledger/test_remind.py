"""SendAccountUpdate and RemindOfTransfer: what peers should know is said again."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.account_update import announce
from swpt_accounts.ledger.events import AccountUpdate, FinalizedTransfer, PreparedTransfer
from swpt_accounts.ledger.policy import Policy
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    account,
    apply_batch,
    capitalize_interest,
    change_interest_rate,
    events_of,
    finalize_transfer,
    local,
    locking_account,
    nothing_happened,
    only_event,
    pending_balance_change,
    prepared_transfer,
    recipient_account,
    remind_of_transfer,
    root_account,
    send_account_update,
    try_to_delete_account,
    update_debtor_info,
)

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


# -- SendAccountUpdate ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_sent"),
    [
        pytest.param({}, False, id="nothing to say"),
        pytest.param({"update_pending_since": NOW - HOUR}, True, id="changed an hour ago"),
        pytest.param(
            {"update_pending_since": NOW - HOUR + MICROSECOND}, False, id="changed lately"
        ),
        pytest.param({"last_update_sent_ts": NOW - 7 * DAY}, True, id="heartbeat"),
        pytest.param({"is_deleted": True, "last_update_sent_ts": NOW - 9 * DAY}, False, id="dead"),
        pytest.param({"is_deleted": True, "update_pending_since": NOW - DAY}, False, id="deleted"),
    ],
)
def test_an_account_is_announced_when_it_is_still_due(
    fields: dict[str, Any], is_sent: bool
) -> None:
    it = account(**{"last_update_sent_ts": NOW - DAY, **fields})
    outcome = apply_batch(send_account_update(), accounts=[it])
    assert nothing_happened(outcome) is not is_sent
    assert len(outcome.events) == is_sent


def test_there_is_no_such_account() -> None:
    assert nothing_happened(apply_batch(send_account_update()))


def test_an_announcement_changes_nothing_else_about_the_account() -> None:
    it = account(
        principal=1_000_000,
        interest=5.5,
        interest_rate=10.0,
        last_change_ts=NOW - DAY,
        update_pending_since=NOW - DAY,
    )
    before = msgspec.structs.replace(it)
    outcome = apply_batch(send_account_update(), accounts=[it])
    update = only_event(outcome, AccountUpdate)
    assert (update.last_change_ts, update.last_change_seqnum) == (NOW - DAY, 5)
    assert (update.interest, update.ts) == (5.5, NOW)
    assert outcome.changed_accounts() == [it]
    expected = msgspec.structs.replace(
        before, update_pending_since=None, last_update_sent_ts=NOW, is_changed=True
    )
    assert it == expected


@pytest.mark.parametrize("make", [account, root_account])
def test_a_heartbeat_says_the_same_with_a_new_ts(make: Any) -> None:
    it = make(principal=-7, last_update_sent_ts=NOW - 8 * DAY)
    last = announce(msgspec.structs.replace(it), Policy(), NOW - 8 * DAY)
    outcome = apply_batch(send_account_update(creditor_id=it.creditor_id), accounts=[it])
    update = only_event(outcome, AccountUpdate)
    assert update.ts == NOW
    assert msgspec.structs.replace(update, ts=last.ts) == last
    again = apply_batch(
        send_account_update(creditor_id=it.creditor_id), accounts=[it], now=NOW + 6 * DAY
    )
    assert again.events == []


def test_chores_that_come_together_announce_once() -> None:
    it = account(update_pending_since=NOW - DAY)
    outcome = apply_batch(*[send_account_update()] * 5, accounts=[it])
    assert only_event(outcome, AccountUpdate).ts == NOW


def test_everything_that_happens_in_a_batch_is_told_by_one_message_with_the_last_state() -> None:
    """Wherever among the others the chore comes."""
    others: list[Any] = [
        change_interest_rate(),
        update_debtor_info(),
        capitalize_interest(),
        pending_balance_change(creditor_id=SENDER_ID, other_creditor_id=RECIPIENT_ID),
    ]
    for place in range(len(others) + 1):
        it = account(principal=1000, interest=50.5, update_pending_since=NOW - DAY)
        commands = [*others[:place], send_account_update(), *others[place:]]
        outcome = apply_batch(*commands, accounts=[it], is_local=local(SENDER_ID))
        (update,) = events_of(outcome, AccountUpdate)
        assert outcome.events[-1] is update
        assert (update.principal, update.interest) == (2050, 0.5)
        assert (update.interest_rate, update.debtor_info_content_type) == (5.0, "text/html")
        assert update.last_change_seqnum == it.last_change_seqnum
        assert it.update_pending_since is None


def test_an_account_deleted_in_the_same_batch_is_announced_once_as_empty() -> None:
    it = account(principal=2, config_flags=1, update_pending_since=NOW - DAY)
    outcome = apply_batch(
        send_account_update(), try_to_delete_account(), send_account_update(), accounts=[it]
    )
    updates = [u for u in events_of(outcome, AccountUpdate) if u.creditor_id == SENDER_ID]
    assert [update.principal for update in updates] == [0]


def test_changes_wait_for_each_other_and_then_go_together() -> None:
    """At most one message in an interval, always with the latest state."""
    it = account(last_update_sent_ts=NOW - DAY)
    sent: list[AccountUpdate] = []
    for minute in range(1, 181):
        moment = NOW + timedelta(minutes=minute)
        change = pending_balance_change(
            creditor_id=SENDER_ID,
            other_creditor_id=RECIPIENT_ID,
            principal_delta=1,
            change_id=minute,
            committed_at=moment,
        )
        outcome = apply_batch(change, send_account_update(), accounts=[it], now=moment)
        sent += events_of(outcome, AccountUpdate)
    assert [update.principal for update in sent] == [61, 122]
    assert [update.ts - NOW for update in sent] == [timedelta(minutes=m) for m in (61, 122)]


# -- RemindOfTransfer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_reminded"),
    [
        pytest.param({"prepared_at": NOW - 7 * DAY}, True, id="a week old"),
        pytest.param({"prepared_at": NOW - 7 * DAY + MICROSECOND}, False, id="almost"),
        pytest.param(
            {"prepared_at": NOW - 99 * DAY, "last_reminder_ts": NOW - 7 * DAY},
            True,
            id="reminded a week ago",
        ),
        pytest.param(
            {"prepared_at": NOW - 99 * DAY, "last_reminder_ts": NOW - 7 * DAY + MICROSECOND},
            False,
            id="reminded lately",
        ),
        pytest.param(
            {"prepared_at": NOW - 99 * DAY, "deadline": NOW - 50 * DAY}, True, id="overdue"
        ),
        pytest.param({"prepared_at": NOW + DAY}, False, id="the clock went back"),
    ],
)
def test_when_a_coordinator_is_reminded(fields: dict[str, Any], is_reminded: bool) -> None:
    transfer = prepared_transfer(**fields)
    outcome = apply_batch(remind_of_transfer(transfer), transfers=[transfer])
    assert len(events_of(outcome, PreparedTransfer)) == len(outcome.events) == is_reminded
    assert outcome.reminded.keys() == ({transfer.key} if is_reminded else set())


def test_a_reminder_says_the_same_with_a_new_ts() -> None:
    transfer = prepared_transfer(
        prepared_at=NOW - 20 * DAY, coordinator_type="agent", final_interest_rate_ts=NOW
    )
    outcome = apply_batch(remind_of_transfer(transfer), transfers=[transfer])
    reminder = only_event(outcome, PreparedTransfer)
    assert reminder.ts == NOW
    first = transfer.announcement(transfer.prepared_at)
    assert msgspec.structs.replace(reminder, ts=first.ts) == first
    kept = msgspec.structs.replace(transfer, last_reminder_ts=NOW)
    assert outcome.reminded == {transfer.key: kept}
    assert (outcome.prepared, outcome.removed) == ({}, [])
    again = apply_batch(remind_of_transfer(kept), transfers=[kept], now=NOW + 6 * DAY)
    assert again.events == []


def test_a_transfer_finalized_meanwhile_is_not_mentioned() -> None:
    outcome = apply_batch(remind_of_transfer(prepared_transfer(prepared_at=NOW - 9 * DAY)))
    assert outcome.events == []
    assert outcome.reminded == {}


def test_chores_that_come_together_remind_once() -> None:
    transfer = prepared_transfer(prepared_at=NOW - 9 * DAY)
    outcome = apply_batch(*[remind_of_transfer(transfer)] * 3, transfers=[transfer])
    assert only_event(outcome, PreparedTransfer).transfer_id == transfer.transfer_id


def test_transfers_of_one_account_are_reminded_of_each_on_its_own() -> None:
    transfers = [
        prepared_transfer(transfer_id=n, coordinator_request_id=n, prepared_at=NOW - n * DAY)
        for n in (6, 7, 8)
    ]
    outcome = apply_batch(*map(remind_of_transfer, transfers), transfers=transfers)
    assert [e.transfer_id for e in events_of(outcome, PreparedTransfer)] == [7, 8]
    assert list(outcome.reminded) == [(DEBTOR_ID, SENDER_ID, n) for n in (7, 8)]


def test_a_transfer_can_be_finalized_right_after_a_reminder() -> None:
    transfer = prepared_transfer(prepared_at=NOW - 9 * DAY)
    outcome = apply_batch(
        remind_of_transfer(transfer),
        finalize_transfer(transfer),
        accounts=[locking_account(transfer, principal=500), recipient_account()],
        transfers=[transfer],
    )
    assert len(events_of(outcome, FinalizedTransfer)) == 1
    assert outcome.removed == [transfer.key]
