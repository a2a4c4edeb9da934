"""ConfigureAccount: applied, rejected, or ignored (protocol.rst, ConfigureAccount)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import ConfigureAccount
from swpt_accounts.ledger.events import AccountUpdate, RejectedConfig
from swpt_accounts.ledger.facts import Facts
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
    configure_root_account,
    events_of,
    local,
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
    assert not created.pending_account_update
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


# -- rate and info of the currency ---------------------------------------------------


FOREIGN_ROOT = local(SENDER_ID)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            {"accounts": [root_account(config_data=ROOT_CONFIG)]}, id="the root account is local"
        ),
        pytest.param(
            {"accounts": [root_account(config_data=ROOT_CONFIG, is_deleted=True)]},
            id="the root account is local and deleted",
        ),
        pytest.param(
            {
                "is_local": FOREIGN_ROOT,
                "facts": Facts(root_config_data={DEBTOR_ID: ROOT_CONFIG}),
            },
            id="another shard has told",
        ),
    ],
)
def test_a_new_account_gets_the_currencys_rate_and_info_at_once(rows: dict[str, Any]) -> None:
    outcome = apply_batch(configure_account(), **rows)
    update = the_update(outcome)
    assert update.interest_rate == 3.5
    assert update.last_interest_rate_change_ts == NOW
    assert update.debtor_info_iri == "https://example.com/17"
    assert update.debtor_info_content_type == "text/html"
    assert update.debtor_info_sha256 == bytes.fromhex(SHA256)
    assert update.last_change_seqnum == 3, "configuration, rate, and info"
    assert the_account(outcome).previous_interest_rate == 0.0


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param({}, id="there is no root account"),
        pytest.param({"accounts": [root_account()]}, id="the root account has the defaults"),
        pytest.param(
            {"accounts": [root_account(config_data="{")]}, id="the root account's are unreadable"
        ),
        pytest.param({"is_local": FOREIGN_ROOT}, id="another shard gave no answer"),
        pytest.param(
            {"is_local": FOREIGN_ROOT, "facts": Facts(root_config_data={DEBTOR_ID: None})},
            id="another shard has no root account",
        ),
        pytest.param(
            {"is_local": FOREIGN_ROOT, "facts": Facts(root_config_data={DEBTOR_ID: "{"})},
            id="another shard's are unreadable",
        ),
    ],
)
def test_a_new_account_begins_without_rate_and_info_when_there_are_none(
    rows: dict[str, Any],
) -> None:
    update = the_update(apply_batch(configure_account(), **rows))
    assert update.interest_rate == 0.0
    assert update.last_interest_rate_change_ts == EPOCH
    assert (update.debtor_info_iri, update.debtor_info_sha256) == ("", b"")
    assert update.last_change_seqnum == 1


@pytest.mark.parametrize(
    "existing_root",
    [
        pytest.param([], id="of a new root account"),
        pytest.param([root_account()], id="of an existing root account"),
    ],
)
def test_a_new_account_gets_the_rate_that_was_configured_earlier_in_the_same_batch(
    existing_root: list[Account],
) -> None:
    outcome = apply_batch(
        configure_root_account(config_data=ROOT_CONFIG), configure_account(), accounts=existing_root
    )
    assert the_account(outcome).interest_rate == 3.5
    assert the_account(outcome).debtor_info == DEBTOR_INFO


def test_root_accounts_have_no_rate_and_no_info() -> None:
    outcome = apply_batch(configure_root_account(config_data=ROOT_CONFIG))
    update = the_update(outcome)
    assert (update.creditor_id, update.config_data) == (0, ROOT_CONFIG)
    assert update.interest_rate == 0.0
    assert update.last_interest_rate_change_ts == EPOCH
    assert update.debtor_info_iri == ""
    assert update.account_id == "0"


# -- deleted accounts ------------------------------------------------------------------


def test_a_deleted_account_comes_back_to_life_with_its_numbers_going_on() -> None:
    existing = account(
        is_deleted=True, config_flags=1, last_change_seqnum=7, last_transfer_number=3, interest=0.5
    )
    created_on = existing.creation_date
    outcome = apply_batch(configure_account(), accounts=[existing])
    update = the_update(outcome)
    assert not existing.is_deleted
    assert (update.config_flags, update.last_change_seqnum) == (0, 8)
    assert (update.creation_date, update.last_transfer_number) == (created_on, 3)


def test_a_deleted_account_stays_dead_when_the_message_is_not_later() -> None:
    existing = account(is_deleted=True, last_config_ts=NOW, last_config_seqnum=1)
    assert was_ignored(apply_batch(configure_account(ts=NOW, seqnum=1), accounts=[existing]))
    assert existing.is_deleted


@pytest.mark.parametrize(
    ("since_rate_change", "rate"),
    [
        pytest.param(8 * DAY, 3.5, id="eight days after the last change: the new one"),
        pytest.param(8 * DAY - MICROSECOND, 1.0, id="a moment earlier: still the old one"),
        pytest.param(-DAY, 1.0, id="the last change is in the future: still the old one"),
    ],
)
def test_a_revived_account_gets_the_rate_if_the_last_change_is_long_ago(
    since_rate_change: timedelta, rate: float
) -> None:
    existing = account(
        is_deleted=True,
        interest_rate=1.0,
        last_interest_rate_change_ts=LATER - since_rate_change,
    )
    outcome = apply_batch(
        configure_account(ts=LATER),
        accounts=[existing, root_account(config_data=ROOT_CONFIG)],
        now=LATER,
    )
    update = the_update(outcome)
    assert update.interest_rate == rate
    assert existing.debtor_info == DEBTOR_INFO, "which needs no interval"
    if rate == 3.5:
        assert existing.previous_interest_rate == 1.0
        assert update.last_interest_rate_change_ts == LATER


def test_the_interval_between_changes_of_the_rate_follows_the_longest_delay() -> None:
    existing = account(
        is_deleted=True, interest_rate=1.0, last_interest_rate_change_ts=NOW - 3 * DAY
    )
    apply_batch(
        configure_account(),
        accounts=[existing, root_account(config_data=ROOT_CONFIG)],
        policy=Policy(message_delay_max=2 * DAY),
    )
    assert existing.interest_rate == 3.5


def test_a_revived_account_whose_rate_is_right_has_no_change_of_the_rate() -> None:
    existing = account(is_deleted=True, interest_rate=3.5)
    apply_batch(configure_account(), accounts=[existing, root_account(config_data=ROOT_CONFIG)])
    assert existing.last_interest_rate_change_ts == EPOCH


def test_a_repeated_message_leaves_the_initialized_account_as_it_is() -> None:
    """A crash between commit and acknowledgement delivers the message again."""
    root = root_account(config_data=ROOT_CONFIG)
    command: ConfigureAccount = configure_account()
    first = the_account(apply_batch(command, accounts=[root]))
    first.is_changed = False
    again = apply_batch(command, accounts=[root, first])
    assert was_ignored(again)
    assert first.interest_rate == 3.5
