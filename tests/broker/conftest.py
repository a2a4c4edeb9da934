"""What the tests of the broker package share."""

from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from swpt_accounts.broker.consumer import Consumer, Delivery
from swpt_accounts.broker.publisher import Message, Publisher
from tests.broker.proxy import Proxy

DEADLINE = 30.0
"""Seconds after which something that should have happened never will."""


@pytest.fixture
def channel(broker_url: str) -> Iterator[BlockingChannel]:
    """The plain way to the broker, to prepare and to look."""
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


@pytest.fixture
def queue(channel: BlockingChannel, queue_name: str) -> str:
    """An empty quorum queue."""
    channel.queue_declare(queue_name, durable=True, arguments={"x-queue-type": "quorum"})
    return queue_name


@pytest.fixture
def publisher(broker_url: str) -> Iterator[Publisher]:
    publisher = Publisher(broker_url, confirm_timeout_seconds=DEADLINE)
    publisher.start()
    yield publisher
    publisher.stop()


@pytest.fixture
def start_consumer(broker_url: str) -> Iterator[Callable[..., Consumer]]:
    """Start a consumer, which is stopped after the test."""
    consumers = []

    def start(
        queue: str, prefetch_count: int = 100, url: str = broker_url, **options: Any
    ) -> Consumer:
        consumer = Consumer(url, queue, prefetch_count=prefetch_count, **options)
        consumers.append(consumer)
        consumer.start()
        return consumer

    yield start
    for consumer in consumers:
        consumer.stop()


@pytest.fixture
def proxy(broker_url: str) -> Iterator[Proxy]:
    proxy = Proxy(broker_url)
    yield proxy
    proxy.close()


@pytest.fixture
def publish(publisher: Publisher, queue: str) -> Callable[..., None]:
    """Put messages with these bodies into the queue."""

    def publish(*bodies: bytes) -> None:
        messages = [Message("", queue, body, pika.BasicProperties()) for body in bodies]
        outcomes = publisher.publish(messages)
        assert all(not outcome.reason for outcome in outcomes)

    return publish


def take_exactly(consumer: Consumer, count: int) -> list[Delivery]:
    """Take until so many deliveries have come; fails when they do not."""
    deliveries: list[Delivery] = []
    while len(deliveries) < count:
        batch = consumer.take(count - len(deliveries), DEADLINE)
        assert batch, f"only {len(deliveries)} of {count} deliveries have come"
        deliveries += batch
    return deliveries


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def tags(deliveries: list[Delivery]) -> list[int]:
    return [delivery.tag for delivery in deliveries]
