"""PurgeAccount: a deleted account is forgotten (protocol.rst, Purge)."""

from datetime import date, timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import AccountPurge
from swpt_accounts.ledger.journal import BooksDoNotBalance, Position
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import EPOCH
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    local,
    nothing_happened,
    only_event,
    purge_account,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
SENDER = (DEBTOR_ID, SENDER_ID)


def forgotten(**fields: Any) -> Account:
    """Return an account that was deleted just long enough ago."""
    defaults = {
        "is_deleted": True,
        "config_flags": 1,
        "creation_date": date(2025, 1, 1),
        "last_change_ts": NOW - 106 * DAY - MICROSECOND,
        "last_journal_number": 8,
    }
    return account(**{**defaults, **fields})


def purge(it: Account, **options: Any) -> WorkingSet:
    return apply_batch(purge_account(creditor_id=it.creditor_id), accounts=[it], **options)


@pytest.mark.parametrize("creditor_id", [SENDER_ID, 0])
@pytest.mark.parametrize("fields", [{}, {"last_change_ts": EPOCH}, {"config_flags": 0}], ids=str)
def test_the_row_is_removed_and_its_owner_is_told(creditor_id: int, fields: dict[str, Any]) -> None:
    it = forgotten(creditor_id=creditor_id, **fields)
    outcome = purge(it)
    assert outcome.purged == {it.key: Position(8, 0)}
    assert outcome.accounts == {}
    assert only_event(outcome, AccountPurge) == AccountPurge(
        debtor_id=DEBTOR_ID, creditor_id=creditor_id, creation_date=date(2025, 1, 1), ts=NOW
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"is_deleted": False}, id="live"),
        pytest.param({"last_change_ts": NOW - 106 * DAY}, id="not long enough ago"),
        pytest.param({"last_change_ts": NOW + DAY}, id="the clock went back"),
        pytest.param({"creation_date": (NOW - 3 * DAY).date()}, id="created too lately"),
        pytest.param({"creation_date": (NOW + 9 * DAY).date()}, id="created in the future"),
    ],
)
def test_it_is_too_early(fields: dict[str, Any]) -> None:
    it = forgotten(**fields)
    outcome = purge(it)
    assert outcome.accounts == {SENDER: it}
    assert nothing_happened(outcome)


def test_the_account_is_gone_already() -> None:
    outcome = apply_batch(purge_account())
    assert outcome.events == []
    assert outcome.purged == {}


def test_an_account_is_purged_once() -> None:
    outcome = apply_batch(purge_account(), purge_account(), accounts=[forgotten()])
    assert only_event(outcome, AccountPurge).creditor_id == SENDER_ID


def test_an_operator_with_shorter_delays_forgets_sooner() -> None:
    policy = Policy(commit_period=30 * DAY)
    outcome = purge(forgotten(last_change_ts=NOW - 46 * DAY - MICROSECOND), policy=policy)
    assert len(outcome.events) == 1


def test_nothing_is_written_when_money_would_go_with_the_account() -> None:
    """A deleted account holds nothing. If one does, something is very wrong."""
    with pytest.raises(BooksDoNotBalance, match="purged with 5"):
        purge(forgotten(principal=5))


def test_an_account_can_be_purged_where_its_root_account_is_elsewhere() -> None:
    assert len(purge(forgotten(), is_local=local(SENDER_ID)).events) == 1
