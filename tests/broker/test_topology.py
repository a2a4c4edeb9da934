"""What a node declares is what its peers depend on, and nothing is deleted that is needed."""

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.topology import (
    declare_chores_queue,
    delete_queue,
    subscribe,
    unsubscribe,
)
from tests.broker.conftest import tags, take_exactly

ROUTING_KEY = "0.1.#"
QUORUM_WITH_DEAD_LETTERS = {"x-queue-type": "quorum", "x-dead-letter-exchange": ""}


@pytest.fixture
def chores_queue(queue_name) -> str:
    return f"{queue_name}_chores"


@pytest.fixture
def count(broker_url):
    """Count the messages of a queue, `None` if there is no such queue."""

    def count(queue: str) -> int | None:
        connection = pika.BlockingConnection(pika.URLParameters(broker_url))
        try:
            answer = connection.channel().queue_declare(queue, passive=True)
            return answer.method.message_count
        except ChannelClosedByBroker:
            return None
        finally:
            connection.close()

    return count


def test_everything_is_declared_as_peers_declare_it(broker_url, queue_name, chores_queue, channel):
    subscribe(broker_url, queue_name, ROUTING_KEY)
    declare_chores_queue(broker_url, chores_queue)
    for exchange in ("accounts_in", "to_creditors", "to_debtors"):
        channel.exchange_declare(exchange, "topic", durable=True)
    channel.exchange_declare("to_coordinators", "headers", durable=True)
    channel.queue_declare(f"{queue_name}.XQ", durable=True, arguments={"x-queue-type": "stream"})
    arguments = {**QUORUM_WITH_DEAD_LETTERS, "x-dead-letter-routing-key": f"{queue_name}.XQ"}
    channel.queue_declare(queue_name, durable=True, arguments=arguments)
    channel.queue_declare(chores_queue, durable=True, arguments={"x-queue-type": "quorum"})


def test_declaring_again_changes_nothing(broker_url, queue_name, chores_queue, channel, count):
    for _ in range(3):
        subscribe(broker_url, queue_name, ROUTING_KEY)
        declare_chores_queue(broker_url, chores_queue)
        for queue in (queue_name, chores_queue):
            channel.basic_publish("", queue, b"message", mandatory=True)
    assert (count(queue_name), count(chores_queue)) == (3, 3)


@pytest.mark.parametrize("argument", [{}, {"overflow": "reject-publish"}, {"comment": 5}])
def test_a_queue_that_another_implementation_declared_is_taken_as_it_is(
    broker_url, queue_name, channel, argument
):
    arguments = {
        **QUORUM_WITH_DEAD_LETTERS,
        "x-dead-letter-routing-key": f"{queue_name}.XQ",
        **argument,
    }
    channel.queue_declare(queue_name, durable=True, arguments=arguments)
    subscribe(broker_url, queue_name, ROUTING_KEY)
    channel.queue_declare(queue_name, durable=True, arguments=arguments)


def test_a_queue_that_does_not_fit_is_refused_with_the_brokers_reason(
    broker_url, queue_name, channel
):
    channel.queue_declare(queue_name, durable=True, arguments={"x-queue-type": "quorum"})
    with pytest.raises(BrokerLost, match="inequivalent arg 'x-dead-letter-exchange'"):
        subscribe(broker_url, queue_name, ROUTING_KEY)


def test_the_queue_gets_the_messages_of_its_realm(broker_url, queue_name, channel, count):
    subscribe(broker_url, queue_name, ROUTING_KEY)
    for routing_key in ("0.1.0.0", "0.1.1.1", "0.0.1.1", "1.1.0.0"):
        channel.basic_publish("accounts_in", routing_key, b"message")
    assert count(queue_name) == 2


