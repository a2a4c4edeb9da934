"""PendingBalanceChange: once, whatever the account (protocol.rst, PendingBalanceChange)."""

from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.batch import apply
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import EPOCH, MAX_INT64
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    apply_batch,
    events_of,
    pending_balance_change,
    recipient_account,
    root_account,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
KEY = DEBTOR_ID, RECIPIENT_ID


def the_account(outcome: WorkingSet) -> Account:
    return outcome.accounts[KEY]


def test_credits_the_account_and_tells_its_owner() -> None:
    recipient = recipient_account(principal=50, last_transfer_number=8)
    change = pending_balance_change(
        committed_at=NOW - DAY, transfer_note="Ж", transfer_note_format="fmt"
    )
    outcome = apply_batch(change, accounts=[recipient])
    assert outcome.events == [
        AccountTransfer(
            debtor_id=DEBTOR_ID,
            creditor_id=RECIPIENT_ID,
            creation_date=recipient.creation_date,
            transfer_number=9,
            coordinator_type="direct",
            sender=str(SENDER_ID),
            recipient=str(RECIPIENT_ID),
            acquired_amount=1000,
            transfer_note="Ж",
            transfer_note_format="fmt",
            committed_at=NOW - DAY,
            principal=1050,
            previous_transfer_number=8,
            ts=NOW,
        )
    ]
    assert outcome.received == [change]
    assert recipient.principal == 1050
    assert (recipient.last_transfer_number, recipient.last_transfer_committed_at) == (9, NOW - DAY)
    assert (recipient.last_change_seqnum, recipient.last_change_ts) == (6, NOW)
    assert recipient.update_pending_since == NOW


def test_debits_the_account_by_a_negative_amount() -> None:
    recipient = recipient_account(principal=50, negligible_amount=1e9)
    outcome = apply_batch(
        pending_balance_change(principal_delta=-70, coordinator_type="interest"),
        accounts=[recipient],
    )
    (told,) = events_of(outcome, AccountTransfer)
    assert (told.acquired_amount, told.principal) == (-70, -20)
    assert (told.sender, told.recipient) == (str(RECIPIENT_ID), str(SENDER_ID))


# -- once only ------------------------------------------------------------------------------


def test_a_change_that_was_registered_before_is_ignored() -> None:
    recipient = recipient_account()
    outcome = apply_batch(
        pending_balance_change(change_id=4),
        accounts=[recipient],
        registered_changes={(DEBTOR_ID, SENDER_ID, 4)},
    )
    assert outcome.events == []
    assert outcome.received == []
    assert outcome.changed_accounts() == []


def test_a_registered_change_does_not_bring_its_account_into_being() -> None:
    outcome = apply_batch(
        pending_balance_change(change_id=4), registered_changes={(DEBTOR_ID, SENDER_ID, 4)}
    )
    assert outcome.accounts == {}


def test_a_change_that_comes_twice_in_one_batch_is_applied_once() -> None:
    change = pending_balance_change()
    outcome = apply_batch(change, change, accounts=[recipient_account()])
    assert the_account(outcome).principal == 1000
    assert outcome.received == [change]
    assert len(outcome.journal) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"change_id": 2}, id="another change id"),
        pytest.param({"other_creditor_id": STRANGER_ID}, id="another creditor"),
        pytest.param({"debtor_id": DEBTOR_ID + 1}, id="another debtor"),
    ],
)
def test_changes_with_different_ids_are_different_changes(other: dict[str, Any]) -> None:
    outcome = apply_batch(
        pending_balance_change(),
        pending_balance_change(**other),
        registered_changes={(DEBTOR_ID, SENDER_ID, 1)},
    )
    assert [entry.amount for entry in outcome.journal] == [1000]
    assert len(outcome.received) == 1


@pytest.mark.parametrize(
    ("committed_at", "applies"),
    [
        pytest.param(NOW - DAY, True, id="committed at the threshold"),
        pytest.param(NOW - DAY - MICROSECOND, False, id="committed a moment earlier"),
        pytest.param(NOW, True, id="committed later"),
        pytest.param(NOW + DAY, True, id="committed in the future"),
    ],
)
def test_a_change_from_before_the_archive_threshold_is_ignored(
    committed_at: Any, applies: bool
) -> None:
    outcome = apply_batch(
        pending_balance_change(committed_at=committed_at),
        policy=Policy(archive_threshold=NOW - DAY),
    )
    assert (KEY in outcome.accounts) is applies
    assert bool(outcome.received) is applies


def test_a_forgotten_change_is_ignored_even_if_it_was_registered_as_new() -> None:
    rows = WorkingSet(Needs(), requested_accounts=[KEY], new_changes=[(DEBTOR_ID, SENDER_ID, 1)])
    forgotten = pending_balance_change(committed_at=EPOCH - DAY)
    apply([forgotten], rows, Policy(), NOW)
    assert rows.accounts == {}
    assert rows.received == []


def test_everything_since_1970_is_remembered_unless_the_operator_says_otherwise() -> None:
    assert Policy().archive_threshold == EPOCH


