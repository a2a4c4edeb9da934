"""Messages are tried on fresh connections, and each one that the broker does not bear is found."""

import time

import pytest

from swpt_accounts.broker import trial
from swpt_accounts.broker.blame import Blame, blame_in
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.broker.publisher import Message, Outcome, Publisher, Verdict
from swpt_accounts.broker.trial import try_out
from tests.broker.conftest import DEADLINE


def to(routing_key: str, exchange: str = "", *, is_expelled: bool = False) -> Message:
    """Return a message; the broker closes the channel over a user id that is not ours."""
    properties = encode_properties("application/json", "AccountUpdate", "test", {})
    if is_expelled:
        properties = b"\x00\x10\x08stranger"
    return Message(exchange, routing_key, b"body", properties)


def try_all(broker_url: str, messages: list[Message]) -> list[Outcome]:
    return try_out(
        lambda: Publisher(broker_url, confirm_timeout_seconds=DEADLINE), messages, lambda: True
    )


def verdicts(broker_url: str, messages: list[Message]) -> list[str]:
    return [outcome.verdict.value for outcome in try_all(broker_url, messages)]


def test_each_message_has_its_outcome(broker_url, queue):
    assert verdicts(broker_url, []) == []
    assert verdicts(broker_url, [to(queue), to("nowhere"), to(queue)]) == [
        "confirmed",
        "returned",
        "confirmed",
    ]


def test_messages_that_the_broker_names_are_told_apart_from_others(broker_url, queue):
    messages = [to(queue), to("a", "none"), to(queue), to("b", "none"), to("c", "no_other")]
    outcomes = try_all(broker_url, messages)
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.CONFIRMED,
        Verdict.EXPELLED,
        Verdict.CONFIRMED,
        Verdict.EXPELLED,
        Verdict.EXPELLED,
    ]
    assert "no exchange 'none'" in outcomes[1].reason
    assert "no exchange 'no_other'" in outcomes[4].reason


@pytest.mark.parametrize("expelled", [{0}, {39}, {7, 8, 20}, set(range(40))])
def test_messages_that_the_broker_does_not_name_are_found_by_halving(broker_url, queue, expelled):
    messages = [to(queue, is_expelled=number in expelled) for number in range(40)]
    outcomes = try_all(broker_url, messages)
    found = {n for n, outcome in enumerate(outcomes) if outcome.verdict is Verdict.EXPELLED}
    assert found == expelled
    assert all("user_id" in outcomes[number].reason for number in found)


def test_a_broker_that_is_silent_tells_nothing_about_any_message(proxy, queue, monkeypatch):
    monkeypatch.setattr(trial, "ANSWER_SECONDS", 0.2)
    proxy.go_dead()
    with pytest.raises(BrokerLost):
        try_all(f"{proxy.url}?stack_timeout=0.2&retry_delay=0", [to(queue)])


def test_a_trial_that_is_not_wanted_any_more_ends_at_once(proxy, queue):
    proxy.go_dead()
    begun = time.monotonic()
    with pytest.raises(BrokerLost):
        try_out(
            lambda: Publisher(proxy.url, confirm_timeout_seconds=DEADLINE),
            [to(queue)],
            lambda: time.monotonic() < begun + 0.2,
        )
    assert time.monotonic() < begun + 8


@pytest.mark.parametrize(
    ("words", "exchange", "routing_key"),
    [
        ("NOT_FOUND - no exchange 'to_debtors' in vhost '/'", "to_debtors", None),
        (
            "ACCESS_REFUSED - access to exchange 'to_debtors' in vhost '/' refused for user 'g'",
            "to_debtors",
            None,
        ),
        (
            "ACCESS_REFUSED - access to topic '00.0a' in exchange 'to_creditors' in vhost 'v'",
            "to_creditors",
            "00.0a",
        ),
        ("PRECONDITION_FAILED - message size 2000 is larger than 1000", None, None),
    ],
)
def test_what_the_broker_names_is_read_from_its_words(words, exchange, routing_key):
    blame = blame_in(words)
    assert blame == Blame(words, exchange, routing_key)
    assert blame.is_for_all == (exchange is not None and routing_key is None)
    assert blame.names("to_debtors", "any") == (exchange == "to_debtors")
    assert blame.names("to_creditors", "00.0a") == (exchange == "to_creditors")
    assert not blame.names("to_creditors", "00.0b")
