"""Messages are set aside whatever they are, listed with the reason, and sent in again."""

from datetime import UTC, datetime
from hashlib import sha256

import pika
import pytest

from swpt_accounts.broker import dead_letter_stream, dead_letters
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.dead_letter_stream import read_all, send_back
from swpt_accounts.broker.dead_letters import dead_letter, tame
from swpt_accounts.broker.message import Cut, Delivery
from swpt_accounts.broker.properties import as_bytes
from swpt_accounts.broker.publisher import CONFIRMED, Verdict
from swpt_accounts.broker.topology import subscribe
from tests.broker.conftest import bodies, take_exactly
from tests.broker.hostile import HOSTILE_HEADERS, properties_with

AT = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

ORIGINAL = pika.BasicProperties(
    content_type="application/json",
    type="PrepareTransfer",
    app_id="swpt_stomp",
    delivery_mode=2,
    correlation_id="corr",
    message_id="id",
    timestamp=1_700_000_000,
    priority=3,
    headers={
        "message-type": "PrepareTransfer",
        "debtor-id": -(2**63),
        "creditor-id": 5,
        "coordinator-type": "direct",
        "urgent": True,
    },
)


@pytest.fixture(autouse=True)
def _impatience(monkeypatch):
    monkeypatch.setattr(dead_letter_stream, "NEXT_SECONDS", 0.5)


@pytest.fixture
def subscribed_queue(broker_url, queue_name) -> str:
    subscribe(broker_url, queue_name, "#")
    return queue_name


def delivery(body: bytes, properties: pika.BasicProperties | bytes) -> Delivery:
    return Delivery(1, False, "accounts_in", "1.0.1", None, None, body, as_bytes(properties))  # noqa: FBT003


@pytest.fixture
def set_aside(publisher, subscribed_queue):
    """Publish dead letters of these deliveries."""

    def set_aside(*deliveries: Delivery, reason: str = "a reason") -> None:
        letters = [dead_letter(d, subscribed_queue, reason, AT) for d in deliveries]
        assert publisher.publish(letters) == [CONFIRMED] * len(letters)

    return set_aside


def test_a_dead_letter_tells_everything(broker_url, subscribed_queue, set_aside):
    set_aside(delivery(b"{}", ORIGINAL), reason="the amount ist größer als erlaubt")
    (found,) = read_all(broker_url, subscribed_queue)
    assert (found.offset, found.reason) == (0, "the amount ist größer als erlaubt")
    assert found.rejected_at == "2024-01-02T03:04:05.678901+00:00"
    assert (found.queue, found.exchange) == (subscribed_queue, "accounts_in")
    assert (found.routing_key, found.body) == ("1.0.1", b"{}")
    assert (found.message_type, found.content_type) == ("PrepareTransfer", "application/json")
    assert (found.body_size, found.body_sha256) == (2, sha256(b"{}").digest())


def test_dead_letters_are_listed_from_the_first_to_the_last(
    broker_url, subscribed_queue, set_aside, monkeypatch, caplog
):
    monkeypatch.setattr(dead_letter_stream, "_PAGE_SIZE", 10)
    wanted = [b"%d" % number for number in range(45)]
    set_aside(*[delivery(body, ORIGINAL) for body in wanted])
    found = read_all(broker_url, subscribed_queue)
    assert [letter.body for letter in found] == wanted
    assert [letter.offset for letter in found] == list(range(45))
    newest = read_all(broker_url, subscribed_queue, count_max=7)
    assert [letter.body for letter in newest] == wanted[-7:]
    assert "Of 45 dead letters, only the newest 7 are shown" in caplog.text


def test_an_empty_stream_has_no_dead_letters(broker_url, subscribed_queue, monkeypatch):
    monkeypatch.setattr(dead_letter_stream, "FIRST_SECONDS", 0.1)
    assert read_all(broker_url, subscribed_queue) == []


def test_a_missing_stream_is_named(broker_url, queue):
    with pytest.raises(BrokerLost, match=f"no queue '{queue}.XQ'"):
        read_all(broker_url, queue)


def test_chosen_dead_letters_are_sent_back_as_they_were(
    broker_url, subscribed_queue, set_aside, start_consumer
):
    set_aside(*[delivery(b"%d" % number, ORIGINAL) for number in range(6)])
    outcomes = send_back(broker_url, subscribed_queue, [1, 4, 4, 77])
    assert outcomes == {1: CONFIRMED, 4: CONFIRMED}
    deliveries = take_exactly(start_consumer(subscribed_queue), 2)
    assert bodies(deliveries) == [b"1", b"4"]
    for returned in deliveries:
        assert returned.properties == ORIGINAL
        assert (returned.exchange, returned.routing_key) == ("", subscribed_queue)


