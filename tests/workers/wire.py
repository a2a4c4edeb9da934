"""The other side of the broker: sends what peers would send, and collects what is announced."""

import json
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import pika
from pika.adapters.blocking_connection import BlockingChannel

from swpt_accounts.ledger.commands import Command
from swpt_accounts.protocol.routing import account_key
from tests import factories
from tests.workers.waiting import SECONDS

OUTGOING_EXCHANGES = ("to_creditors", "to_debtors", "to_coordinators")

_PUMP_SECONDS = 0.05
_MARK = "the last for now"

T = TypeVar("T")


@dataclass(frozen=True)
class Received:
    """A message as it came."""

    exchange: str
    routing_key: str
    properties: pika.BasicProperties
    body: bytes
    redelivered: bool

    @cached_property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


@dataclass
class Wire:
    """One connection to the broker. Belongs to one thread.

    `received` are the messages that have come so far. Nothing comes except
    while `receive` waits.
    """

    url: str
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        parameters = pika.URLParameters(self.url)
        parameters.heartbeat = 600  # Tests do other things for seconds.
        self._connection = pika.BlockingConnection(parameters)
        self.channel: BlockingChannel = self._connection.channel()
        self._queues: list[str] = []
        self._marks_missing: dict[bytes, str] = {}

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()

    # -- sending ---------------------------------------------------------

    def send(self, *commands: Command, to: str | None = None, **fields: Any) -> None:
        """Publish commands to the exchange for accounts, or to the queue that `to` names."""
        for command in commands:
            exchange, key = "accounts_in", account_key(command.debtor_id, command.creditor_id)
            self.publish(
                factories.as_json(command, **fields),
                type(command).__name__,
                exchange=exchange if to is None else "",
                routing_key=key if to is None else to,
            )
        self.flush()

    def publish(
        self,
        body: bytes,
        message_type: str | None,
        *,
        exchange: str,
        routing_key: str,
        content_type: str | None = "application/json",
    ) -> None:
        """Publish whatever it is; it is with the broker after `flush`."""
        properties = pika.BasicProperties(
            type=message_type, content_type=content_type, delivery_mode=2, app_id="tests"
        )
        self.channel.basic_publish(exchange, routing_key, body, properties)

    def flush(self) -> None:
        """Return when the broker has everything that was published."""
        self.channel.exchange_declare("amq.topic", passive=True)

    # -- receiving -------------------------------------------------------

    def collect(self, *exchanges: str, routing_key: str = "#", queue: str = "") -> str:
        """Collect what is published to the exchanges, from now on; return the queue's name.

        Without a name for it, the queue goes with this connection.
        """
        exclusive = not queue
        declared = self.channel.queue_declare(queue, exclusive=exclusive, durable=not exclusive)
        name: str = declared.method.queue
        for exchange in exchanges:
            self.channel.queue_bind(name, exchange, routing_key)
        self.consume(name)
        return name

    def collect_all(self) -> None:
        """Collect what is announced to creditors, debtors, and coordinators."""
        self.collect(*OUTGOING_EXCHANGES)

    def catch_up(self) -> list[Received]:
        """Wait for all that is in the queues by now; return everything that has come so far."""
        self._marks_missing = {uuid.uuid4().bytes: queue for queue in self._queues}
        for mark, queue in self._marks_missing.items():
            self.publish(mark, _MARK, exchange="", routing_key=queue)
        self.receive("the marks", lambda _received: not self._marks_missing)
        return self.received

    def consume(self, queue: str, **arguments: Any) -> None:
        """Collect what is in the queue, and what will be."""
        self.channel.basic_qos(prefetch_count=1000)
        self.channel.basic_consume(queue, self._on_message, arguments=arguments or None)
        self._queues.append(queue)

    def stop_consuming(self) -> None:
        """Collect nothing any more."""
        for tag in self.channel.consumer_tags:
            self.channel.basic_cancel(tag)
        self._queues.clear()

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if properties.type == _MARK:
            self._marks_missing.pop(body, None)
            return
        self.received.append(
            Received(method.exchange, method.routing_key, properties, body, method.redelivered)
        )

    def receive(
        self, what: str, condition: Callable[[list[Received]], T], *, seconds: float = SECONDS
    ) -> T:
        """Let messages come until the condition on all of them is true; return what it returns."""
        deadline = time.monotonic() + seconds
        while not (value := condition(self.received)):
            if time.monotonic() > deadline:
                have = [f"{r.properties.type} {r.body.decode()}" for r in self.received[-20:]]
                raise AssertionError(f"not within {seconds:g} seconds: {what}. Have: {have}")
            self.pump()
        return value

    def pump(self) -> None:
        """Let those messages come that are there, or wait a moment."""
        self._connection.process_data_events(time_limit=_PUMP_SECONDS)

    def documents(self, message_type: str, **fields: Any) -> list[dict[str, Any]]:
        """The bodies of what has come of one type, as far as they have these fields."""
        return [
            r.document
            for r in self.received
            if r.properties.type == message_type and fields.items() <= r.document.items()
        ]

    def await_documents(
        self, message_type: str, count: int = 1, **fields: Any
    ) -> list[dict[str, Any]]:
        """Wait until so many messages of the type, with these fields, have come."""

        def enough(_received: list[Received]) -> list[dict[str, Any]]:
            found = self.documents(message_type, **fields)
            return found if len(found) >= count else []

        return self.receive(f"{count} {message_type} with {fields}", enough)

    # -- looking ---------------------------------------------------------

    def ready_count(self, queue: str) -> int:
        """How many messages of the queue are not with any consumer."""
        count: int = self.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def consumers_count(self, queue: str) -> int:
        """How many consumers the queue has, or had, whose deliveries have not come back yet."""
        count: int = self.channel.queue_declare(queue, passive=True).method.consumer_count
        return count

    def dead_letters(self, queue: str) -> list[Received]:
        """All that is in the dead-letter stream of the queue by now."""
        reader = Wire(self.url)
        try:
            reader.consume(f"{queue}.XQ", **{"x-stream-offset": "first"})
            return list(reader.catch_up())
        finally:
            reader.close()


def types(received: Collection[Received]) -> list[str]:
    """The message types, in the order in which they came."""
    return [str(r.properties.type) for r in received]
