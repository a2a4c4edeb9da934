"""PrepareTransfer: the checks in their order, then the lock (protocol.rst, PrepareTransfer)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import PreparedTransfer, RejectedTransfer
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import EPOCH, MAX_INT64
from swpt_accounts.ledger.working_set import NotRequested, WorkingSet
from tests.factories import (
    AGENT_COORDINATOR_ID,
    DEBTOR_ID,
    FAR_FUTURE,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    account,
    apply_batch,
    configure_account,
    finalize_transfer,
    local,
    prepare_transfer,
    prepared_transfer,
    recipient_account,
    root_account,
)

DAY = timedelta(days=1)


def prepared(outcome: WorkingSet) -> PreparedTransfer:
    """Return the only event of the batch, which must be a PreparedTransfer."""
    (event,) = outcome.events
    assert isinstance(event, PreparedTransfer), event
    return event


def refusal(outcome: WorkingSet) -> tuple[str, int]:
    """Return status code and total locked amount of the only event of the batch."""
    (event,) = outcome.events
    assert isinstance(event, RejectedTransfer), event
    assert not outcome.changed_accounts()
    assert not outcome.prepared
    return event.status_code, event.total_locked_amount


def test_locks_the_amount_and_tells_the_coordinator() -> None:
    sender = account(principal=1000, last_transfer_id=40, total_locked_amount=100)
    outcome = apply_batch(
        prepare_transfer(
            coordinator_request_id=-9,
            min_locked_amount=200,
            max_locked_amount=300,
            max_commit_delay=86400,
            ts=NOW - timedelta(hours=1),
            final_interest_rate_ts=FAR_FUTURE - DAY,
        ),
        accounts=[sender, recipient_account()],
    )
    assert msgspec.structs.asdict(prepared(outcome)) == {
        "debtor_id": DEBTOR_ID,
        "creditor_id": SENDER_ID,
        "transfer_id": 41,
        "coordinator_type": "direct",
        "coordinator_id": SENDER_ID,
        "coordinator_request_id": -9,
        "locked_amount": 300,
        "recipient": str(RECIPIENT_ID),
        "prepared_at": NOW,
        "demurrage_rate": -50.0,
        "deadline": NOW + timedelta(hours=23),
        "final_interest_rate_ts": FAR_FUTURE - DAY,
        "ts": NOW,
    }
    (transfer,) = outcome.prepared.values()
    assert transfer.announcement(NOW) == prepared(outcome)
    assert transfer.recipient_creditor_id == RECIPIENT_ID
    assert (sender.total_locked_amount, sender.pending_transfers_count) == (400, 1)
    assert [account.key for account in outcome.changed_accounts()] == [sender.key]


def test_preparing_is_no_meaningful_change() -> None:
    sender = account(principal=1000, last_change_seqnum=7)
    apply_batch(prepare_transfer(), accounts=[sender, recipient_account()], now=NOW + DAY)
    assert (sender.last_change_seqnum, sender.last_change_ts) == (7, NOW)
    assert not sender.pending_account_update


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
    assert prepared(outcome).locked_amount == 1
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
    assert prepared(outcome).recipient == recipient
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
        assert prepared(outcome).recipient == str(RECIPIENT_ID)
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
    assert prepared(outcome).recipient == "0"


@pytest.mark.parametrize("answer", [True, False])
def test_a_recipient_in_another_shard_is_reached_if_that_shard_says_so(answer: bool) -> None:
    outcome = apply_batch(
        prepare_transfer(),
        accounts=[account()],
        is_local=local(SENDER_ID),
        facts=Facts(reachable={(DEBTOR_ID, RECIPIENT_ID): answer}),
    )
    if answer:
        assert prepared(outcome).recipient == str(RECIPIENT_ID)
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
        assert prepared(outcome).coordinator_id == AGENT_COORDINATOR_ID
    else:
        assert refusal(outcome) == ("RECIPIENT_IS_UNREACHABLE", 0)


# -- amounts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "minimum", "maximum", "locked_amount"),
    [
        pytest.param(1000, 0, 0, 0, id="zero lock"),
        pytest.param(0, 0, 0, 0, id="zero lock on an empty account"),
        pytest.param(-1000, 0, 0, 0, id="zero lock on a debt"),
        pytest.param(1000, 300, 300, 300, id="exactly what is asked for"),
        pytest.param(1000, 300, 700, 700, id="as much as is asked for"),
        pytest.param(500, 300, 700, 500, id="as much as there is"),
        pytest.param(300, 300, 700, 300, id="just the minimum"),
        pytest.param(299, 300, 700, None, id="less than the minimum"),
        pytest.param(-5, 0, 700, 0, id="nothing, when nothing is enough"),
        pytest.param(0, 1, 1, None, id="not a single unit"),
        pytest.param(MAX_INT64, 1, MAX_INT64, MAX_INT64, id="everything"),
    ],
)
def test_locks_as_much_as_possible_between_the_limits(
    principal: int, minimum: int, maximum: int, locked_amount: int | None
) -> None:
    sender = account(principal=principal)
    outcome = apply_batch(
        prepare_transfer(min_locked_amount=minimum, max_locked_amount=maximum),
        accounts=[sender, recipient_account()],
    )
    if locked_amount is None:
        assert refusal(outcome) == ("INSUFFICIENT_AVAILABLE_AMOUNT", 0)
    else:
        assert prepared(outcome).locked_amount == sender.total_locked_amount == locked_amount


def test_requests_of_one_batch_see_each_others_locks() -> None:
    sender = account(principal=1000)
    commands = [
        prepare_transfer(coordinator_request_id=n, min_locked_amount=1, max_locked_amount=600)
        for n in (1, 2, 3)
    ]
    outcome = apply_batch(*commands, accounts=[sender, recipient_account()])
    first, second, third = outcome.events
    assert isinstance(first, PreparedTransfer)
    assert isinstance(second, PreparedTransfer)
    assert isinstance(third, RejectedTransfer)
    assert (first.locked_amount, second.locked_amount) == (600, 400)
    assert second.transfer_id == first.transfer_id + 1
    assert (third.status_code, third.total_locked_amount) == ("INSUFFICIENT_AVAILABLE_AMOUNT", 1000)


def test_accumulated_interest_can_be_locked() -> None:
    sender = account(principal=1000, interest_rate=5.0)
    outcome = apply_batch(
        prepare_transfer(min_locked_amount=1050, max_locked_amount=2000),
        accounts=[sender, recipient_account()],
        now=NOW + timedelta(days=365.25),
    )
    assert prepared(outcome).locked_amount == 1050


@pytest.mark.parametrize(
    ("principal", "config_data", "negligible_amount", "issuable"),
    [
        pytest.param(0, "", 1234567.0, 1234567, id="up to the negligible amount, exactly"),
        pytest.param(-1000, "", 1234567.0, 1233567, id="less what has been issued"),
        pytest.param(
            0, '{"type":"RootConfigData","limit":500}', 1e30, 500, id="up to the configured limit"
        ),
        pytest.param(-500, '{"type":"RootConfigData","limit":500}', 1e30, 0, id="limit reached"),
        pytest.param(-600, '{"type":"RootConfigData","limit":500}', 1e30, -1, id="limit exceeded"),
        pytest.param(0, "", 2.0**53 + 2, 2**53 + 2, id="a float beyond 2^53, exactly"),
        pytest.param(-5, "", 1e30, MAX_INT64 - 5, id="practically without limit"),
        pytest.param(5, "", 1e30, MAX_INT64, id="no more than 64 bits at once"),
        pytest.param(0, "", 0.0, 0, id="nothing negligible: nothing"),
    ],
)
def test_how_much_can_be_issued(
    principal: int, config_data: str, negligible_amount: float, issuable: int
) -> None:
    root = root_account(
        principal=principal, config_data=config_data, negligible_amount=negligible_amount
    )
    everything, one_more = (
        prepare_transfer(
            coordinator_type="issuing",
            creditor_id=0,
            coordinator_request_id=minimum,
            min_locked_amount=minimum,
            max_locked_amount=MAX_INT64,
        )
        for minimum in (0, 1)
    )
    outcome = apply_batch(everything, one_more, accounts=[root, recipient_account()])
    answer, refused = outcome.events
    assert isinstance(answer, PreparedTransfer)
    assert answer.locked_amount == max(0, issuable)
    assert isinstance(refused, RejectedTransfer)
    assert refused.status_code == "INSUFFICIENT_AVAILABLE_AMOUNT"
    assert refused.total_locked_amount == max(0, issuable)


def test_issuing_needs_a_root_account() -> None:
    outcome = apply_batch(
        prepare_transfer(coordinator_type="issuing", creditor_id=0), accounts=[recipient_account()]
    )
    assert refusal(outcome) == ("SENDER_IS_UNREACHABLE", 0)


def test_the_total_of_all_locks_stays_within_64_bits() -> None:
    root = root_account(principal=MAX_INT64, negligible_amount=1e30)
    commands = [
        prepare_transfer(
            coordinator_type="issuing",
            creditor_id=0,
            coordinator_request_id=n,
            min_locked_amount=minimum,
            max_locked_amount=MAX_INT64 - 5,
        )
        for n, minimum in enumerate((1, 0, 1), start=1)
    ]
    outcome = apply_batch(*commands, accounts=[root, recipient_account()])
    first, second, third = outcome.events
    assert isinstance(first, PreparedTransfer)
    assert isinstance(second, PreparedTransfer)
    assert isinstance(third, RejectedTransfer)
    assert (first.locked_amount, second.locked_amount) == (MAX_INT64 - 5, 5)
    assert third.status_code == "INSUFFICIENT_AVAILABLE_AMOUNT"
    assert root.total_locked_amount == MAX_INT64


def test_a_sender_that_is_scheduled_for_deletion_may_still_send() -> None:
    outcome = apply_batch(
        prepare_transfer(), accounts=[account(config_flags=1), recipient_account()]
    )
    assert prepared(outcome).creditor_id == SENDER_ID


# -- deadlines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "max_commit_delay", "deadline"),
    [
        pytest.param(NOW - 400 * DAY, 0, NOW - 400 * DAY, id="passed long ago"),
        pytest.param(NOW, 2**31 - 1, NOW + 90 * DAY, id="the longest"),
        pytest.param(
            datetime.max.replace(tzinfo=UTC), 2**31 - 1, NOW + 90 * DAY, id="asked in year 9999"
        ),
    ],
)
def test_no_deadline_prevents_the_preparation(
    ts: datetime, max_commit_delay: int, deadline: datetime
) -> None:
    outcome = apply_batch(
        prepare_transfer(ts=ts, max_commit_delay=max_commit_delay),
        accounts=[account(), recipient_account()],
    )
    assert prepared(outcome).deadline == deadline


def test_the_commit_period_is_the_operators() -> None:
    outcome = apply_batch(
        prepare_transfer(),
        accounts=[account(), recipient_account()],
        policy=Policy(commit_period=30 * DAY),
    )
    assert prepared(outcome).deadline == NOW + 30 * DAY


# -- repeated requests ------------------------------------------------------------------------


def test_a_repeated_request_in_one_batch_locks_once_and_gets_the_same_answer() -> None:
    sender = account(principal=1000)
    command = prepare_transfer(min_locked_amount=600, max_locked_amount=600)
    outcome = apply_batch(command, command, accounts=[sender, recipient_account()])
    first, second = outcome.events
    assert isinstance(first, PreparedTransfer)
    assert first == second
    assert len(outcome.prepared) == 1
    assert (sender.total_locked_amount, sender.pending_transfers_count) == (600, 1)


def test_a_request_repeated_later_gets_the_same_answer_with_a_new_ts() -> None:
    sender = account(principal=1000)
    command = prepare_transfer(min_locked_amount=600, max_locked_amount=600)
    first = apply_batch(command, accounts=[sender, recipient_account()])
    again = apply_batch(
        msgspec.structs.replace(command, ts=NOW + DAY, max_locked_amount=900, recipient="5"),
        accounts=[sender],
        transfers=first.prepared.values(),
        now=NOW + DAY,
    )
    assert prepared(again) == msgspec.structs.replace(prepared(first), ts=NOW + DAY)
    assert not again.prepared
    assert sender.total_locked_amount == 600


def test_a_request_repeated_after_the_recipient_has_gone_gets_the_same_answer() -> None:
    """A rejection would make the coordinator report failure, and then the commit might succeed."""
    transfer = prepared_transfer()
    sender = account(principal=-5, total_locked_amount=500, last_interest_rate_change_ts=NOW)
    outcome = apply_batch(
        prepare_transfer(
            min_locked_amount=500, max_locked_amount=500, final_interest_rate_ts=EPOCH
        ),
        accounts=[sender],
        transfers=[transfer],
    )
    assert prepared(outcome) == transfer.announcement(NOW)


@pytest.mark.parametrize(
    "other",
    [
        {"coordinator_request_id": 2},
        {"coordinator_type": "something else", "coordinator_id": SENDER_ID},
        {"coordinator_id": 8},
        {"creditor_id": RECIPIENT_ID, "coordinator_id": SENDER_ID, "recipient": str(SENDER_ID)},
        {"debtor_id": 99},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_request_is_only_repeated_when_all_of_its_coordinates_are_the_same(
    other: dict[str, Any],
) -> None:
    accounts = [
        account(debtor_id=debtor_id, creditor_id=creditor_id)
        for debtor_id in (DEBTOR_ID, 99)
        for creditor_id in (SENDER_ID, RECIPIENT_ID)
    ]
    outcome = apply_batch(
        prepare_transfer(**other), accounts=accounts, transfers=[prepared_transfer()]
    )
    assert len(outcome.prepared) == 1


def test_a_request_repeated_after_it_was_finalized_in_the_same_batch_is_prepared_anew() -> None:
    transfer = prepared_transfer(locked_amount=0)
    sender = account(principal=1000, pending_transfers_count=1, last_transfer_id=77)
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=0),
        prepare_transfer(),
        accounts=[sender, recipient_account()],
        transfers=[transfer],
    )
    assert outcome.removed == [transfer.key]
    assert [key[2] for key in outcome.prepared] == [78]
    assert sender.pending_transfers_count == 1