def test_nothing_is_sent_back_when_nothing_is_chosen(broker_url, subscribed_queue):
    assert send_back(broker_url, subscribed_queue, []) == {}


def test_sending_back_to_a_queue_that_is_gone_is_reported(
    broker_url, subscribed_queue, set_aside, channel
):
    set_aside(delivery(b"body", ORIGINAL))
    channel.queue_delete(subscribed_queue)
    (outcome,) = send_back(broker_url, subscribed_queue, [0]).values()
    assert outcome.verdict is Verdict.RETURNED


def test_a_letter_that_the_broker_itself_set_aside_has_the_brokers_reason(
    broker_url, subscribed_queue, channel, start_consumer
):
    headers = {"x-first-death-reason": "delivery_limit", "debtor-id": 7}
    properties = pika.BasicProperties(type="PrepareTransfer", headers=headers)
    channel.basic_publish("", f"{subscribed_queue}.XQ", b"{}", properties, mandatory=True)
    (found,) = read_all(broker_url, subscribed_queue)
    assert found.reason == "put aside by the broker: delivery_limit"
    assert found.rejected_at == ""
    send_back(broker_url, subscribed_queue, [found.offset])
    (again,) = take_exactly(start_consumer(subscribed_queue), 1)
    assert again.properties.headers == {"debtor-id": 7}