# -- whatever the account ---------------------------------------------------------------------


def test_an_account_that_does_not_exist_is_created() -> None:
    outcome = apply_batch(pending_balance_change())
    created = the_account(outcome)
    assert created.is_created
    assert created.creation_date == NOW.date()
    assert (created.principal, created.config_flags, created.last_config_ts) == (1000, 0, EPOCH)
    transfer, update = outcome.events
    assert isinstance(transfer, AccountTransfer)
    assert isinstance(update, AccountUpdate)
    assert (update.principal, update.last_change_seqnum, update.last_transfer_number) == (
        1000,
        1,
        1,
    )


def test_a_deleted_account_is_revived_with_its_configuration() -> None:
    recipient = recipient_account(is_deleted=True, config_flags=1, last_change_seqnum=7)
    outcome = apply_batch(pending_balance_change(), accounts=[recipient])
    assert not recipient.is_deleted
    assert recipient.config_flags == 1, "so it stays scheduled for deletion"
    (update,) = events_of(outcome, AccountUpdate)
    assert (update.config_flags, update.last_change_seqnum, update.principal) == (1, 8, 1000)


def test_an_account_that_is_scheduled_for_deletion_gets_the_money() -> None:
    recipient = recipient_account(config_flags=1)
    apply_batch(pending_balance_change(), accounts=[recipient])
    assert recipient.principal == 1000


@pytest.mark.parametrize(
    ("existing", "principal"),
    [
        pytest.param([root_account(principal=-500)], -570, id="existing"),
        pytest.param([root_account(principal=0, is_deleted=True)], -70, id="deleted"),
        pytest.param([], -70, id="absent"),
    ],
)
def test_the_root_account_pays_interest_and_gets_no_notice(
    existing: list[Account], principal: int
) -> None:
    outcome = apply_batch(
        pending_balance_change(creditor_id=0, principal_delta=-70, coordinator_type="interest"),
        accounts=existing,
    )
    root = outcome.accounts[DEBTOR_ID, 0]
    assert root.principal == principal
    assert not root.is_deleted
    assert root.last_transfer_number == 0
    assert events_of(outcome, AccountTransfer) == []
    assert [entry.principal for entry in outcome.journal] == [principal]


def test_changes_of_one_batch_are_told_with_the_running_principal() -> None:
    outcome = apply_batch(
        *(pending_balance_change(change_id=n, principal_delta=n) for n in (3, -20, 100)),
        accounts=[recipient_account(principal=1000)],
    )
    told = events_of(outcome, AccountTransfer)
    assert [t.principal for t in told] == [1003, 983, 1083]
    assert [t.transfer_number for t in told] == [1, 2, 3]


# -- interest due to late changes --------------------------------------------------------------


@pytest.mark.parametrize("amount", [10_000, -10_000, 2**60 + 1])
@pytest.mark.parametrize("principal", [0, 5000, -5000])
def test_a_late_change_gets_the_interest_it_has_missed(principal: int, amount: int) -> None:
    """Ten days late: seven at the rate before, three at the rate after."""
    recipient = recipient_account(
        principal=principal,
        interest_rate=-8.0,
        previous_interest_rate=12.0,
        last_interest_rate_change_ts=NOW - 3 * DAY,
    )
    apply_batch(
        pending_balance_change(principal_delta=amount, committed_at=NOW - 10 * DAY),
        accounts=[recipient],
    )
    with localcontext(prec=80):
        day = Decimal(86400) / 31_557_600
        growth = Decimal("1.12") ** (7 * day) * Decimal("0.92") ** (3 * day) - 1
        expected = float(amount * growth)
    assert recipient.interest == pytest.approx(expected, rel=1e-15)
    assert recipient.principal == principal + amount


def test_nothing_is_due_to_a_change_without_delay() -> None:
    recipient = recipient_account(interest_rate=12.0)
    apply_batch(pending_balance_change(committed_at=NOW), accounts=[recipient])
    assert recipient.interest == 0.0


def test_due_interest_comes_on_top_of_what_has_accumulated() -> None:
    year_later = NOW + timedelta(days=365.25)
    recipient = recipient_account(principal=1000, interest_rate=5.0)
    apply_batch(
        pending_balance_change(principal_delta=100, committed_at=NOW),
        accounts=[recipient],
        now=year_later,
    )
    assert recipient.interest == pytest.approx(50.0 + 5.0)
    assert recipient.principal == 1100


def test_a_root_account_is_due_nothing() -> None:
    root = root_account()
    apply_batch(
        pending_balance_change(creditor_id=0, committed_at=NOW - 300 * DAY), accounts=[root]
    )
    assert root.interest == 0.0


def test_an_amount_that_does_not_fit_is_taken_as_far_as_it_fits() -> None:
    recipient = recipient_account(principal=MAX_INT64 - 600)
    outcome = apply_batch(pending_balance_change(), accounts=[recipient])
    assert recipient.principal == MAX_INT64
    (entry,) = outcome.journal
    assert (entry.amount, entry.clipped_amount, entry.principal) == (1000, 400, MAX_INT64)
