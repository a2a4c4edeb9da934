"""TryToDeleteAccount: what stands against it, and what becomes of it (protocol.rst, Deletion)."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import MAX_INT64
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    events_of,
    nothing_happened,
    only_event,
    root_account,
    try_to_delete_account,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
YEAR = timedelta(seconds=31_557_600)


def scheduled(**fields: Any) -> Account:
    """Return the sender's account, scheduled for deletion and never tried."""
    return account(**{"config_flags": 1, **fields})


def try_to_delete(*accounts: Account, **options: Any) -> WorkingSet:
    return apply_batch(try_to_delete_account(), accounts=accounts, **options)


# -- no attempt --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"config_flags": 0}, id="not scheduled"),
        pytest.param({"config_flags": -2}, id="every flag but this one"),
        pytest.param({"is_deleted": True}, id="deleted already"),
        pytest.param({"last_deletion_attempt_ts": NOW}, id="tried just now"),
        pytest.param({"last_deletion_attempt_ts": NOW - 14 * DAY + MICROSECOND}, id="tried lately"),
        pytest.param({"last_deletion_attempt_ts": NOW + DAY}, id="the clock went back"),
    ],
)
def test_deletion_is_not_even_tried(fields: dict[str, Any]) -> None:
    outcome = try_to_delete(scheduled(**fields), root_account())
    assert nothing_happened(outcome)


def test_there_is_no_such_account() -> None:
    assert try_to_delete(root_account()).changed_accounts() == []


# -- attempts that fail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"pending_transfers_count": 1}, id="a prepared transfer"),
        pytest.param(
            {"pending_transfers_count": 1, "principal": -5}, id="a debtor with a prepared transfer"
        ),
        pytest.param({"principal": 3}, id="more than two"),
        pytest.param({"principal": 2, "interest": 5e-324}, id="slightly more than two"),
        pytest.param({"principal": 0, "interest": 2.0000000000000004}, id="only interest"),
        pytest.param({"principal": -100, "interest": 102.5}, id="interest covers the debt"),
        pytest.param({"principal": 11, "negligible_amount": 10.9}, id="more than negligible"),
        pytest.param(
            {"principal": 10, "interest": 0.1, "negligible_amount": 10.0}, id="by its interest"
        ),
        pytest.param(
            {"principal": 2**53 + 1, "negligible_amount": 2.0**53}, id="by a unit, near 2^53"
        ),
        pytest.param(
            {"principal": 2**53, "interest": 1e-9, "negligible_amount": 2.0**53},
            id="by less than a unit, near 2^53",
        ),
        pytest.param(
            {"principal": MAX_INT64, "interest": 1.5, "negligible_amount": 2.0**63},
            id="by half a unit, near 2^63",
        ),
        pytest.param(
            {"principal": 2, "interest_rate": 1.0, "last_change_ts": NOW - DAY},
            id="by what has accumulated since",
        ),
    ],
)
def test_something_stands_against_it(fields: dict[str, Any]) -> None:
    it = scheduled(**fields)
    before = (it.principal, it.interest, it.last_change_seqnum, it.last_change_ts)
    outcome = try_to_delete(it, root_account())
    assert not it.is_deleted
    assert outcome.events == []
    assert outcome.journal == []
    assert (it.principal, it.interest, it.last_change_seqnum, it.last_change_ts) == before
    assert it.last_deletion_attempt_ts == NOW, "so that the next attempt is later"
    assert outcome.changed_accounts() == [it]


# -- success ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"principal": 0}, id="nothing"),
        pytest.param({"principal": 2}, id="two"),
        pytest.param({"principal": 1, "interest": 1.0}, id="two, with interest"),
        pytest.param({"principal": 1000, "interest": -998.0}, id="two, less interest"),
        pytest.param({"principal": -100, "interest": 102.0}, id="two, after a debt"),
        pytest.param({"principal": -1}, id="a debt"),
        pytest.param({"principal": -MAX_INT64}, id="the largest debt"),
        pytest.param({"principal": -5, "interest": -1e24}, id="a debt of interest"),
        pytest.param({"principal": 10, "negligible_amount": 10.0}, id="the negligible amount"),
        pytest.param({"principal": 10, "interest": 0.9, "negligible_amount": 10.9}, id="all of it"),
        pytest.param({"principal": 1, "negligible_amount": 1e-9}, id="never less than two"),
        pytest.param({"principal": 2**53, "negligible_amount": 2.0**53}, id="near 2^53"),
        pytest.param({"principal": MAX_INT64, "negligible_amount": 2.0**63}, id="near 2^63"),
        pytest.param(
            {"principal": MAX_INT64, "interest": 1.0, "negligible_amount": 2.0**63}, id="2^63"
        ),
        pytest.param({"principal": MAX_INT64, "negligible_amount": 1e308}, id="whatever it is"),
        pytest.param(
            {"principal": 3, "interest_rate": -50.0, "last_change_ts": NOW - YEAR},
            id="negative interest has eaten it up",
        ),
        pytest.param({"last_deletion_attempt_ts": NOW - 14 * DAY}, id="tried long ago"),
        pytest.param({"config_flags": -1}, id="with every other flag"),
    ],
)
def test_the_account_is_deleted(fields: dict[str, Any]) -> None:
    it, root = scheduled(**fields), root_account(principal=-100)
    principal = it.principal
    outcome = try_to_delete(it, root)
    assert it.is_deleted
    assert (it.principal, it.interest, it.total_locked_amount) == (0, 0.0, 0)
    clipped = sum(entry.clipped_amount for entry in outcome.journal)
    assert root.principal + clipped == principal - 100
    assert it.last_deletion_attempt_ts == NOW
    (update,) = events_of(outcome, AccountUpdate)
    assert outcome.events[-1] == update
    assert (update.creditor_id, update.principal, update.interest) == (SENDER_ID, 0, 0.0)
    assert (update.last_change_ts, update.ts) == (NOW, NOW)
    assert update.last_change_seqnum == it.last_change_seqnum > 5
    assert it.update_pending_since is None


