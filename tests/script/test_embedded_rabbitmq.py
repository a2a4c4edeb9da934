"""A private RabbitMQ keeps its ports and its messages, whatever happens to it."""

from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from embedded import EmbeddedRabbitMQ, processes


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[EmbeddedRabbitMQ]:
    server = EmbeddedRabbitMQ(tmp_path / "rabbitmq", vhosts=["for-tests"])
    server.start()
    yield server
    server.stop()
    assert processes.left_over(server.folder) == []


def open_channel(server: EmbeddedRabbitMQ) -> BlockingChannel:
    channel = pika.BlockingConnection(pika.URLParameters(f"{server.url}/for-tests")).channel()
    channel.confirm_delivery()
    return channel


def test_confirmed_messages_survive_a_kill(rabbitmq: EmbeddedRabbitMQ) -> None:
    url = rabbitmq.url
    channel = open_channel(rabbitmq)
    channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
    channel.basic_publish("", "kept", b"safe", pika.BasicProperties(delivery_mode=2))
    channel.connection.close()
    rabbitmq.write_registry()

    rabbitmq.kill()
    assert processes.left_over(rabbitmq.folder) == []
    rabbitmq.start()

    assert rabbitmq.url == url
    channel = open_channel(rabbitmq)
    received = next(channel.consume("kept", inactivity_timeout=30))
    assert received[2] == b"safe"
    channel.connection.close()
