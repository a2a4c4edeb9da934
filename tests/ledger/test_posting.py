"""One change of one principal: journal, notice, what is negligible (protocol.rst, Movements)."""

from datetime import timedelta
from itertools import pairwise

import pytest

from swpt_accounts.ledger.events import AccountTransfer
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.values import MAX_INT64
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    apply_batch,
    events_of,
    finalize_transfer,
    locking_account,
    pending_balance_change,
    prepared_transfer,
    recipient_account,
    root_account,
)

DAY = timedelta(days=1)


# -- negligible transfers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "coordinator_type", "negligible_amount", "is_told"),
    [
        pytest.param(10, "direct", 0.0, True, id="nothing is negligible"),
        pytest.param(10, "direct", 9.999, True, id="a bit more than negligible"),
        pytest.param(10, "direct", 10.0, False, id="just negligible"),
        pytest.param(10, "direct", 1e30, False, id="quite negligible"),
        pytest.param(10, "issuing", 10.0, False, id="issuing"),
        pytest.param(10, "interest", 10.0, False, id="interest"),
        pytest.param(10, "agent", 1e30, True, id="never from an agent"),
        pytest.param(-10, "direct", 1e30, True, id="never what is taken away"),
        pytest.param(MAX_INT64, "direct", 2.0**63, False, id="the largest amount"),
        pytest.param(
            2**53 + 1, "direct", 2.0**53, True, id="one unit more, beyond what floats can count"
        ),
    ],
)
def test_negligible_amounts_are_not_told_but_they_are_in_the_journal(
    amount: int, coordinator_type: str, negligible_amount: float, is_told: bool
) -> None:
    recipient = recipient_account(negligible_amount=negligible_amount, last_transfer_number=3)
    outcome = apply_batch(
        pending_balance_change(principal_delta=amount, coordinator_type=coordinator_type),
        accounts=[recipient],
    )
    assert bool(events_of(outcome, AccountTransfer)) is is_told
    assert recipient.last_transfer_number == (4 if is_told else 3)
    assert [entry.amount for entry in outcome.journal] == [amount]
    assert recipient.principal == amount
    assert recipient.update_pending_since == NOW


def test_numbers_of_transfers_have_no_gap_where_one_was_negligible() -> None:
    recipient = recipient_account(negligible_amount=5.0)
    outcome = apply_batch(
        *(pending_balance_change(change_id=n, principal_delta=n) for n in (10, 3, 20)),
        accounts=[recipient],
    )
    told = events_of(outcome, AccountTransfer)
    assert [t.transfer_number for t in told] == [1, 2]
    assert [t.previous_transfer_number for t in told] == [0, 1]
    assert [t.principal for t in told] == [10, 33]


# -- the journal -----------------------------------------------------------------------------------


def test_an_entry_has_everything_about_the_change() -> None:
    recipient = recipient_account(principal=50, last_journal_number=6)
    outcome = apply_batch(
        pending_balance_change(
            change_id=-4,
            committed_at=NOW - DAY,
            coordinator_type="agent",
            transfer_note="note",
            transfer_note_format="fmt",
        ),
        accounts=[recipient],
    )
    assert outcome.journal == [
        JournalEntry(
            debtor_id=DEBTOR_ID,
            creditor_id=RECIPIENT_ID,
            creation_date=recipient.creation_date,
            journal_number=7,
            applied_at=NOW,
            committed_at=NOW - DAY,
            amount=1000,
            clipped_amount=0,
            principal=1050,
            coordinator_type="agent",
            other_creditor_id=SENDER_ID,
            transfer_id=None,
            change_id=-4,
            transfer_note_format="fmt",
            transfer_note="note",
        )
    ]


def test_entries_are_numbered_for_each_account_without_gaps() -> None:
    transfers = [prepared_transfer(transfer_id=n, coordinator_request_id=n) for n in range(1, 5)]
    sender = locking_account(*transfers, principal=10_000, last_journal_number=40)
    recipient = recipient_account()
    outcome = apply_batch(
        *(finalize_transfer(transfer) for transfer in transfers[:2]),
        finalize_transfer(transfers[2], committed_amount=0),
        pending_balance_change(),
        finalize_transfer(transfers[3]),
        accounts=[sender, recipient],
        transfers=transfers,
    )
    for owner, numbers in ((sender, [41, 42, 43]), (recipient, [1, 2, 3, 4])):
        entries = [entry for entry in outcome.journal if entry.creditor_id == owner.creditor_id]
        assert [entry.journal_number for entry in entries] == numbers
        assert owner.last_journal_number == numbers[-1]
        assert entries[-1].principal == owner.principal
        for before, after in pairwise(entries):
            assert after.principal == before.principal + after.amount - after.clipped_amount


def test_both_entries_of_a_local_transfer_name_the_transfer_and_each_other() -> None:
    transfer = prepared_transfer()
    outcome = apply_batch(
        finalize_transfer(transfer),
        accounts=[locking_account(transfer, principal=1000), recipient_account()],
        transfers=[transfer],
    )
    assert [
        (e.creditor_id, e.other_creditor_id, e.amount, e.transfer_id, e.change_id)
        for e in outcome.journal
    ] == [
        (SENDER_ID, RECIPIENT_ID, -500, 77, None),
        (RECIPIENT_ID, SENDER_ID, 500, 77, None),
    ]


# -- overflow -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "amount", "after", "clipped_amount"),
    [
        pytest.param(MAX_INT64 - 1000, 1000, MAX_INT64, 0, id="fits exactly"),
        pytest.param(MAX_INT64 - 999, 1000, MAX_INT64, 1, id="one unit does not fit"),
        pytest.param(MAX_INT64, MAX_INT64, MAX_INT64, MAX_INT64, id="nothing fits"),
        pytest.param(1000 - MAX_INT64, -1000, -MAX_INT64, 0, id="fits exactly below zero"),
        pytest.param(999 - MAX_INT64, -1000, -MAX_INT64, -1, id="one unit does not fit below zero"),
    ],
)
def test_an_overflow_is_contained_and_recorded(
    principal: int, amount: int, after: int, clipped_amount: int
) -> None:
    recipient = recipient_account(principal=principal)
    outcome = apply_batch(pending_balance_change(principal_delta=amount), accounts=[recipient])
    (entry,) = outcome.journal
    assert (entry.amount, entry.clipped_amount, entry.principal) == (amount, clipped_amount, after)
    (told,) = events_of(outcome, AccountTransfer)
    assert (told.acquired_amount, told.principal) == (amount, after)
    assert recipient.principal == after
    assert recipient.is_overflown is (clipped_amount != 0)


def test_an_overflow_of_a_local_recipient_leaves_the_sender_alone() -> None:
    transfer = prepared_transfer()
    sender = locking_account(transfer, principal=1000)
    recipient = recipient_account(principal=MAX_INT64 - 400)
    outcome = apply_batch(
        finalize_transfer(transfer), accounts=[sender, recipient], transfers=[transfer]
    )
    assert (sender.principal, sender.is_overflown) == (500, False)
    assert (recipient.principal, recipient.is_overflown) == (MAX_INT64, True)
    assert [entry.clipped_amount for entry in outcome.journal] == [0, 100]


def test_a_root_account_at_its_lowest_still_pays() -> None:
    root = root_account(principal=10 - MAX_INT64)
    outcome = apply_batch(
        pending_balance_change(creditor_id=0, principal_delta=-25, coordinator_type="interest"),
        accounts=[root],
    )
    assert root.principal == -MAX_INT64
    assert [entry.clipped_amount for entry in outcome.journal] == [-15]