HOSTILE = {
    **{name: properties_with(table) for name, table in HOSTILE_HEADERS.items()},
    "no properties": b"\x00\x00",
    "garbage": b"\xff\xff\xff",
    "nested headers": pika.BasicProperties(headers={"a": {"b": [1, {"c": "d"}]}, "n": None}),
    "binary headers": pika.BasicProperties(headers={"b": b"\xff\x00", "t": AT}),
    "header bomb": pika.BasicProperties(headers={f"h{i}": "x" * 999 for i in range(5000)}),
    "huge header": pika.BasicProperties(headers={"h": "ö" * 1_000_000}),
    "headers for the broker": pika.BasicProperties(
        headers={"x-death": "junk", "x-amqp-1.0-properties": "junk", "x-delay": -1}
    ),
    "no utf-8": pika.BasicProperties(
        type=b"\xff" * 255, content_type=b"\xfe" * 255, message_id=b"\x80", app_id=b"\xc3"
    ),
    "not ascii": pika.BasicProperties(type="ü" * 127, content_type="ü" * 127, content_encoding="é"),
    "zero bytes": pika.BasicProperties(type="a\0b", headers={"a\0b": "c\0d", "": "empty"}),
    "longest names": pika.BasicProperties(headers={"k" * 255: "v", "ü" * 127: "w"}),
    "time at the end of time": pika.BasicProperties(timestamp=2**64 - 1),
    "another user": pika.BasicProperties(user_id="somebody"),
    "expiration": pika.BasicProperties(expiration="soon"),
    "another protocol": pika.BasicProperties(type="amqp-1.0"),
    "strange identifiers": pika.BasicProperties(
        correlation_id="urn:uuid:zzzz", message_id="urn:uuid:", reply_to="\x01\x7f%zz"
    ),
    "our own headers": pika.BasicProperties(headers={"dead-letter-reason": {"forged": 1}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_the_properties_are_the_dead_letter_has_an_amqp_form(name):
    letter = dead_letter(delivery(b"body", HOSTILE[name]), "queue", "a reason", AT)
    assert len(as_bytes(letter.properties)) < 50_000


def test_hostile_properties_do_not_keep_a_message_from_being_set_aside_and_sent_back(
    broker_url, subscribed_queue, set_aside, start_consumer
):
    set_aside(*[delivery(name.encode(), properties) for name, properties in HOSTILE.items()])
    found = read_all(broker_url, subscribed_queue)
    assert [letter.body.decode() for letter in found] == list(HOSTILE)
    assert {(letter.reason, letter.queue) for letter in found} == {("a reason", subscribed_queue)}
    outcomes = send_back(broker_url, subscribed_queue, [letter.offset for letter in found])
    assert list(outcomes.values()) == [CONFIRMED] * len(HOSTILE)
    again = take_exactly(start_consumer(subscribed_queue), len(HOSTILE))
    assert [body.decode() for body in bodies(again)] == list(HOSTILE)


def test_a_body_that_was_cut_is_shown_with_its_true_size_and_not_sent_back(
    broker_url, subscribed_queue, set_aside, start_consumer
):
    body = b"x" * 1_000_000
    cut = delivery(body[:4096], ORIGINAL)
    cut.cut = Cut(1_000_000, sha256(body).digest(), 100, "too long")
    set_aside(cut, delivery(body, ORIGINAL), delivery(b"short", ORIGINAL))
    found = read_all(broker_url, subscribed_queue)
    assert [letter.body_size for letter in found] == [1_000_000, 1_000_000, 5]
    assert [letter.body_sha256 for letter in found[:2]] == 2 * [sha256(body).digest()]
    assert all(len(letter.body) <= dead_letter_stream.BODY_SHOWN_BYTES for letter in found)
    outcomes = send_back(broker_url, subscribed_queue, [0, 1, 2])
    assert outcomes[2] == CONFIRMED
    for offset in (0, 1):
        assert outcomes[offset].verdict is Verdict.REFUSED
        assert "its body had 1000000 bytes" in outcomes[offset].reason
    assert bodies(take_exactly(start_consumer(subscribed_queue), 1)) == [b"short"]


def test_of_what_strangers_have_put_into_the_stream_only_a_little_is_kept(
    broker_url, subscribed_queue, channel
):
    long = "x" * 15_000
    names = (dead_letters.REASON, dead_letters.QUEUE, dead_letters.BODY_SHA256)
    headers = dict.fromkeys(names, long) | {dead_letters.BODY_SIZE: 7}
    properties = pika.BasicProperties(headers=headers)
    channel.basic_publish("", f"{subscribed_queue}.XQ", b"{}", properties, mandatory=True)
    (found,) = read_all(broker_url, subscribed_queue)
    assert len(found.reason) <= dead_letters.REASON_BYTES_MAX
    assert max(len(found.queue), len(found.body_sha256)) <= 255


def test_hostile_reasons_are_cut_and_cleaned(broker_url, subscribed_queue, set_aside):
    set_aside(delivery(b"", ORIGINAL), reason="\ud800" + "ö" * 100_000)
    (found,) = read_all(broker_url, subscribed_queue)
    assert found.reason.startswith("?ö")
    assert len(found.reason.encode()) <= dead_letters.REASON_BYTES_MAX


def test_a_message_is_not_copied_to_other_queues(
    broker_url, subscribed_queue, set_aside, start_consumer
):
    """RabbitMQ delivers a message also to the queues that these headers name."""
    headers = {"CC": [subscribed_queue], "BCC": [subscribed_queue], "debtor-id": 1}
    set_aside(delivery(b"body", pika.BasicProperties(headers=headers)))
    send_back(broker_url, subscribed_queue, [0])
    consumer = start_consumer(subscribed_queue)
    (again,) = take_exactly(consumer, 1)
    assert again.properties.headers == {"debtor-id": 1}
    consumer.settle([again.tag])
    assert consumer.messages_count() == 0
    assert consumer.take(1, 0) == []


def test_headers_that_are_not_kept_are_named():
    _, dropped = tame(
        pika.BasicProperties(
            headers={"nested": {}, "kept": 1, "x-custom": "y", "x-delivery-count": 3},
            type="amqp-1.0",
        )
    )
    assert dropped == ["nested", "x-custom", "type amqp-1.0"]


def test_what_was_too_long_is_set_aside_with_its_size_and_hash():
    found = delivery(b"the beginn", pika.BasicProperties(type="PrepareTransfer"))
    found.cut = Cut(16_000_000, b"\xab" * 32, 100_000, "the body has 16000000 bytes")
    properties = dead_letter(found, "queue", found.cut.reason, AT).properties
    assert isinstance(properties, pika.BasicProperties)
    assert properties.headers[dead_letters.BODY_SIZE] == 16_000_000
    assert properties.headers[dead_letters.BODY_SHA256] == "ab" * 32
    assert "all headers" in properties.headers[dead_letters.DROPPED]
    assert "100000 bytes" in properties.headers[dead_letters.DROPPED]
    assert properties.type == "PrepareTransfer"


def test_what_cannot_be_decoded_is_said_so():
    hostile = properties_with(HOSTILE_HEADERS["an infinite float"])
    letter = dead_letter(delivery(b"", hostile), "queue", "a reason", AT)
    assert isinstance(letter.properties, pika.BasicProperties)
    assert "cannot be decoded" in letter.properties.headers[dead_letters.DROPPED]
    assert letter.properties.type == "PrepareTransfer"