def test_locks_that_nobody_knows_any_more_are_forgotten() -> None:
    it = scheduled(total_locked_amount=77)
    try_to_delete(it)
    assert (it.is_deleted, it.total_locked_amount) == (True, 0)


def test_what_the_account_was_is_remembered() -> None:
    fields: dict[str, Any] = {
        "config_flags": 1,
        "last_config_ts": NOW - 3 * DAY,
        "last_config_seqnum": 17,
        "negligible_amount": 3.25,
        "interest_rate": 7.0,
        "last_interest_rate_change_ts": NOW - 5 * DAY,
        "last_transfer_id": 99,
        "last_transfer_number": 9,
        "creation_date": (NOW - 50 * DAY).date(),
    }
    it = scheduled(**fields)
    try_to_delete(it)
    assert it.is_deleted
    assert {name: getattr(it, name) for name in fields} == fields


def test_an_empty_account_needs_no_write_off() -> None:
    it, root = scheduled(interest=1.5), root_account()
    outcome = try_to_delete(it, root)
    assert outcome.journal == []
    assert only_event(outcome, AccountUpdate).creditor_id == SENDER_ID
    assert outcome.changed_accounts() == [it]


def test_a_clock_that_went_back_turns_nothing_back() -> None:
    ahead = NOW + YEAR
    it = scheduled(principal=2, last_change_ts=ahead)
    outcome = try_to_delete(it, root_account(principal=-2))
    (told,) = events_of(outcome, AccountTransfer)
    (update,) = events_of(outcome, AccountUpdate)
    assert told.committed_at == it.last_transfer_committed_at == ahead
    assert (it.last_change_ts, update.last_change_ts, update.ts) == (ahead, ahead, ahead)
    assert it.last_deletion_attempt_ts == NOW


@pytest.mark.parametrize("interval", [timedelta(0), 3 * DAY])
def test_the_interval_between_attempts_is_the_operators(interval: timedelta) -> None:
    it = scheduled(last_deletion_attempt_ts=NOW - interval)
    try_to_delete(it, policy=Policy(deletion_attempts_interval_min=interval))
    assert it.is_deleted


# -- root accounts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_deleted"),
    [
        ({"principal": 0}, True),
        ({"principal": 0, "interest": 10.0}, True),
        ({"principal": 1}, False),
        ({"principal": -1}, False),
        ({"principal": 2, "negligible_amount": 1e30}, False),
        ({"principal": 0, "pending_transfers_count": 1}, False),
        ({"principal": 0, "config_flags": 0}, False),
    ],
)
def test_a_root_account_must_hold_exactly_nothing(fields: dict[str, Any], is_deleted: bool) -> None:
    root = root_account(**{"config_flags": 1, **fields})
    outcome = apply_batch(try_to_delete_account(creditor_id=0), accounts=[root])
    assert root.is_deleted is is_deleted
    assert outcome.journal == []
    assert len(outcome.events) == (1 if is_deleted else 0)


def test_a_root_account_that_is_written_off_to_lives_on() -> None:
    """Its own deletion comes first here, and the other account's remainder brings it back."""
    it, root = scheduled(principal=2), root_account(config_flags=1)
    outcome = apply_batch(
        try_to_delete_account(creditor_id=0), try_to_delete_account(), accounts=[it, root]
    )
    assert (it.is_deleted, root.is_deleted, root.principal) == (True, False, 2)
    assert [u.principal for u in events_of(outcome, AccountUpdate)] == [2, 0]


# -- repetitions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy(), Policy(deletion_attempts_interval_min=timedelta(0))])
def test_a_chore_that_comes_twice_writes_off_once(policy: Policy) -> None:
    it, root = scheduled(principal=2), root_account(principal=-2)
    chores = [try_to_delete_account()] * 2
    outcome = apply_batch(*chores, accounts=[it, root], policy=policy)
    assert root.principal == 0
    assert len(outcome.journal) == 2
    assert len(events_of(outcome, AccountUpdate)) == 1
