"""Exchange, routing key, and mandatory flag of each event (protocol.rst, AMQP)."""

from typing import Any

import pytest

from swpt_accounts.ledger import events
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.protocol.routing import (
    MESSAGE_TYPES,
    account_key,
    destination,
    id_key,
    is_mandatory,
    route,
)
from tests.factories import event, every_event

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    ("number", "key"),
    [
        (0, "00.00.00.00.00.00.00.00"),
        (2, "00.00.00.00.00.00.00.02"),
        (-2, "ff.ff.ff.ff.ff.ff.ff.fe"),
        (0x1234ABCD00000001, "12.34.ab.cd.00.00.00.01"),
        (0x0000020100000001, "00.00.02.01.00.00.00.01"),
        (-81985531201716217, "fe.dc.ba.98.00.00.00.07"),
        (MAX_INT64, "7f.ff.ff.ff.ff.ff.ff.ff"),
        (MIN_INT64, "80.00.00.00.00.00.00.00"),
    ],
)
def test_the_key_of_an_id(number: int, key: str) -> None:
    assert id_key(number) == key


ACCOUNT_KEYS = [
    (123, 456, "0.0.0.0.1.0.0.0.0.1.0.0.0.1.0.0.0.0.1.1.0.1.0.0"),
    (1, 0, "0.0.1.0.1.0.0.0.0.1.0.1.1.1.0.1.0.1.0.1.1.1.1.1"),
    (1, 2, "1.1.1.1.0.0.0.0.0.0.0.1.0.1.0.0.1.1.0.0.0.1.0.0"),
    (-2, 0, "1.0.0.0.0.0.1.1.0.1.0.1.1.0.0.1.0.0.0.0.0.1.1.1"),
    (-1, -1, "1.0.0.0.1.1.0.1.0.1.1.1.1.0.0.1.1.1.0.0.1.0.1.1"),
    (MIN_INT64, MAX_INT64, "0.0.0.0.0.0.1.0.1.1.1.0.1.0.1.0.0.0.1.0.1.1.0.0"),
    (0x1234ABCD00000001, 0x20100000001, "1.0.1.1.0.0.1.1.1.1.1.1.0.1.0.0.0.0.1.1.0.1.0.0"),
    (0x1234ABCD00000001, 0x20100000002, "1.1.0.0.0.1.0.1.1.1.1.1.0.1.1.0.0.0.0.1.0.0.0.1"),
]


@pytest.mark.parametrize(("debtor_id", "creditor_id", "key"), ACCOUNT_KEYS)
def test_the_key_of_an_account(debtor_id: int, creditor_id: int, key: str) -> None:
    assert account_key(debtor_id, creditor_id) == key


OWNERS_MESSAGES = [
    events.RejectedConfig,
    events.AccountUpdate,
    events.AccountPurge,
    events.AccountTransfer,
]
COORDINATORS_MESSAGES = [
    events.RejectedTransfer,
    events.PreparedTransfer,
    events.FinalizedTransfer,
]


@pytest.mark.parametrize("kind", OWNERS_MESSAGES)
def test_what_is_told_to_a_creditor(kind: type[events.Event]) -> None:
    told = event(kind, debtor_id=1, creditor_id=-2)
    assert route(told) == ("to_creditors", "ff.ff.ff.ff.ff.ff.ff.fe")


@pytest.mark.parametrize("kind", OWNERS_MESSAGES[:3])
def test_what_is_told_to_a_debtor(kind: type[events.Event]) -> None:
    told = event(kind, debtor_id=-2, creditor_id=0)
    assert route(told) == ("to_debtors", "ff.ff.ff.ff.ff.ff.ff.fe")


@pytest.mark.parametrize("kind", COORDINATORS_MESSAGES)
@pytest.mark.parametrize("creditor_id", [0, 2])
@pytest.mark.parametrize("coordinator_type", ["direct", "issuing", "agent", "something else"])
def test_what_is_told_to_a_coordinator(
    kind: type[events.Event], creditor_id: int, coordinator_type: str
) -> None:
    told = event(kind, creditor_id=creditor_id, coordinator_type=coordinator_type, coordinator_id=4)
    assert route(told) == ("to_coordinators", "00.00.00.00.00.00.00.04")


@pytest.mark.parametrize(("debtor_id", "creditor_id", "key"), ACCOUNT_KEYS)
def test_a_balance_change_goes_to_the_shard_of_the_account_to_be_changed(
    debtor_id: int, creditor_id: int, key: str
) -> None:
    change = event(
        PendingBalanceChange, debtor_id=debtor_id, creditor_id=creditor_id, other_creditor_id=77
    )
    assert route(change) == ("accounts_in", key)


@pytest.mark.parametrize("message", every_event(), ids=lambda message: type(message).__name__)
def test_it_is_an_error_when_no_queue_takes_a_message(message: events.Event) -> None:
    assert is_mandatory(message)


@pytest.mark.parametrize(
    ("fields", "is_required"),
    [
        pytest.param({"creditor_id": 0, "config_flags": 0}, True, id="a debtor's"),
        pytest.param({"creditor_id": 0, "config_flags": 1}, False, id="a deactivated debtor's"),
        pytest.param({"creditor_id": 0, "config_flags": -1}, False, id="with all flags"),
        pytest.param({"creditor_id": 0, "config_flags": -2}, True, id="with all other flags"),
        pytest.param({"creditor_id": 2, "config_flags": 1}, True, id="a creditor's"),
    ],
)
def test_only_the_agent_of_a_deactivated_debtor_may_be_gone(
    fields: dict[str, Any], is_required: bool
) -> None:
    assert is_mandatory(event(events.AccountUpdate, **fields)) is is_required


def test_a_deactivated_debtor_is_only_excused_from_updates() -> None:
    rejected = event(events.RejectedConfig, creditor_id=0, config_flags=1)
    assert is_mandatory(rejected)


def test_every_event_has_a_place_in_the_fixed_order_of_message_types() -> None:
    assert sorted(MESSAGE_TYPES) == sorted(type(message).__name__ for message in every_event())


KEY = "12.34.ab.cd.00.00.00.01"


@pytest.mark.parametrize(
    ("exchange", "routing_key", "coordinator_type", "expected"),
    [
        ("to_creditors", KEY, None, "to_creditors 12.34.ab"),
        ("to_debtors", KEY, None, "to_debtors 12.34.ab.cd.00"),
        ("to_coordinators", KEY, "direct", "to_coordinators direct 12.34.ab"),
        ("to_coordinators", KEY, "agent", "to_coordinators agent 12.34.ab"),
        ("to_coordinators", KEY, "issuing", "to_coordinators issuing 12.34.ab.cd.00"),
        ("to_coordinators", KEY, "interest", "to_coordinators interest 12.34.ab"),
        ("accounts_in", account_key(123, 456), None, "accounts_in 0.0.0.0.1.0.0.0"),
        ("another", "any.key", None, "another any.key"),
    ],
)
def test_a_destination_is_the_exchange_and_what_peers_bind(
    exchange: str, routing_key: str, coordinator_type: str | None, expected: str
) -> None:
    assert destination(exchange, routing_key, coordinator_type) == expected


def test_the_messages_of_one_peer_have_one_destination_each_exchange() -> None:
    one, another, other_peer = (id_key(n) for n in (0x0000020100000001, 0x000002FF00000002, 7))
    assert destination("to_creditors", one, None) == destination("to_creditors", another, None)
    assert destination("to_creditors", one, None) != destination("to_creditors", other_peer, None)
