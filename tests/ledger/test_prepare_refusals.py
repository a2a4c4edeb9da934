"""Why a transfer cannot be prepared: every check in its place (protocol.rst, PrepareTransfer)."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import PreparedTransfer, RejectedTransfer
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.working_set import NotRequested, WorkingSet
from tests.factories import (
    AGENT_COORDINATOR_ID,
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    account,
    apply_batch,
    configure_account,
    local,
    only_event,
    prepare_transfer,
    recipient_account,
    root_account,
)

DAY = timedelta(days=1)


def refusal(outcome: WorkingSet) -> tuple[str, int]:
    """Return status code and total locked amount of the only event of the batch."""
    event = only_event(outcome, RejectedTransfer)
    assert not outcome.changed_accounts()
    assert not outcome.prepared
    return event.status_code, event.total_locked_amount


def test_a_refusal_names_the_request() -> None:
    outcome = apply_batch(prepare_transfer(coordinator_request_id=-9))
    (event,) = outcome.events
    assert event == RejectedTransfer(
        debtor_id=DEBTOR_ID,
        creditor_id=SENDER_ID,
        coordinator_type="direct",
        coordinator_id=SENDER_ID,
        coordinator_request_id=-9,
        status_code="RECIPIENT_IS_UNREACHABLE",
        total_locked_amount=0,
        ts=NOW,
    )


# -- every refusal, in its order -------------------------------------------------------

# Each step of the table below removes the topmost impediment and keeps all
# those below, so that a check in the wrong place gives the wrong answer.

IMPEDED_SENDER = {
    "principal": -1000,
    "total_locked_amount": 150,
    "pending_transfers_count": 2**31 - 1,
    "last_interest_rate_change_ts": NOW,
}
IMPEDED_REQUEST = {
    "min_locked_amount": 1,
    "max_locked_amount": 1,
    "final_interest_rate_ts": NOW - timedelta(microseconds=1),
    "recipient": str(SENDER_ID),
}


@pytest.mark.parametrize(
    ("request_fields", "sender_fields", "expected"),
    [
        pytest.param(
            {"recipient": "05"},
            None,
            ("RECIPIENT_IS_UNREACHABLE", 0),
            id="first the spelling of the recipient",
        ),
        pytest.param(
            {"recipient": str(STRANGER_ID)},
            None,
            ("RECIPIENT_IS_UNREACHABLE", 0),
            id="then the recipient",
        ),
        pytest.param(
            {"recipient": str(RECIPIENT_ID)},
            None,
            ("SENDER_IS_UNREACHABLE", 0),
            id="then whether the sender exists",
        ),
        pytest.param(
            {"recipient": str(RECIPIENT_ID)},
            {"is_deleted": True},
            ("SENDER_IS_UNREACHABLE", 0),
            id="then whether the sender is deleted",
        ),
        pytest.param({}, {}, ("TOO_MANY_TRANSFERS", 150), id="then how many transfers there are"),
        pytest.param(
            {},
            {"pending_transfers_count": 2**31 - 2},
            ("RECIPIENT_SAME_AS_SENDER", 150),
            id="then whether the recipient is the sender",
        ),
        pytest.param(
            {"recipient": str(RECIPIENT_ID)},
            {"pending_transfers_count": 2**31 - 2},
            ("NEWER_INTEREST_RATE", 150),
            id="then the interest rate",
        ),
        pytest.param(
            {"recipient": str(RECIPIENT_ID), "final_interest_rate_ts": NOW},
            {"pending_transfers_count": 2**31 - 2},
            ("INSUFFICIENT_AVAILABLE_AMOUNT", 150),
            id="and last the amount",
        ),
    ],
)
def test_refusals_in_their_order(
    request_fields: dict[str, Any], sender_fields: dict[str, Any] | None, expected: tuple[str, int]
) -> None:
    accounts = [recipient_account()]
    if sender_fields is not None:
        accounts.append(account(**{**IMPEDED_SENDER, **sender_fields}))
    outcome = apply_batch(
        prepare_transfer(**{**IMPEDED_REQUEST, **request_fields}), accounts=accounts
    )
    assert refusal(outcome) == expected


def test_without_any_impediment_it_is_prepared() -> None:
    sender = account(**{**IMPEDED_SENDER, "principal": 151, "pending_transfers_count": 2**31 - 2})
    command = prepare_transfer(
        **{**IMPEDED_REQUEST, "recipient": str(RECIPIENT_ID), "final_interest_rate_ts": NOW}
    )
    outcome = apply_batch(command, accounts=[sender, recipient_account()])
    assert only_event(outcome, PreparedTransfer).locked_amount == 1
    assert sender.pending_transfers_count == 2**31 - 1


@pytest.mark.parametrize(
    ("request_fields", "sender_fields", "expected"),
    [
        pytest.param({}, None, ("SENDER_IS_UNREACHABLE", 0), id="first the sender"),
        pytest.param({}, {}, ("RECIPIENT_IS_UNREACHABLE", 0), id="then the agent"),
        pytest.param(
            {"recipient": str(SENDER_ID)}, {}, ("TOO_MANY_TRANSFERS", 150), id="then the others"
        ),
    ],
)
def test_refusals_of_agent_transfers_in_their_order(
    request_fields: dict[str, Any], sender_fields: dict[str, Any] | None, expected: tuple[str, int]
) -> None:
    """The recipient, who belongs to another agent, does not exist: it is not looked at."""
    accounts = [] if sender_fields is None else [account(**IMPEDED_SENDER)]
    outcome = apply_batch(
        prepare_transfer(
            **{
                **IMPEDED_REQUEST,
                "coordinator_type": "agent",
                "recipient": str(STRANGER_ID),
                **request_fields,
            }
        ),
        accounts=accounts,
    )
    assert refusal(outcome) == expected


# -- recipients -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipient",
    [
        *("", "+5", "05", "00", " 5", "5 ", "5_0", "٥", "-1", "-0", "5.0", "1e3", "0x5", "five"),
        *("18446744073709551616", "99999999999999999999", "1" * 100),
    ],
)
@pytest.mark.parametrize("coordinator_type", ["direct", "agent"])
def test_a_recipient_in_another_spelling_cannot_be_reached(
    recipient: str, coordinator_type: str
) -> None:
    """Answering with the canonical spelling would make the coordinator dismiss the transfer."""
    outcome = apply_batch(
        prepare_transfer(recipient=recipient, coordinator_type=coordinator_type),
        accounts=[account(principal=1000), account(creditor_id=5), account(creditor_id=50)],
    )
    assert refusal(outcome) == ("RECIPIENT_IS_UNREACHABLE", 0)


@pytest.mark.parametrize("creditor_id", [1, 2**63 - 1, -(2**63), -7, -1])
def test_the_recipient_is_told_as_it_was_asked_for(creditor_id: int) -> None:
    recipient = str(creditor_id % 2**64)
    outcome = apply_batch(
        prepare_transfer(recipient=recipient),
        accounts=[account(), account(creditor_id=creditor_id)],
    )
    assert only_event(outcome, PreparedTransfer).recipient == recipient
    (transfer,) = outcome.prepared.values()
    assert transfer.recipient_creditor_id == creditor_id


@pytest.mark.parametrize(
    ("recipients", "is_reached"),
    [
        pytest.param([recipient_account()], True, id="live"),
        pytest.param([], False, id="absent"),
        pytest.param([recipient_account(is_deleted=True)], False, id="deleted"),
        pytest.param([recipient_account(config_flags=1)], False, id="scheduled for deletion"),
    ],
)
@pytest.mark.parametrize("coordinator_type", ["direct", "agent", "something else"])
def test_which_recipients_can_be_reached(
    recipients: list[Account], is_reached: bool, coordinator_type: str
) -> None:
    outcome = apply_batch(
        prepare_transfer(coordinator_type=coordinator_type), accounts=[account(), *recipients]
    )
    if is_reached or coordinator_type == "agent":
        assert only_event(outcome, PreparedTransfer).recipient == str(RECIPIENT_ID)
    else:
        assert refusal(outcome) == ("RECIPIENT_IS_UNREACHABLE", 0)


def test_a_recipient_that_is_created_earlier_in_the_same_batch_can_be_reached() -> None:
    outcome = apply_batch(
        configure_account(creditor_id=RECIPIENT_ID), prepare_transfer(), accounts=[account()]
    )
    assert isinstance(outcome.events[0], PreparedTransfer)


@pytest.mark.parametrize(
    "root",
    [
        pytest.param([], id="absent"),
        pytest.param([root_account(is_deleted=True, config_flags=1)], id="deleted"),
    ],
)
@pytest.mark.parametrize("is_local", [local(SENDER_ID), local(SENDER_ID, 0)])
def test_the_root_account_can_always_be_reached(root: list[Account], is_local: Any) -> None:
    outcome = apply_batch(
        prepare_transfer(recipient="0"), accounts=[account(), *root], is_local=is_local
    )
    assert only_event(outcome, PreparedTransfer).recipient == "0"


@pytest.mark.parametrize("answer", [True, False])
def test_a_recipient_in_another_shard_is_reached_if_that_shard_says_so(answer: bool) -> None:
    outcome = apply_batch(
        prepare_transfer(),
        accounts=[account()],
        is_local=local(SENDER_ID),
        facts=Facts(reachable={(DEBTOR_ID, RECIPIENT_ID): answer}),
    )
    if answer:
        assert only_event(outcome, PreparedTransfer).recipient == str(RECIPIENT_ID)
    else:
        assert refusal(outcome) == ("RECIPIENT_IS_UNREACHABLE", 0)


def test_no_answer_about_a_recipient_is_not_a_no() -> None:
    with pytest.raises(NotRequested, match=str(RECIPIENT_ID)):
        apply_batch(prepare_transfer(), accounts=[account()], is_local=local(SENDER_ID))


# -- agent transfers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender_id", "recipient_id", "is_allowed"),
    [
        pytest.param(0x20100000001, 0x2FFFFFFFFFF, True, id="both in one subnet"),
        pytest.param(0x20100000001, 0x30000000000, False, id="the next subnet"),
        pytest.param(0x20100000001, 0, False, id="the root account"),
        pytest.param(0x20100000001, 5, False, id="no subnet"),
        pytest.param(5, 6, False, id="both without a subnet"),
        pytest.param(-1, -2, True, id="both in the highest subnet"),
        pytest.param(-1, 2**63 - 1, False, id="negative and positive ids"),
    ],
)
def test_agent_transfers_stay_within_one_agent(
    sender_id: int, recipient_id: int, is_allowed: bool
) -> None:
    outcome = apply_batch(
        prepare_transfer(
            creditor_id=sender_id,
            coordinator_type="agent",
            coordinator_id=AGENT_COORDINATOR_ID,
            recipient=str(recipient_id % 2**64),
        ),
        accounts=[account(creditor_id=sender_id), account(creditor_id=recipient_id)],
    )
    if is_allowed:
        assert only_event(outcome, PreparedTransfer).coordinator_id == AGENT_COORDINATOR_ID
    else:
        assert refusal(outcome) == ("RECIPIENT_IS_UNREACHABLE", 0)
