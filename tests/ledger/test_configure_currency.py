"""New and revived accounts get rate and info of their currency (protocol.rst, ConfigureAccount)."""

import json
from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import ConfigureAccount
from swpt_accounts.ledger.events import AccountUpdate
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DebtorInfo
from swpt_accounts.ledger.values import EPOCH
from swpt_accounts.ledger.working_set import WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    SENDER_ID,
    account,
    apply_batch,
    configure_account,
    configure_root_account,
    local,
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
