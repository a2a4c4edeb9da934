"""A peer of the node: sends messages to it, gathers what comes back, and waits for what should."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from conversation.wire import Message, account_routing_key

_APP_ID = "swpt_demo"
_CONTENT_TYPE = "application/json"
_EXCHANGE_IN = "accounts_in"
_EXCHANGES_OUT = ("to_creditors", "to_debtors")
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 30.0
_STRANGERS_SHOWN = 12


class Unmet(Exception):
    """Something that the protocol promises did not happen in time, or happened wrongly."""


class Peer:
    """Takes part as all creditors agents and debtors agents at once, for a single currency.

    Whatever concerns other currencies on the same broker is left alone. Messages are kept until
    somebody waits for them, since those of different types may arrive in any order.
    """

    def __init__(
        self,
        broker_url: str,
        debtor_id: int,
        *,
        on_sent: Callable[[Message], None],
        on_received: Callable[[Message], None],
    ) -> None:
        self.debtor_id = debtor_id
        self.sent_count = 0
        self.received_count = 0
        self.on_sent = on_sent
        self.on_received = on_received
        self._url = broker_url
        self._arrival = threading.Condition()
        self._waiting: list[Message] = []
        self._defects: list[str] = []
        self._stopping = threading.Event()
        self._listens = threading.Event()
        self._receiver = threading.Thread(target=self._receive, name="receiver")
        self._connection = pika.BlockingConnection(self._parameters())
        self._confirmed = self._connection.channel()
        self._confirmed.confirm_delivery()
        self._unconfirmed = self._connection.channel()

    def start(self) -> None:
        self._receiver.start()
        if not self._listens.wait(_PATIENCE_SECONDS):
            raise Unmet(f"Cannot listen to the exchanges {_EXCHANGES_OUT}: {self._defects}")

    def stop(self) -> None:
        self._stopping.set()
        if self._receiver.is_alive():
            self._receiver.join()
        self._connection.close()

    def send(self, message: Message) -> None:
        """Publishes to the node; returns when the broker has it safe in the node's queue."""
        self._publish(self._confirmed, message)

    def send_unconfirmed(self, message: Message) -> None:
        """Publishes without waiting; that the message arrived will show by the answer to it."""
        self._publish(self._unconfirmed, message)

    def await_message(
        self,
        what: str,
        where: Callable[[Message], bool] = lambda message: True,
        unless: Callable[[Message], bool] = lambda message: False,
        **fields: Any,
    ) -> Message:
        """The first message with these fields that nobody has waited for yet.

        Raises Unmet, saying `what` was awaited, when it hasn't come before the deadline, and at
        once when a message that fits `unless` has come in its place.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._arrival:
            while True:
                for index, message in enumerate(self._waiting):
                    if fields.items() <= message.items() and where(message):
                        return self._waiting.pop(index)
                    if unless(message):
                        raise Unmet(f"Awaited: {what}\nCame instead: {json.dumps(message)}")
                self._await_arrival(deadline, what, fields)

    def await_all(
        self, what: str, is_complete: Callable[[], bool], *, seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Waits for a condition that the messages passed to `on_received` bring about."""
        deadline = time.monotonic() + seconds
        with self._arrival:
            while not is_complete():
                self._await_arrival(deadline, what, {})

    def forget_messages(self) -> None:
        """Drops what has come without being waited for."""
        with self._arrival:
            self._waiting.clear()

    def _await_arrival(self, deadline: float, what: str, fields: dict[str, Any]) -> None:
        if self._defects:
            raise Unmet("\n".join(self._defects))
        if time.monotonic() > deadline:
            wanted = f"\nwith {fields}" if fields else ""
            others = [json.dumps(other)[:300] for other in self._waiting[-_STRANGERS_SHOWN:]]
            came = "\n  ".join(["Unused so far:", *others]) if others else "Nothing else came."
            raise Unmet(f"Awaited in vain: {what}{wanted}\n{came}")
        self._arrival.wait(_POLL_SECONDS)

    def _publish(self, channel: BlockingChannel, message: Message) -> None:
        echoed = ("debtor_id", "creditor_id", "coordinator_id", "coordinator_type")
        headers = {name.replace("_", "-"): message[name] for name in echoed if name in message}
        self.on_sent(message)
        self.sent_count += 1
        channel.basic_publish(
            _EXCHANGE_IN,
            account_routing_key(message["debtor_id"], message["creditor_id"]),
            json.dumps(message, ensure_ascii=False).encode(),
            pika.BasicProperties(
                app_id=_APP_ID,
                content_type=_CONTENT_TYPE,
                delivery_mode=pika.DeliveryMode.Persistent.value,
                type=message["type"],
                headers={"message-type": message["type"], **headers},
            ),
            mandatory=True,
        )

    def _parameters(self) -> pika.URLParameters:
        parameters = pika.URLParameters(self._url)
        parameters.heartbeat = 0  # The sending connection is not looked after between messages.
        return parameters

    def _receive(self) -> None:
        try:
            connection = pika.BlockingConnection(self._parameters())
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            for exchange in _EXCHANGES_OUT:
                channel.queue_bind(queue, exchange, "#")
            channel.basic_consume(queue, self._on_delivery, auto_ack=True)
            self._listens.set()
            while not self._stopping.is_set():
                connection.process_data_events(_POLL_SECONDS)
            connection.close()
        except (AMQPError, OSError) as error:
            self._defects.append(f"The connection to RabbitMQ was lost: {error!r}")

    def _on_delivery(
        self, channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes
    ) -> None:
        try:
            message: Message = json.loads(body)
            if message["debtor_id"] != self.debtor_id:
                return
            _check_envelope(message, properties)
        except (ValueError, LookupError) as error:
            self._defects.append(f"Not a message of the protocol: {error}\n{body[:500]!r}")
            return
        with self._arrival:
            self.received_count += 1
            self.on_received(message)
            self._waiting.append(message)
            self._arrival.notify_all()


def _check_envelope(message: Message, properties: pika.BasicProperties) -> None:
    """Peers forward messages by their AMQP properties, without looking into them."""
    headers = properties.headers or {}
    kind, creditor_id = message["type"], message["creditor_id"]
    wanted = {
        "content_type": (properties.content_type, _CONTENT_TYPE),
        "delivery_mode": (properties.delivery_mode, pika.DeliveryMode.Persistent.value),
        "type": (properties.type, kind),
        "header message-type": (headers.get("message-type"), kind),
        "header debtor-id": (headers.get("debtor-id"), message["debtor_id"]),
        "header creditor-id": (headers.get("creditor-id"), creditor_id),
        "header coordinator-type": (
            headers.get("coordinator-type"),
            message.get("coordinator_type") if "coordinator_id" in message else None,
        ),
        "header coordinator-id": (headers.get("coordinator-id"), message.get("coordinator_id")),
    }
    for name, (found, expected) in wanted.items():
        if found != expected:
            raise ValueError(f"its {name} is {found!r} instead of {expected!r}")
