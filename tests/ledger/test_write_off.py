"""What a deleted account held goes to the root account, or comes from it (Deletion)."""

from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate
from swpt_accounts.ledger.values import MAX_INT64
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    FIRST_CHANGE_ID,
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    event,
    events_of,
    local,
    root_account,
    try_to_delete_account,
)


def scheduled(**fields: Any) -> Account:
    """Return the sender's account, scheduled for deletion and never tried."""
    return account(**{"config_flags": 1, **fields})


def try_to_delete(*accounts: Account, **options: Any) -> WorkingSet:
    return apply_batch(try_to_delete_account(), accounts=accounts, **options)


@pytest.mark.parametrize(
    ("principal", "sender", "recipient"), [(2, str(SENDER_ID), "0"), (-7, "0", str(SENDER_ID))]
)
def test_the_owner_is_told_where_the_principal_went(
    principal: int, sender: str, recipient: str
) -> None:
    it = scheduled(principal=principal, last_transfer_number=7)
    outcome = try_to_delete(it, root_account())
    assert events_of(outcome, AccountTransfer) == [
        event(
            AccountTransfer,
            creation_date=it.creation_date,
            coordinator_type="delete",
            sender=sender,
            recipient=recipient,
            acquired_amount=-principal,
            principal=0,
            transfer_number=8,
            previous_transfer_number=7,
        )
    ]
    (update,) = events_of(outcome, AccountUpdate)
    assert (update.last_transfer_number, update.last_transfer_committed_at) == (8, NOW)


def test_a_negligible_debt_is_forgiven_silently() -> None:
    it, root = scheduled(principal=-7, negligible_amount=7.0), root_account(principal=7)
    outcome = try_to_delete(it, root)
    assert events_of(outcome, AccountTransfer) == []
    assert (it.principal, root.principal) == (0, 0)


def test_the_root_account_is_changed_silently() -> None:
    root = root_account(principal=-100)
    outcome = try_to_delete(scheduled(principal=2), root)
    assert [told.creditor_id for told in events_of(outcome, AccountTransfer)] == [SENDER_ID]
    assert [update.creditor_id for update in events_of(outcome, AccountUpdate)] == [SENDER_ID]
    assert (root.principal, root.update_pending_since) == (-98, NOW)


def test_both_ends_are_in_the_journal_under_one_change_id() -> None:
    outcome = try_to_delete(scheduled(principal=2), root_account())
    assert [
        (entry.creditor_id, entry.other_creditor_id, entry.amount, entry.principal)
        for entry in outcome.journal
    ] == [(SENDER_ID, 0, -2, 0), (0, SENDER_ID, 2, 2)]
    for entry in outcome.journal:
        assert (entry.coordinator_type, entry.transfer_id) == ("delete", None)
        assert entry.change_id == FIRST_CHANGE_ID


@pytest.mark.parametrize("principal", [2, -7, -MAX_INT64])
def test_the_root_account_of_another_shard_is_sent_the_principal(principal: int) -> None:
    it = scheduled(principal=principal)
    outcome = try_to_delete(it, is_local=local(SENDER_ID))
    assert events_of(outcome, PendingBalanceChange) == [
        PendingBalanceChange(
            debtor_id=DEBTOR_ID,
            creditor_id=0,
            change_id=FIRST_CHANGE_ID,
            coordinator_type="delete",
            transfer_note_format="",
            transfer_note="",
            committed_at=NOW,
            principal_delta=principal,
            other_creditor_id=SENDER_ID,
        )
    ]
    assert (it.principal, it.is_deleted) == (0, True)


def test_a_root_account_that_does_not_exist_is_created() -> None:
    outcome = try_to_delete(scheduled(principal=-7))
    root = outcome.accounts[DEBTOR_ID, 0]
    assert (root.is_created, root.principal) == (True, -7)
    assert {update.creditor_id for update in events_of(outcome, AccountUpdate)} == {0, SENDER_ID}


def test_a_deleted_root_account_comes_back_to_life() -> None:
    root = root_account(is_deleted=True)
    outcome = try_to_delete(scheduled(principal=2), root)
    assert (root.principal, root.is_deleted) == (2, False)
    assert {update.creditor_id for update in events_of(outcome, AccountUpdate)} == {0, SENDER_ID}


def test_the_root_account_may_be_full() -> None:
    """What it cannot hold is not lost from the books: the journal says how much it was."""
    it, root = scheduled(principal=-MAX_INT64), root_account(principal=-5)
    outcome = try_to_delete(it, root)
    assert (it.principal, root.principal, root.is_overflown) == (0, -MAX_INT64, True)
    assert [entry.clipped_amount for entry in outcome.journal] == [0, -5]
