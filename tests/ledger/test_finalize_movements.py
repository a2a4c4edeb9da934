"""Committed money arrives, in batches and at all kinds of recipients (protocol.rst, Movements)."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate, FinalizedTransfer
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    AGENT_COORDINATOR_ID,
    DEBTOR_ID,
    FIRST_CHANGE_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    apply_batch,
    events_of,
    finalize_transfer,
    local,
    locking_account,
    prepared_transfer,
    recipient_account,
    root_account,
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


# -- several commits in one batch ------------------------------------------------------------


def many_transfers(count: int, **fields: Any) -> list[PreparedTransfer]:
    return [
        prepared_transfer(transfer_id=n, coordinator_request_id=n, **fields)
        for n in range(1, count + 1)
    ]


def test_each_commit_of_a_batch_tells_the_principal_right_after_itself() -> None:
    """A principal that disagreed would make the owner's books invent corrections."""
    transfers = many_transfers(3, locked_amount=100)
    sender, recipient = locking_account(*transfers, principal=1000), recipient_account()
    outcome = apply_batch(
        *(
            finalize_transfer(transfer, committed_amount=amount)
            for transfer, amount in zip(transfers, (100, 20, 3), strict=True)
        ),
        accounts=[sender, recipient],
        transfers=transfers,
    )
    for owner, principals in ((SENDER_ID, [900, 880, 877]), (RECIPIENT_ID, [100, 120, 123])):
        told = [t for t in events_of(outcome, AccountTransfer) if t.creditor_id == owner]
        assert [t.principal for t in told] == principals
        assert [t.transfer_number for t in told] == [1, 2, 3]
        assert [t.previous_transfer_number for t in told] == [0, 1, 2]
    locked = [event.total_locked_amount for event in events_of(outcome, FinalizedTransfer)]
    assert locked == [200, 100, 0]


def test_commits_of_a_batch_cannot_spend_the_same_money_twice() -> None:
    transfers = many_transfers(3, locked_amount=0)
    sender, recipient = locking_account(*transfers, principal=1000), recipient_account()
    outcome = apply_batch(
        *(finalize_transfer(transfer, committed_amount=400) for transfer in transfers),
        accounts=[sender, recipient],
        transfers=transfers,
    )
    assert [event.status_code for event in events_of(outcome, FinalizedTransfer)] == [
        "OK",
        "OK",
        "INSUFFICIENT_AVAILABLE_AMOUNT",
    ]
    assert (sender.principal, recipient.principal) == (200, 800)


def test_a_failed_commit_does_not_shorten_the_following_ones() -> None:
    transfers = many_transfers(2, locked_amount=500)
    sender = locking_account(*transfers, principal=1000)
    outcome = apply_batch(
        finalize_transfer(transfers[0], committed_amount=501),
        finalize_transfer(transfers[1], committed_amount=1000),
        accounts=[sender, recipient_account()],
        transfers=transfers,
    )
    assert [event.status_code for event in events_of(outcome, FinalizedTransfer)] == [
        "INSUFFICIENT_AVAILABLE_AMOUNT",
        "OK",
    ]


def test_money_received_earlier_in_a_batch_can_be_spent_later_in_it() -> None:
    there = prepared_transfer(locked_amount=500)
    back = prepared_transfer(
        creditor_id=RECIPIENT_ID, recipient_creditor_id=SENDER_ID, locked_amount=0
    )
    sender = locking_account(there, principal=500)
    recipient = locking_account(back)
    outcome = apply_batch(
        finalize_transfer(there),
        finalize_transfer(back, committed_amount=500),
        accounts=[sender, recipient],
        transfers=[there, back],
    )
    assert [event.status_code for event in events_of(outcome, FinalizedTransfer)] == ["OK", "OK"]
    assert (sender.principal, recipient.principal) == (500, 0)


# -- recipients ---------------------------------------------------------------------------------


def test_a_local_recipient_that_does_not_exist_is_created() -> None:
    transfer = prepared_transfer(coordinator_type="agent", coordinator_id=AGENT_COORDINATOR_ID)
    outcome = commit(transfer, locking_account(transfer, principal=1000))
    created = outcome.accounts[DEBTOR_ID, RECIPIENT_ID]
    assert created.is_created
    assert (created.principal, created.creation_date) == (500, LATER.date())
    (update,) = events_of(outcome, AccountUpdate)
    assert update is outcome.events[-1]
    assert (update.creditor_id, update.principal, update.last_change_seqnum) == (
        RECIPIENT_ID,
        500,
        1,
    )
    assert update.last_transfer_number == 1


