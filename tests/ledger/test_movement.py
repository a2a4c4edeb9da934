"""Money that goes from one account to another, in one shard or in two (protocol.rst, Movements)."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate
from swpt_accounts.ledger.movement import move, move_from_root
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.posting import Posting
from swpt_accounts.ledger.values import MAX_INT64
from swpt_accounts.ledger.working_set import NotRequested, WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    account,
    apply_batch,
    capitalize_interest,
    events_of,
    local,
    recipient_account,
    root_account,
    try_to_delete_account,
)

DAY = timedelta(days=1)
YEAR = timedelta(seconds=31_557_600)
RECIPIENT = (DEBTOR_ID, RECIPIENT_ID)

POSTING = Posting(
    coordinator_type="direct",
    transfer_note_format="fmt",
    transfer_note="a note",
    committed_at=NOW - DAY,
    transfer_id=5,
    change_id=71,
)


def rows(*accounts: Account, absent: Any = (), change_ids: Any = (1001,)) -> WorkingSet:
    return WorkingSet(
        Needs(),
        requested_accounts=[*(account.key for account in accounts), *absent],
        accounts=accounts,
        change_ids=change_ids,
    )


def pay(working_set: WorkingSet, sender: Account, amount: int, posting: Posting = POSTING) -> None:
    move(
        working_set,
        sender,
        amount=-amount,
        other_creditor_id=RECIPIENT_ID,
        posting=posting,
        now=NOW,
    )


# -- both ends here ----------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [1, 500, MAX_INT64, -1, -500])
def test_what_one_end_loses_the_other_one_gets(amount: int) -> None:
    sender, recipient = account(), recipient_account()
    working_set = rows(sender, recipient)
    pay(working_set, sender, amount)
    assert (sender.principal, recipient.principal) == (-amount, amount)
    assert working_set.sent == []
    assert [
        (entry.creditor_id, entry.other_creditor_id, entry.amount) for entry in working_set.journal
    ] == [(SENDER_ID, RECIPIENT_ID, -amount), (RECIPIENT_ID, SENDER_ID, amount)]
    for entry in working_set.journal:
        assert (entry.applied_at, entry.committed_at) == (NOW, NOW - DAY)
        assert (entry.transfer_id, entry.change_id) == (5, 71)
        assert (entry.transfer_note, entry.transfer_note_format) == ("a note", "fmt")


def test_both_owners_are_told_the_one_who_pays_first() -> None:
    sender, recipient = account(principal=700), recipient_account(principal=10)
    working_set = rows(sender, recipient)
    pay(working_set, sender, 500)
    told = events_of(working_set, AccountTransfer)
    assert [(t.creditor_id, t.acquired_amount, t.principal) for t in told] == [
        (SENDER_ID, -500, 200),
        (RECIPIENT_ID, 500, 510),
    ]
    assert {t.sender for t in told} == {str(SENDER_ID)}
    assert {t.recipient for t in told} == {str(RECIPIENT_ID)}


@pytest.mark.parametrize("is_deleted", [True, False])
def test_the_other_end_is_not_asked_whether_it_is_there(is_deleted: bool) -> None:
    sender = account(principal=700)
    others = [recipient_account(is_deleted=True)] if is_deleted else []
    working_set = rows(sender, *others, absent=[RECIPIENT])
    pay(working_set, sender, 500)
    recipient = working_set.accounts[RECIPIENT]
    assert (recipient.principal, recipient.is_deleted) == (500, False)
    assert recipient.is_update_due


# -- the other end elsewhere ---------------------------------------------------------------------


def test_the_other_shard_is_asked_for_the_opposite() -> None:
    sender = account(principal=700)
    working_set = rows(sender)
    pay(working_set, sender, 500)
    assert sender.principal == 200
    assert working_set.sent == [
        PendingBalanceChange(
            debtor_id=DEBTOR_ID,
            creditor_id=RECIPIENT_ID,
            change_id=71,
            coordinator_type="direct",
            transfer_note_format="fmt",
            transfer_note="a note",
            committed_at=NOW - DAY,
            principal_delta=500,
            other_creditor_id=SENDER_ID,
        )
    ]
    assert working_set.events[-1] is working_set.sent[0]


def test_a_change_to_another_shard_needs_an_id() -> None:
    sender = account(principal=700)
    posting = Posting("direct", "", "", NOW, transfer_id=5, change_id=None)
    with pytest.raises(AssertionError, match="recognized by its id"):
        pay(rows(sender), sender, 500, posting)


# -- movements that nobody has asked for -----------------------------------------------------------


@pytest.mark.parametrize("amount", [7, -7, MAX_INT64, -MAX_INT64])
@pytest.mark.parametrize("is_root_local", [True, False])
def test_the_node_moves_to_the_account_or_below_zero_from_it(
    amount: int, is_root_local: bool
) -> None:
    it, root = account(), root_account()
    working_set = rows(it, root) if is_root_local else rows(it)
    move_from_root(working_set, it, amount, "interest", NOW)
    assert it.principal == amount
    if is_root_local:
        assert root.principal == -amount
        assert working_set.sent == []
    else:
        (change,) = working_set.sent
        assert (change.principal_delta, change.coordinator_type) == (-amount, "interest")
        assert (change.change_id, change.committed_at) == (1001, NOW)


@pytest.mark.parametrize("is_root_local", [True, False])
@pytest.mark.parametrize(
    ("last_change_ts", "committed_at"), [(NOW - DAY, NOW), (NOW, NOW), (NOW + DAY, NOW + DAY)]
)
def test_its_moment_does_not_go_back_and_nothing_is_due_for_lateness(
    last_change_ts: Any, committed_at: Any, is_root_local: bool
) -> None:
    rates = {"interest_rate": 100.0, "previous_interest_rate": 50.0}
    it = account(last_change_ts=last_change_ts, last_interest_rate_change_ts=NOW - YEAR, **rates)
    root = root_account(last_change_ts=NOW - YEAR)
    working_set = rows(it, root) if is_root_local else rows(it)
    move_from_root(working_set, it, 10**6, "interest", NOW)
    assert it.interest == root.interest == 0.0
    assert it.last_change_ts == committed_at
    assert {entry.committed_at for entry in working_set.journal} == {committed_at}
    assert {change.committed_at for change in working_set.sent} <= {committed_at}


def test_each_movement_has_a_change_id_of_its_own() -> None:
    accounts = [account(creditor_id=n, principal=1000, interest=50.0) for n in (1, 2, 3)]
    accounts[2].config_flags = 1
    accounts[2].negligible_amount = 1e9
    outcome = apply_batch(
        *(capitalize_interest(creditor_id=n) for n in (1, 2, 3)),
        try_to_delete_account(creditor_id=3),
        accounts=accounts,
        is_local=local(1, 2, 3),
    )
    assert [(c.other_creditor_id, c.change_id) for c in outcome.sent] == [
        (1, 1001),
        (2, 1002),
        (3, 1003),
        (3, 1004),
    ]
    assert [c.coordinator_type for c in outcome.sent] == [*["interest"] * 3, "delete"]


def test_a_movement_needs_a_change_id_that_the_batch_has_asked_for() -> None:
    it = account()
    with pytest.raises(NotRequested, match="change ids"):
        move_from_root(rows(it, change_ids=()), it, 5, "interest", NOW)


def test_a_root_account_brought_back_by_many_is_announced_once() -> None:
    accounts = [account(creditor_id=n, principal=1000, interest=50.0) for n in (1, 2, 3)]
    root = root_account(is_deleted=True)
    chores = [capitalize_interest(creditor_id=n) for n in (1, 2, 3)]
    outcome = apply_batch(*chores, accounts=[*accounts, root])
    (update,) = events_of(outcome, AccountUpdate)
    assert (update.creditor_id, update.principal) == (0, -150)
