"""FinalizeTransfer: unlock, and move the money or not (protocol.rst, FinalizeTransfer)."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate, FinalizedTransfer
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    account,
    apply_batch,
    events_of,
    finalize_transfer,
    local,
    locking_account,
    prepared_transfer,
    recipient_account,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
LATER = NOW + timedelta(hours=1)
ONLY_SENDER = local(SENDER_ID)


def finalized(outcome: WorkingSet) -> FinalizedTransfer:
    (event,) = events_of(outcome, FinalizedTransfer)
    return event


def commit(
    transfer: PreparedTransfer, sender: Account, *others: Account, **fields: Any
) -> WorkingSet:
    """Commit the transfer a little later, with `fields` in the command."""
    return apply_batch(
        finalize_transfer(transfer, **fields),
        accounts=[sender, *others],
        transfers=[transfer],
        now=LATER,
    )


def test_a_commit_unlocks_moves_the_money_and_tells_everybody() -> None:
    transfer = prepared_transfer(coordinator_request_id=-9)
    sender = locking_account(transfer, principal=1000, last_transfer_number=4)
    recipient = recipient_account(principal=50)
    outcome = commit(
        transfer,
        sender,
        recipient,
        committed_amount=300,
        transfer_note="Dear reader 🙂",
        transfer_note_format="fmt.-09Z",
    )
    assert finalized(outcome) == FinalizedTransfer(
        debtor_id=DEBTOR_ID,
        creditor_id=SENDER_ID,
        transfer_id=77,
        coordinator_type="direct",
        coordinator_id=SENDER_ID,
        coordinator_request_id=-9,
        committed_amount=300,
        status_code="OK",
        total_locked_amount=0,
        prepared_at=NOW,
        ts=LATER,
    )
    common: dict[str, Any] = {
        "debtor_id": DEBTOR_ID,
        "creation_date": sender.creation_date,
        "coordinator_type": "direct",
        "sender": str(SENDER_ID),
        "recipient": str(RECIPIENT_ID),
        "transfer_note": "Dear reader 🙂",
        "transfer_note_format": "fmt.-09Z",
        "committed_at": LATER,
        "ts": LATER,
    }
    assert events_of(outcome, AccountTransfer) == [
        AccountTransfer(
            creditor_id=SENDER_ID,
            transfer_number=5,
            previous_transfer_number=4,
            acquired_amount=-300,
            principal=700,
            **common,
        ),
        AccountTransfer(
            creditor_id=RECIPIENT_ID,
            transfer_number=1,
            previous_transfer_number=0,
            acquired_amount=300,
            principal=350,
            **common,
        ),
    ]
    assert (sender.principal, recipient.principal) == (700, 350)
    assert (sender.total_locked_amount, sender.pending_transfers_count) == (0, 0)
    assert outcome.removed == [transfer.key]
    assert outcome.sent == []
    assert sender.update_pending_since == LATER
    assert recipient.update_pending_since == LATER
    assert events_of(outcome, AccountUpdate) == [], "these are not urgent"


@pytest.mark.parametrize(
    ("fields", "later"),
    [
        pytest.param({}, timedelta(0), id="in time"),
        pytest.param({}, 999 * DAY, id="long after the deadline"),
        pytest.param(
            {"final_interest_rate_ts": NOW - 10 * DAY},
            timedelta(0),
            id="after a change of the rate",
        ),
    ],
)
def test_a_dismissal_only_unlocks(fields: dict[str, Any], later: timedelta) -> None:
    transfer = prepared_transfer(**fields)
    other = prepared_transfer(transfer_id=78, coordinator_request_id=2, locked_amount=11)
    sender = locking_account(
        transfer,
        other,
        principal=-1000,
        last_interest_rate_change_ts=NOW,
        interest_rate=5.0,
        last_change_seqnum=7,
    )
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=0),
        accounts=[sender],
        transfers=[transfer, other],
        now=NOW + later,
    )
    assert outcome.events == [finalized(outcome)]
    event = finalized(outcome)
    assert (event.status_code, event.committed_amount) == ("OK", 0)
    assert event.total_locked_amount == sender.total_locked_amount == 11
    assert sender.pending_transfers_count == 1
    assert outcome.removed == [transfer.key]
    assert outcome.journal == []
    assert (sender.last_change_seqnum, sender.last_change_ts) == (7, NOW)
    assert sender.update_pending_since is None


@pytest.mark.parametrize(
    ("transfer_fields", "account_fields", "committed_amount", "now", "status_code"),
    [
        pytest.param({}, {}, 500, NOW + 90 * DAY + MICROSECOND, "TIMEOUT", id="too late"),
        pytest.param(
            {"final_interest_rate_ts": NOW},
            {"last_interest_rate_change_ts": NOW + MICROSECOND},
            500,
            LATER,
            "NEWER_INTEREST_RATE",
            id="the rate has changed",
        ),
        pytest.param({}, {}, 1001, LATER, "INSUFFICIENT_AVAILABLE_AMOUNT", id="too much"),
        pytest.param(
            {"locked_amount": 0}, {}, 1001, LATER, "INSUFFICIENT_AVAILABLE_AMOUNT", id="zero lock"
        ),
        pytest.param(
            {"locked_amount": 1000},
            {"principal": -1},
            945,
            NOW + 30 * DAY,
            "INSUFFICIENT_AVAILABLE_AMOUNT",
            id="more than the demurrage leaves",
        ),
    ],
)
def test_a_failed_commit_unlocks_and_moves_nothing(
    transfer_fields: dict[str, Any],
    account_fields: dict[str, Any],
    committed_amount: int,
    now: Any,
    status_code: str,
) -> None:
    transfer = prepared_transfer(**transfer_fields)
    sender = locking_account(transfer, **{"principal": 1000, **account_fields})
    principal = sender.principal
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=committed_amount),
        accounts=[sender, recipient_account()],
        transfers=[transfer],
        now=now,
    )
    assert outcome.events == [finalized(outcome)]
    event = finalized(outcome)
    assert (event.status_code, event.committed_amount) == (status_code, 0)
    assert event.total_locked_amount == sender.total_locked_amount == 0
    assert outcome.removed == [transfer.key]
    assert outcome.journal == []
    assert sender.principal == principal
    assert sender.last_change_seqnum == 5


@pytest.mark.parametrize(("days", "committed_amount"), [(0, 1000), (30, 944), (90, 842)])
def test_a_commit_is_certain_up_to_what_demurrage_leaves(days: int, committed_amount: int) -> None:
    transfer = prepared_transfer(locked_amount=1000)
    sender = locking_account(transfer, principal=-7)
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=committed_amount),
        accounts=[sender, recipient_account()],
        transfers=[transfer],
        now=NOW + days * DAY,
    )
    assert finalized(outcome).status_code == "OK"
    assert sender.principal == -7 - committed_amount


def test_more_than_the_lock_can_be_committed_when_there_is_enough() -> None:
    transfer = prepared_transfer(locked_amount=0, recipient_creditor_id=STRANGER_ID)
    sender = locking_account(transfer, principal=1000)
    outcome = commit(transfer, sender, account(creditor_id=STRANGER_ID), committed_amount=1000)
    assert finalized(outcome).committed_amount == 1000
    assert sender.principal == 0


def test_issuing_takes_the_root_account_below_zero_and_tells_it_nothing() -> None:
    transfer = prepared_transfer(coordinator_type="issuing", creditor_id=0, transfer_id=5)
    root, recipient = locking_account(transfer, negligible_amount=500.0), recipient_account()
    outcome = commit(transfer, root, recipient)
    assert (root.principal, recipient.principal) == (-500, 500)
    (only,) = events_of(outcome, AccountTransfer)
    assert (only.creditor_id, only.sender, only.recipient) == (
        RECIPIENT_ID,
        "0",
        str(RECIPIENT_ID),
    )
    assert only.coordinator_type == "issuing"
    assert root.last_transfer_number == 0
    assert [entry.creditor_id for entry in outcome.journal] == [0, RECIPIENT_ID]


# -- which message finalizes which transfer -----------------------------------------------


WRONG_COORDINATORS = [
    pytest.param({"coordinator_type": "issuing"}, id="another coordinator type"),
    pytest.param({"coordinator_type": "Direct"}, id="the type in other letters"),
    pytest.param({"coordinator_id": SENDER_ID + 1}, id="another coordinator"),
    pytest.param({"coordinator_request_id": 2}, id="another request"),
    pytest.param({"transfer_id": 78}, id="another transfer"),
    pytest.param({"creditor_id": RECIPIENT_ID}, id="another sender"),
    pytest.param({"debtor_id": DEBTOR_ID + 1}, id="another debtor"),
]


@pytest.mark.parametrize("wrong", WRONG_COORDINATORS)
def test_a_message_that_matches_no_transfer_is_ignored(wrong: dict[str, Any]) -> None:
    transfer = prepared_transfer()
    sender = locking_account(transfer, principal=1000)
    outcome = commit(transfer, sender, recipient_account(), **wrong)
    assert outcome.events == []
    assert outcome.removed == []
    assert outcome.changed_accounts() == []


@pytest.mark.parametrize("wrong", WRONG_COORDINATORS)
def test_a_wrong_message_does_not_hinder_the_right_one_after_it(wrong: dict[str, Any]) -> None:
    transfer = prepared_transfer()
    sender, recipient = locking_account(transfer, principal=1000), recipient_account()
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=0, **wrong),
        finalize_transfer(transfer),
        accounts=[sender, recipient],
        transfers=[transfer],
    )
    assert finalized(outcome).committed_amount == 500
    assert recipient.principal == 500


@pytest.mark.parametrize(
    "accounts", [[], [account(is_deleted=True, principal=1000, total_locked_amount=500)]]
)
def test_a_transfer_of_no_live_sender_is_left_alone(accounts: list[Account]) -> None:
    transfer = prepared_transfer()
    outcome = apply_batch(finalize_transfer(transfer), accounts=accounts, transfers=[transfer])
    assert outcome.events == []
    assert outcome.removed == []
    assert outcome.changed_accounts() == []


@pytest.mark.parametrize(("first_amount", "second_amount"), [(500, 500), (500, 0), (0, 500)])
def test_of_two_messages_about_one_transfer_the_first_counts(
    first_amount: int, second_amount: int
) -> None:
    transfer = prepared_transfer()
    sender = locking_account(transfer, principal=1000)
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=first_amount),
        finalize_transfer(transfer, committed_amount=second_amount),
        accounts=[sender, recipient_account()],
        transfers=[transfer],
    )
    assert finalized(outcome).committed_amount == first_amount
    assert sender.principal == 1000 - first_amount
    assert sender.pending_transfers_count == 0
