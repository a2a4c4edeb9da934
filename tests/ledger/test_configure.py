"""ConfigureAccount: applied, rejected, or ignored (protocol.rst, ConfigureAccount)."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import AccountUpdate, RejectedConfig
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DebtorInfo
from swpt_accounts.ledger.values import EPOCH, MAX_INT32, MIN_INT32
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    configure_account,
    events_of,
    pending_balance_change,
    root_account,
)

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
LATER = NOW + timedelta(hours=1)
KEY = DEBTOR_ID, SENDER_ID

SHA256 = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
ROOT_CONFIG = json.dumps(
    {
        "type": "RootConfigData",
        "rate": 3.5,
        "info": {
            "type": "DebtorInfo",
            "iri": "https://example.com/17",
            "contentType": "text/html",
            "sha256": SHA256,
        },
    }
)
DEBTOR_INFO = DebtorInfo("https://example.com/17", "text/html", bytes.fromhex(SHA256))


def the_account(outcome: WorkingSet) -> Account:
    return outcome.accounts[KEY]


def the_update(outcome: WorkingSet) -> AccountUpdate:
    """Return the only event of the batch."""
    (update,) = outcome.events
    assert isinstance(update, AccountUpdate)
    return update


def was_ignored(outcome: WorkingSet) -> bool:
    return not outcome.events and not outcome.changed_accounts()


# -- new accounts ----------------------------------------------------------------


def test_creates_an_account_and_announces_its_configuration() -> None:
    command = configure_account(negligible_amount=2.5, config_flags=-2, ts=NOW - DAY, seqnum=-9)
    outcome = apply_batch(command)
    created = the_account(outcome)
    assert created.is_created
    assert created.creation_date == NOW.date()
    assert (created.principal, created.interest) == (0, 0.0)
    assert (created.last_change_ts, created.last_change_seqnum) == (NOW, 1)
    update = the_update(outcome)
    assert (update.last_config_ts, update.last_config_seqnum) == (NOW - DAY, -9)
    assert (update.negligible_amount, update.config_flags, update.config_data) == (2.5, -2, "")
    assert (update.last_change_ts, update.last_change_seqnum, update.ts) == (NOW, 1, NOW)
    assert update.account_id == str(SENDER_ID)
    assert created.update_pending_since is None
    assert created.last_update_sent_ts == NOW


@pytest.mark.parametrize(
    ("ts", "creates"),
    [
        pytest.param(NOW, True, id="sent right now"),
        pytest.param(NOW - 7 * DAY, True, id="sent exactly the longest delay ago"),
        pytest.param(NOW - 7 * DAY - MICROSECOND, False, id="sent a moment earlier"),
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), False, id="sent in the first year"),
        pytest.param(NOW + 400 * DAY, True, id="sent in the future"),
        pytest.param(datetime(9999, 12, 31, tzinfo=UTC), True, id="sent in the last year"),
    ],
)
def test_an_account_is_not_created_by_a_message_that_is_too_old(
    ts: datetime, creates: bool
) -> None:
    outcome = apply_batch(configure_account(ts=ts))
    assert was_ignored(outcome) is not creates
    assert (KEY in outcome.accounts) is creates


def test_the_longest_delay_is_the_operators() -> None:
    policy = Policy(message_delay_max=2 * DAY)
    assert was_ignored(apply_batch(configure_account(ts=NOW - 3 * DAY), policy=policy))


def test_a_message_too_old_to_create_an_account_is_not_even_rejected() -> None:
    assert was_ignored(apply_batch(configure_account(ts=NOW - 8 * DAY, config_data="not valid")))


def test_an_account_may_be_created_scheduled_for_deletion() -> None:
    outcome = apply_batch(configure_account(config_flags=1))
    assert the_account(outcome).config_flags == 1
    assert the_update(outcome).config_flags == 1


# -- existing accounts -----------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "seqnum", "applies"),
    [
        pytest.param(NOW + MICROSECOND, 5, True, id="later by a microsecond"),
        pytest.param(NOW + DAY, MIN_INT32, True, id="later, whatever the number"),
        pytest.param(NOW - MICROSECOND, 6, False, id="earlier, whatever the number"),
        pytest.param(NOW, 6, True, id="the same moment, the next number"),
        pytest.param(NOW, 5, False, id="the same message again"),
        pytest.param(NOW, 4, False, id="the same moment, a smaller number"),
        pytest.param(NOW, 5 - 2**31 + 1, False, id="the same moment, far behind on the circle"),
        pytest.param(NOW, MAX_INT32, True, id="the same moment, far ahead on the circle"),
    ],
)
def test_only_a_later_message_is_applied(ts: datetime, seqnum: int, applies: bool) -> None:
    existing = account(last_config_ts=NOW, last_config_seqnum=5)
    outcome = apply_batch(
        configure_account(ts=ts, seqnum=seqnum, negligible_amount=7.0), accounts=[existing]
    )
    assert was_ignored(outcome) is not applies
    if applies:
        assert existing.negligible_amount == 7.0
        assert (existing.last_config_ts, existing.last_config_seqnum) == (ts, seqnum)
        assert the_update(outcome).last_config_seqnum == seqnum
    else:
        assert existing.negligible_amount == 0.0


def test_the_lowest_number_follows_the_highest() -> None:
    existing = account(last_config_ts=NOW, last_config_seqnum=MAX_INT32)
    apply_batch(configure_account(ts=NOW, seqnum=MIN_INT32), accounts=[existing])
    assert existing.last_config_seqnum == MIN_INT32


def test_an_existing_account_can_be_configured_by_an_old_message_that_is_later_than_the_last() -> (
    None
):
    existing = account(last_config_ts=NOW - 300 * DAY)
    apply_batch(configure_account(ts=NOW - 200 * DAY, config_flags=8), accounts=[existing])
    assert existing.config_flags == 8


def test_an_account_that_came_into_being_by_a_transfer_can_be_configured() -> None:
    outcome = apply_batch(pending_balance_change(creditor_id=SENDER_ID, other_creditor_id=7))
    existing = the_account(outcome)
    assert (existing.last_config_ts, existing.last_config_seqnum) == (EPOCH, 0)
    apply_batch(configure_account(config_flags=8), accounts=[existing])
    assert existing.config_flags == 8
    assert existing.principal == 1000


def test_interest_is_brought_up_to_date() -> None:
    existing = account(principal=1000, interest_rate=5.0, last_change_seqnum=MAX_INT32)
    year_later = NOW + timedelta(days=365.25)
    outcome = apply_batch(configure_account(ts=year_later), accounts=[existing], now=year_later)
    update = the_update(outcome)
    assert (update.principal, update.interest) == (1000, 50.0)
    assert (update.last_change_ts, update.last_change_seqnum) == (year_later, MIN_INT32)


def test_configuring_does_not_touch_rate_and_info_of_a_live_account() -> None:
    existing = account(interest_rate=1.0)
    outcome = apply_batch(
        configure_account(), accounts=[existing, root_account(config_data=ROOT_CONFIG)]
    )
    assert the_update(outcome).interest_rate == 1.0
    assert existing.debtor_info == DebtorInfo()


def test_several_messages_of_one_batch_give_one_update_with_the_final_state() -> None:
    commands = [configure_account(seqnum=n, negligible_amount=float(n)) for n in (1, 3, 2)]
    outcome = apply_batch(*commands)
    update = the_update(outcome)
    assert (update.last_config_seqnum, update.negligible_amount) == (3, 3.0)
    assert update.last_change_seqnum == 2, "the third message was old"


# -- invalid configurations --------------------------------------------------------


@pytest.mark.parametrize(
    ("creditor_id", "config_data"),
    [
        pytest.param(SENDER_ID, "not empty", id="any text of a creditor"),
        pytest.param(SENDER_ID, ROOT_CONFIG, id="a root configuration of a creditor"),
        pytest.param(SENDER_ID, " ", id="a space of a creditor"),
        pytest.param(0, "not empty", id="no JSON of the debtor"),
        pytest.param(0, '{"type":"RootConfigData","limit":"5"}', id="a wrong field of the debtor"),
    ],
)
def test_an_invalid_configuration_is_rejected_and_nothing_changes(
    creditor_id: int, config_data: str
) -> None:
    command = configure_account(
        creditor_id=creditor_id,
        config_data=config_data,
        negligible_amount=1e30,
        config_flags=-1,
        ts=NOW - DAY,
        seqnum=-3,
    )
    expected = RejectedConfig(
        debtor_id=DEBTOR_ID,
        creditor_id=creditor_id,
        config_ts=NOW - DAY,
        config_seqnum=-3,
        config_flags=-1,
        negligible_amount=1e30,
        config_data=config_data,
        rejection_code="INVALID_CONFIGURATION",
        ts=NOW,
    )
    absent = apply_batch(command)
    assert absent.events == [expected]
    assert absent.accounts == {}
    existing = account(creditor_id=creditor_id, last_config_ts=EPOCH, is_deleted=True)
    rejected = apply_batch(command, accounts=[existing])
    assert rejected.events == [expected]
    assert rejected.changed_accounts() == []
    assert (existing.last_config_ts, existing.last_config_seqnum) == (EPOCH, 1)
    assert existing.is_deleted


def test_a_rejected_message_is_rejected_as_often_as_it_comes() -> None:
    command = configure_account(config_data="not valid")
    outcome = apply_batch(command, command, accounts=[account()])
    assert len(events_of(outcome, RejectedConfig)) == 2


def test_a_rejected_message_does_not_outdate_a_valid_one() -> None:
    existing = account()
    apply_batch(
        configure_account(seqnum=9, config_data="not valid"),
        configure_account(seqnum=8, config_flags=4),
        accounts=[existing],
    )
    assert existing.last_config_seqnum == 8
    assert existing.config_flags == 4