@pytest.mark.parametrize(
    ("coordinator_type", "expected_exchange"),
    [
        ("direct", "to_creditors"),
        ("agent", "to_creditors"),
        ("issuing", "to_debtors"),
        ("interest", None),
    ],
)
def test_messages_to_coordinators_go_where_the_coordinators_are(
    broker_url, queue_name, channel, coordinator_type, expected_exchange
):
    subscribe(broker_url, queue_name, ROUTING_KEY)
    taps = {}
    for exchange in ("to_creditors", "to_debtors"):
        taps[exchange] = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(taps[exchange], exchange, "00.00.#")
    properties = pika.BasicProperties(headers={"coordinator-type": coordinator_type})
    channel.basic_publish("to_coordinators", "00.00.07", b"ours", properties)
    channel.basic_publish("to_coordinators", "00.01.07", b"another peer's", properties)
    for exchange, tap in taps.items():
        _, _, body = channel.basic_get(tap, auto_ack=True)
        assert body == (b"ours" if exchange == expected_exchange else None)
        assert channel.basic_get(tap)[0] is None


def test_unsubscribing_keeps_the_queue_and_its_messages(
    broker_url, queue_name, chores_queue, channel, count
):
    """A shard that is being split must still handle what is in its queue."""
    subscribe(broker_url, queue_name, ROUTING_KEY)
    declare_chores_queue(broker_url, chores_queue)
    channel.basic_publish("accounts_in", "0.1.0", b"before", mandatory=True)
    channel.basic_publish("", chores_queue, b"chore", mandatory=True)
    for _ in range(2):
        unsubscribe(broker_url, queue_name, ROUTING_KEY, broker_url, chores_queue)
        channel.basic_publish("accounts_in", "0.1.0", b"after")
        assert (count(queue_name), count(chores_queue)) == (1, None)


def test_unsubscribing_where_nothing_was_declared_is_no_error(broker_url, queue_name):
    unsubscribe(broker_url, queue_name, ROUTING_KEY, broker_url, f"{queue_name}_chores")


@pytest.mark.parametrize("is_empty", [False, True])
def test_unsubscribing_never_deletes_the_principal_queue(broker_url, queue, count, is_empty):
    with pytest.raises(ValueError, match="must have a name other than the principal queue's"):
        unsubscribe(broker_url, queue, ROUTING_KEY, broker_url, "" if is_empty else queue)
    assert count(queue) == 0


def test_a_queue_is_deleted_when_its_last_message_is_settled(
    broker_url, queue, publish, start_consumer, count
):
    """Messages that a consumer has, but has not settled, are not counted by the broker."""
    publish(b"in hand", b"in hand too")
    consumer = start_consumer(queue)
    deliveries = take_exactly(consumer, 2)
    seen = []

    def pause(seconds: float) -> None:
        seen.append((seconds, count(queue)))
        if len(seen) == 2:
            consumer.settle(tags(deliveries))
        elif len(seen) == 3:
            consumer.stop()

    delete_queue(broker_url, queue, pause=pause)
    assert len(seen) >= 3
    assert seen == [(3.0, 0)] * len(seen)
    assert count(queue) is None


def test_a_message_that_somebody_has_got_holds_up_the_deletion(
    broker_url, queue, publish, channel, count
):
    publish(b"in hand")
    method, _, _ = channel.basic_get(queue)
    assert count(queue) == 0
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            channel.basic_ack(method.delivery_tag)

    delete_queue(broker_url, queue, pause=pause)
    assert len(pauses) >= 2
    assert count(queue) is None


def test_a_queue_with_messages_is_not_deleted(broker_url, queue, publish, channel, count):
    publish(b"one", b"two")

    def pause(_seconds: float) -> None:
        assert count(queue) is not None
        channel.basic_get(queue, auto_ack=True)

    delete_queue(broker_url, queue, pause=pause)
    assert count(queue) is None


def test_deleting_a_missing_queue_is_no_error(broker_url, queue_name):
    delete_queue(broker_url, queue_name, pause=pytest.fail)


def test_a_broker_that_is_not_there_is_reported(queue_name):
    url = "amqp://guest:guest@127.0.0.1:1"
    for attempt in (
        lambda: subscribe(url, queue_name, ROUTING_KEY),
        lambda: declare_chores_queue(url, queue_name),
        lambda: unsubscribe(url, queue_name, ROUTING_KEY, url, "chores"),
        lambda: delete_queue(url, queue_name),
    ):
        with pytest.raises(BrokerLost, match="refused"):
            attempt()
