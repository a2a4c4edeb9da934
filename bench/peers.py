"""All peers of the node at once: they fill its queue, and one queue takes what it sends to them."""

from collections.abc import Callable, Sequence
from types import TracebackType

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.frame import Method

from swpt_accounts.broker.consumer import Consumer, Delivery
from swpt_accounts.broker.publisher import CONFIRMED, Message, Publisher

INPUT_QUEUE = "swpt_accounts"
OUTPUT_QUEUE = "swpt_bench"

_EXCHANGES = ("to_creditors", "to_debtors")
_CONFIRM_SECONDS = 60.0
_WAIT_SECONDS = 60.0
_PREFETCH_COUNT = 2000
_PAGE_SIZE = 2000
_NOT_FOUND = 404


class Failed(Exception):
    """The node has not done what it should, so nothing can be measured."""


class Peers:
    """Has connections from `with` on, when exchanges must be there already."""

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url

    def __enter__(self) -> "Peers":
        parameters = pika.URLParameters(self._url)
        parameters.heartbeat = 0  # Nobody answers them while something is being measured.
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._channel.queue_declare(
            OUTPUT_QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        for exchange in _EXCHANGES:
            self._channel.queue_bind(OUTPUT_QUEUE, exchange, "#")
        self._publisher = Publisher(self._url, confirm_timeout_seconds=_CONFIRM_SECONDS)
        self._publisher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._publisher.stop()
        try:
            self._channel.queue_delete(OUTPUT_QUEUE)
            self._connection.close()
        except AMQPError:
            if error is None:
                raise

    def send(self, messages: Sequence[Message], say: Callable[[str], None]) -> None:
        """Returns when the broker has confirmed all of them."""
        for start in range(0, len(messages), _PAGE_SIZE):
            say(f"{start:,} of {len(messages):,} messages put into the queue")
            outcomes = self._publisher.publish(messages[start : start + _PAGE_SIZE])
            refused = [outcome for outcome in outcomes if outcome != CONFIRMED]
            if refused:
                raise Failed(f"The broker does not take a message: {refused[0]}")

    def has_consumer(self) -> bool:
        """Whether the node consumes from its queue."""
        return bool(self._look(INPUT_QUEUE).consumer_count)

    def inputs_count(self) -> int:
        """Messages that wait for the node."""
        count: int = self._look(INPUT_QUEUE).message_count
        return count

    def outputs_count(self) -> int:
        """Messages from the node, standing in the queue."""
        count: int = self._look(OUTPUT_QUEUE).message_count
        return count

    def take(self, count: int) -> list[Delivery]:
        """Removes so many messages from the node. Raises Failed if they do not come."""
        taken: list[Delivery] = []
        consumer = Consumer(self._url, OUTPUT_QUEUE, prefetch_count=_PREFETCH_COUNT)
        consumer.start()
        try:
            while len(taken) < count:
                deliveries = consumer.take(count - len(taken), _WAIT_SECONDS)
                if not deliveries:
                    raise Failed(f"Only {len(taken)} of {count} messages came from the node.")
                consumer.settle([delivery.tag for delivery in deliveries])
                taken += deliveries
        finally:
            consumer.stop()
        return taken

    def forget_all(self) -> None:
        """Empties both queues."""
        for queue in (INPUT_QUEUE, OUTPUT_QUEUE):
            self._channel.queue_purge(queue)

    def _look(self, queue: str) -> pika.spec.Queue.DeclareOk:
        return self._channel.queue_declare(queue, passive=True).method


def has_node(broker_url: str) -> bool:
    """Whether a node's exchanges are there, and so perhaps messages that matter to somebody."""
    found = _ask(broker_url, lambda channel: channel.exchange_declare("accounts_in", passive=True))
    return found is not None


def is_consumed(broker_url: str) -> bool:
    """Whether a node has made its queue, and consumes from it."""
    found = _ask(broker_url, lambda channel: channel.queue_declare(INPUT_QUEUE, passive=True))
    return found is not None and bool(found.method.consumer_count)


def _ask(broker_url: str, question: Callable[[BlockingChannel], Method]) -> Method | None:
    """The broker's answer; None if there is nothing of that name."""
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    try:
        return question(connection.channel())
    except ChannelClosedByBroker as closed:
        if closed.reply_code != _NOT_FOUND:
            raise
        return None
    finally:
        connection.close()