def test_a_local_recipient_that_is_deleted_is_revived_with_its_configuration() -> None:
    transfer = prepared_transfer()
    recipient = recipient_account(is_deleted=True, config_flags=1, negligible_amount=3.0)
    outcome = commit(transfer, locking_account(transfer, principal=1000), recipient)
    assert not recipient.is_deleted
    assert recipient.principal == 500
    (update,) = events_of(outcome, AccountUpdate)
    assert (update.config_flags, update.negligible_amount) == (1, 3.0)


def test_a_local_recipient_that_has_been_scheduled_for_deletion_gets_the_money() -> None:
    transfer = prepared_transfer()
    recipient = recipient_account(config_flags=1)
    commit(transfer, locking_account(transfer, principal=1000), recipient)
    assert recipient.principal == 500


@pytest.mark.parametrize("existing", [[], [root_account(principal=-5000)]])
def test_money_sent_to_the_root_account_is_destroyed(existing: list[Account]) -> None:
    transfer = prepared_transfer(recipient_creditor_id=0)
    before = sum(root.principal for root in existing)
    outcome = commit(transfer, locking_account(transfer, principal=1000), *existing)
    assert outcome.accounts[DEBTOR_ID, 0].principal == before + 500
    (only,) = events_of(outcome, AccountTransfer)
    assert (only.creditor_id, only.recipient) == (SENDER_ID, "0")


def test_a_recipient_in_another_shard_gets_a_message_with_a_fresh_id() -> None:
    transfers = [
        prepared_transfer(transfer_id=n, coordinator_request_id=n, recipient_creditor_id=creditor)
        for n, creditor in ((1, STRANGER_ID), (2, RECIPIENT_ID), (3, 0))
    ]
    sender, recipient = locking_account(*transfers, principal=5000), recipient_account()
    outcome = apply_batch(
        *(
            finalize_transfer(transfer, transfer_note="note", transfer_note_format="fmt")
            for transfer in transfers
        ),
        accounts=[sender, recipient],
        transfers=transfers,
        is_local=local(SENDER_ID, RECIPIENT_ID),
        now=LATER,
    )
    to_stranger, to_root = outcome.sent
    assert to_stranger == PendingBalanceChange(
        debtor_id=DEBTOR_ID,
        creditor_id=STRANGER_ID,
        change_id=FIRST_CHANGE_ID,
        coordinator_type="direct",
        transfer_note_format="fmt",
        transfer_note="note",
        committed_at=LATER,
        principal_delta=500,
        other_creditor_id=SENDER_ID,
    )
    assert (to_root.creditor_id, to_root.change_id) == (0, FIRST_CHANGE_ID + 1)
    assert events_of(outcome, PendingBalanceChange) == outcome.sent
    assert recipient.principal == 500
    assert set(outcome.accounts) == {sender.key, recipient.key}
    assert [entry.change_id for entry in outcome.journal] == [
        FIRST_CHANGE_ID,
        None,
        None,
        FIRST_CHANGE_ID + 1,
    ]
    assert {entry.transfer_id for entry in outcome.journal} == {1, 2, 3}


def test_failed_commits_and_dismissals_send_nothing_to_other_shards() -> None:
    transfers = many_transfers(2)
    sender = locking_account(*transfers)
    outcome = apply_batch(
        finalize_transfer(transfers[0], committed_amount=0),
        finalize_transfer(transfers[1], committed_amount=501),
        accounts=[sender],
        transfers=transfers,
        is_local=ONLY_SENDER,
    )
    assert outcome.sent == []
    assert outcome.journal == []


# -- time --------------------------------------------------------------------------------------


def test_interest_of_both_sides_is_brought_up_to_date_and_nothing_is_due() -> None:
    transfer = prepared_transfer()
    sender = locking_account(transfer, principal=1000, interest_rate=5.0)
    recipient = recipient_account(principal=2000, interest_rate=10.0)
    year_later = NOW + timedelta(days=365.25)
    apply_batch(
        finalize_transfer(transfer, committed_amount=100),
        accounts=[sender, recipient],
        transfers=[prepared_transfer(deadline=year_later)],
        now=year_later,
    )
    assert (sender.principal, sender.interest) == (900, 50.0)
    assert (recipient.principal, recipient.interest) == (2100, 200.0)
    assert sender.last_change_ts == recipient.last_change_ts == year_later
    assert sender.last_change_seqnum == 6


def test_the_moments_of_a_transfer_stay_in_order_when_the_clock_goes_back() -> None:
    transfer = prepared_transfer()
    sender = locking_account(transfer, principal=1000)
    outcome = apply_batch(
        finalize_transfer(transfer),
        accounts=[sender, recipient_account()],
        transfers=[transfer],
        now=NOW - DAY,
    )
    assert finalized(outcome).ts == NOW
    assert {told.committed_at for told in events_of(outcome, AccountTransfer)} == {NOW}
    assert sender.last_change_ts == NOW
