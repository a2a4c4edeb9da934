"""What a scan sends to the queue of chores, and when it sends no more."""

import json
from collections.abc import Iterator

import pika
import pytest

from swpt_accounts.broker import topology
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.protocol.chores import decode_chore
from swpt_accounts.workers import chore_sender
from swpt_accounts.workers.chore_sender import ChoreSender
from tests.factories import every_chore, send_account_update
from tests.workers.waiting import SECONDS
from tests.workers.wire import Wire


@pytest.fixture
def publisher(broker_url: str) -> Iterator[Publisher]:
    publisher = Publisher(broker_url, confirm_timeout_seconds=SECONDS)
    publisher.start()
    yield publisher
    publisher.stop()


@pytest.fixture
def sender(publisher: Publisher, chores_queue: str) -> ChoreSender:
    return ChoreSender(publisher, chores_queue)


def test_each_chore_is_a_persistent_message_without_headers(
    sender: ChoreSender, wire: Wire, chores_queue: str
) -> None:
    chores = every_chore()

    sender.send(chores)

    wire.consume(chores_queue)
    for chore, received in zip(chores, wire.catch_up(), strict=True):
        assert (received.exchange, received.routing_key) == ("", chores_queue)
        assert received.properties.__dict__ == {
            **pika.BasicProperties(headers={}).__dict__,
            "type": type(chore).__name__,
            "content_type": "application/json",
            "delivery_mode": 2,
            "app_id": "swpt_accounts",
        }
        assert received.document["type"] == type(chore).__name__
        assert decode_chore(type(chore).__name__, "application/json", received.body) == chore


DOCUMENTS = {
    "ChangeInterestRate": {"interest_rate", "ts"},
    "UpdateDebtorInfo": {
        "debtor_info_iri",
        "debtor_info_content_type",
        "debtor_info_sha256",
        "ts",
    },
    "CapitalizeInterest": set(),
    "TryToDeleteAccount": set(),
}


def test_chores_that_other_versions_know_have_the_fields_that_they_expect(
    sender: ChoreSender, wire: Wire, chores_queue: str
) -> None:
    sender.send(every_chore())
    wire.consume(chores_queue)
    documents = {d["type"]: d for d in (json.loads(r.body) for r in wire.catch_up())}
    for message_type, fields in DOCUMENTS.items():
        assert documents[message_type].keys() == {"type", "debtor_id", "creditor_id", *fields}


def test_nothing_is_sent_when_nothing_is_due(
    sender: ChoreSender, wire: Wire, chores_queue: str
) -> None:
    sender.send([])
    assert wire.ready_count(chores_queue) == 0


def test_chores_are_in_the_queue_when_they_are_sent(
    sender: ChoreSender, wire: Wire, chores_queue: str
) -> None:
    sender.send([send_account_update(creditor_id=n) for n in range(1, 2501)])
    assert wire.ready_count(chores_queue) == 2500
    assert sender.waiting_count() == 2500


def test_chores_for_a_queue_that_is_missing_are_not_taken_for_sent(
    publisher: Publisher, chores_queue: str
) -> None:
    lost = ChoreSender(publisher, f"{chores_queue}-missing")
    with pytest.raises(BrokerLost, match=r"takes no chores: .*`swpt_accounts configure` declares"):
        lost.send(every_chore())


def test_chores_that_the_queue_refuses_are_not_taken_for_sent(
    publisher: Publisher, wire: Wire, queue_name: str
) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    wire.channel.queue_declare(queue_name, durable=True, arguments=arguments)
    full = ChoreSender(publisher, queue_name)
    with pytest.raises(BrokerLost, match=r"takes no chores: "):
        full.send([*every_chore(), *every_chore()])


def test_there_is_congestion_while_more_chores_wait_than_may(
    sender: ChoreSender, wire: Wire, chores_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chore_sender, "WAITING_MAX", 20)
    monkeypatch.setattr(chore_sender, "_SENT_BETWEEN_LOOKS", 10)

    # Fewer than between two looks.
    sender.send([send_account_update()] * 9)
    assert not sender.is_congested
    sender.send([send_account_update()] * 11)
    assert not sender.is_congested
    # Again, fewer than between two looks.
    sender.send([send_account_update()] * 9)
    assert not sender.is_congested
    sender.send([send_account_update()])
    assert sender.is_congested
    assert sender.is_congested

    wire.channel.queue_purge(chores_queue)
    assert not sender.is_congested


def test_a_look_at_a_missing_queue_is_a_lost_broker(
    sender: ChoreSender, wire: Wire, chores_queue: str, broker_url: str
) -> None:
    wire.channel.queue_delete(chores_queue)
    with pytest.raises(BrokerLost):
        sender.waiting_count()
    topology.declare_chores_queue(broker_url, chores_queue)
    with pytest.raises(BrokerLost):  # The channel is gone, and with it the connection.
        sender.waiting_count()
