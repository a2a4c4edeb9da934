"""How the state of an account is announced (protocol.rst, AccountUpdate)."""

from datetime import timedelta

import msgspec
import pytest

from swpt_accounts.ledger.account_update import announce
from swpt_accounts.ledger.policy import Policy
from tests.factories import DEBTOR_ID, NOW, account

DAY = timedelta(days=1)


def test_tells_the_whole_state() -> None:
    state = {
        "creditor_id": -2,
        "last_change_ts": NOW - DAY,
        "last_change_seqnum": -5,
        "principal": -10,
        "interest": 1e-7,
        "interest_rate": 5.0,
        "last_interest_rate_change_ts": NOW - 2 * DAY,
        "last_config_ts": NOW - 3 * DAY,
        "last_config_seqnum": -6,
        "negligible_amount": 1e30,
        "config_flags": -1,
        "config_data": "data",
        "debtor_info_iri": "https://example.com/",
        "debtor_info_content_type": "text/html",
        "debtor_info_sha256": bytes(range(32)),
        "last_transfer_number": 7,
        "last_transfer_committed_at": NOW - 4 * DAY,
    }
    it = account(**state)
    assert msgspec.structs.asdict(announce(it, Policy(), NOW)) == {
        "debtor_id": DEBTOR_ID,
        **state,
        "creation_date": it.creation_date,
        "account_id": "18446744073709551614",
        "demurrage_rate": -50.0,
        "commit_period": 7_776_000,
        "transfer_note_max_bytes": 500,
        "ts": NOW,
        "ttl": 604_800,
    }


def test_announcing_is_noted_on_the_account() -> None:
    it = account(update_pending_since=NOW, is_update_due=True)
    announce(it, Policy(), NOW + DAY)
    assert it.update_pending_since is None
    assert not it.is_update_due
    assert it.last_update_sent_ts == NOW + DAY
    assert it.is_changed
    assert it.last_change_ts == NOW, "it is no change of the state"


def test_its_moments_do_not_go_back_with_the_clock() -> None:
    it = account(last_change_ts=NOW, last_update_sent_ts=NOW)
    update = announce(it, Policy(), NOW - DAY)
    assert update.ts == NOW
    assert it.last_update_sent_ts == NOW


@pytest.mark.parametrize(
    ("policy", "ttl", "commit_period"),
    [
        pytest.param(Policy(), 604_800, 7_776_000, id="by default"),
        pytest.param(
            Policy(message_delay_max=timedelta(days=0.5), commit_period=30 * DAY),
            43_200,
            2_592_000,
            id="as the operator says",
        ),
        pytest.param(
            Policy(message_delay_max=timedelta(seconds=9.9)), 9, 7_776_000, id="whole seconds"
        ),
    ],
)
def test_the_operators_periods(policy: Policy, ttl: int, commit_period: int) -> None:
    update = announce(account(), policy, NOW)
    assert (update.ttl, update.commit_period) == (ttl, commit_period)
    assert isinstance(update.ttl, int)
    assert isinstance(update.commit_period, int)
