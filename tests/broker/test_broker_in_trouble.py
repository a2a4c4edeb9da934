"""A broker that closes connections, runs out of memory, or dies: on a node of its own."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from embedded import EmbeddedRabbitMQ
from swpt_accounts.broker import connection as connection_module
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.publisher import CONFIRMED, Message, Publisher
from tests.broker.conftest import DEADLINE, bodies, tags, take_exactly

QUEUE = "in-trouble"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRabbitMQ]:
    if not Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists() and "CI" not in os.environ:
        pytest.skip("RabbitMQ is not installed on this machine")
    node = EmbeddedRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    node.start()
    yield node
    node.stop()


@pytest.fixture
def empty_queue(node: EmbeddedRabbitMQ) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(node.url))
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_purge(QUEUE)
    connection.close()


@pytest.fixture
def started() -> Iterator[Callable[..., object]]:
    """Start a consumer or a publisher, which is stopped after the test."""
    users: list[Consumer | Publisher] = []

    def start(user: Consumer | Publisher) -> Consumer | Publisher:
        users.append(user)
        user.start()
        return user

    yield start
    for user in users:
        user.stop()


@pytest.fixture
def consumer(node, empty_queue, started) -> Consumer:
    return started(Consumer(node.url, QUEUE, prefetch_count=10))


@pytest.fixture
def publisher(node, empty_queue, started) -> Publisher:
    return started(Publisher(node.url, confirm_timeout_seconds=DEADLINE))


def page(*bodies_to_publish: bytes) -> list[Message]:
    return [Message("", QUEUE, body, b"\x00\x00") for body in bodies_to_publish]


def publish_until_lost(publisher: Publisher) -> None:
    while True:
        publisher.publish(page(b"again"))


def test_a_forced_close_ends_every_wait_and_loses_nothing(node, consumer, publisher, started):
    assert publisher.publish(page(b"1", b"2")) == [CONFIRMED] * 2
    deliveries = take_exactly(consumer, 2)
    consumer.settle(tags(deliveries[:1]))
    operator = threading.Thread(target=node.control, args=("close_all_connections", "enough"))
    operator.start()
    with pytest.raises(BrokerLost, match="320 CONNECTION_FORCED - enough"):
        consumer.take(10, DEADLINE)
    with pytest.raises(BrokerLost, match="320 CONNECTION_FORCED - enough"):
        publish_until_lost(publisher)
    operator.join()
    new_consumer = started(Consumer(node.url, QUEUE, prefetch_count=10))
    delivered: list[bytes] = []
    while b"2" not in delivered:
        delivered += bodies(take_exactly(new_consumer, 1))
    assert b"1" not in delivered


def test_a_broker_out_of_memory_blocks_publishers_but_only_them(
    node, consumer, publisher, started, monkeypatch
):
    monkeypatch.setattr(connection_module, "STOP_SECONDS", 0.2)
    impatient = Publisher(f"{node.url}?blocked_connection_timeout=0.2", confirm_timeout_seconds=99)
    started(impatient)
    publisher.publish(page(b"before"))
    (delivery,) = take_exactly(consumer, 1)
    node.control("set_vm_memory_high_watermark", "0")
    try:
        hasty = started(Publisher(node.url, confirm_timeout_seconds=0.3))
        with pytest.raises(BrokerLost, match=r"no confirm for 0\.3 seconds"):
            hasty.publish(page(b"while low on memory"))
        with pytest.raises(BrokerLost, match="blocked this connection for too long"):
            impatient.publish(page(b"while low on memory"))
        consumer.settle([delivery.tag])
        assert consumer.messages_count() == 0
    finally:
        node.control("set_vm_memory_high_watermark", "0.4")
    assert publisher.publish(page(b"after")) == [CONFIRMED]


def test_a_killed_broker_ends_every_wait(node, consumer, publisher):
    """The last test of this file: the node is not started again."""
    publisher.publish(page(b"1"))
    take_exactly(consumer, 1)
    killer = threading.Thread(target=node.kill)
    killer.start()
    with pytest.raises(BrokerLost):
        consumer.take(10, DEADLINE)
    with pytest.raises(BrokerLost):
        publish_until_lost(publisher)
    killer.join()
    with pytest.raises(BrokerLost, match="ConnectionRefusedError"):
        Consumer(node.url, QUEUE, prefetch_count=1).start()
