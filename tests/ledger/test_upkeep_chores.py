"""What a scan asks for: which chores, in which order, with what in them (Periodic work)."""

from datetime import date, timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import (
    CapitalizeInterest,
    ChangeInterestRate,
    Chore,
    PurgeAccount,
    RemindOfTransfer,
    SendAccountUpdate,
    TryToDeleteAccount,
    UpdateDebtorInfo,
)
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DEFAULT_ROOT_CONFIG, DebtorInfo, RootConfig
from swpt_accounts.ledger.upkeep import chores_for_account, chores_for_transfer
from tests.factories import (
    DEBTOR_ID,
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    prepared_transfer,
    root_account,
)

DAY = timedelta(days=1)
SENDER = (DEBTOR_ID, SENDER_ID)
INFO = DebtorInfo("https://example.com/", "text/html", bytes(range(32)))
CURRENCY = RootConfig(rate=7.5, info=INFO)


def due_on(account: Account, currency: RootConfig | None = None) -> list[Chore]:
    return chores_for_account(account, currency, Policy(), NOW)


def neglected(**fields: Any) -> Account:
    """Return an account on which everything is due that can be."""
    defaults = {
        "principal": 1000,
        "interest": 50.0,
        "config_flags": 1,
        "last_update_sent_ts": NOW - 30 * DAY,
        "last_change_ts": NOW - 200 * DAY,
        "creation_date": date(2025, 1, 1),
    }
    return account(**{**defaults, **fields})


def test_everything_at_once_is_done_in_the_order_that_saves_work() -> None:
    """A deleted account needs nothing more, and what the others change is announced last."""
    assert due_on(neglected(), CURRENCY) == [
        TryToDeleteAccount(*SENDER),
        ChangeInterestRate(*SENDER, 7.5, NOW),
        UpdateDebtorInfo(
            *SENDER, "https://example.com/", "text/html", bytes(range(32)).hex().upper(), NOW
        ),
        CapitalizeInterest(*SENDER),
        SendAccountUpdate(*SENDER),
    ]


@pytest.mark.parametrize(
    ("account", "currency", "due"),
    [
        pytest.param(account(last_update_sent_ts=NOW), None, [], id="nothing"),
        pytest.param(account(last_update_sent_ts=NOW), DEFAULT_ROOT_CONFIG, [], id="nothing new"),
        pytest.param(
            neglected(config_flags=0, interest=0.0),
            None,
            [SendAccountUpdate(*SENDER)],
            id="heartbeat",
        ),
        pytest.param(
            account(last_update_sent_ts=NOW, update_pending_since=NOW - DAY),
            None,
            [SendAccountUpdate(*SENDER)],
            id="changed",
        ),
        pytest.param(
            neglected(),
            None,
            [TryToDeleteAccount(*SENDER), CapitalizeInterest(*SENDER), SendAccountUpdate(*SENDER)],
            id="currency not known",
        ),
        pytest.param(
            account(last_update_sent_ts=NOW),
            RootConfig(rate=1e9),
            [ChangeInterestRate(*SENDER, 100.0, NOW)],
            id="the rate that will be stored, not the one wished for",
        ),
        pytest.param(
            account(last_update_sent_ts=NOW, interest_rate=5.0),
            RootConfig(rate=-1e9),
            [ChangeInterestRate(*SENDER, -50.0, NOW)],
            id="the lowest rate",
        ),
        pytest.param(
            account(last_update_sent_ts=NOW, debtor_info_iri="https://example.com/"),
            DEFAULT_ROOT_CONFIG,
            [UpdateDebtorInfo(*SENDER, "", "", "", NOW)],
            id="no info any more",
        ),
        pytest.param(
            neglected(is_deleted=True, last_change_ts=NOW - 106 * DAY),
            CURRENCY,
            [],
            id="deleted, to be remembered",
        ),
        pytest.param(
            neglected(is_deleted=True), CURRENCY, [PurgeAccount(*SENDER)], id="deleted long ago"
        ),
    ],
)
def test_what_is_due(account: Account, currency: RootConfig | None, due: list[Chore]) -> None:
    assert due_on(account, currency) == due


def test_root_accounts_are_announced_and_deleted_but_do_not_follow_themselves() -> None:
    root = neglected(creditor_id=0)
    assert due_on(root, CURRENCY) == [
        TryToDeleteAccount(DEBTOR_ID, 0),
        SendAccountUpdate(DEBTOR_ID, 0),
    ]
    forgotten = root_account(
        is_deleted=True, last_change_ts=NOW - 200 * DAY, creation_date=date(2025, 1, 1)
    )
    assert due_on(forgotten, CURRENCY) == [PurgeAccount(DEBTOR_ID, 0)]


def test_looking_changes_nothing() -> None:
    it, same = neglected(), neglected()
    due_on(it, CURRENCY)
    assert it == same


def test_reminders() -> None:
    late = prepared_transfer(prepared_at=NOW - 7 * DAY)
    assert chores_for_transfer(late, Policy(), NOW) == [RemindOfTransfer(*late.key)]
    assert chores_for_transfer(prepared_transfer(), Policy(), NOW) == []


@pytest.mark.parametrize("fields", [{}, {"config_flags": 0}, {"principal": 1, "interest": 0.0}])
def test_nothing_is_due_any_more_when_the_chores_have_been_done(fields: dict[str, Any]) -> None:
    """Otherwise every scan would send the same chores again, for ever."""
    it = neglected(**fields)
    chores = due_on(it, CURRENCY)
    apply_batch(*chores, accounts=[it, root_account()])
    assert due_on(it, CURRENCY) == []


def test_nothing_is_due_any_more_on_a_purged_account() -> None:
    it = neglected(is_deleted=True, principal=0, interest=0.0)
    outcome = apply_batch(*due_on(it, CURRENCY), accounts=[it])
    assert outcome.accounts == {}
