"""Exchanges, queues and bindings: all that a node declares, in one place.

Declaring again what is there changes nothing. RabbitMQ compares only the
arguments that it knows: a principal queue that somebody declared with further
ones (`overflow`, say, without the `x-`) is taken as it is, but adding or
omitting one of those below would be refused.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic

from swpt_accounts.broker.connection import BrokerLost, ConnectionThread

ACCOUNTS_IN: Final = "accounts_in"
TO_CREDITORS: Final = "to_creditors"
TO_DEBTORS: Final = "to_debtors"
TO_COORDINATORS: Final = "to_coordinators"

COORDINATOR_TYPE_HEADER: Final = "coordinator-type"
COORDINATOR_BINDINGS: Final = (
    ("direct", TO_CREDITORS),
    ("agent", TO_CREDITORS),
    ("issuing", TO_DEBTORS),
)
"""For each type of coordinator, the exchange that knows where such coordinators are."""

DEAD_LETTER_SUFFIX: Final = ".XQ"

LOOK_SECONDS: Final = 3.0
"""So often `delete_queue` looks whether the queue is empty."""

logger = logging.getLogger(__name__)


def dead_letter_queue(queue: str) -> str:
    """Return the name of the stream that keeps what the queue's consumers could not use."""
    return queue + DEAD_LETTER_SUFFIX


def subscribe(url: str, queue: str, routing_key: str) -> None:
    """Declare everything that a node needs to send and receive messages.

    That is all exchanges and the bindings between them, and the principal queue
    with its dead-letter stream, bound by the routing key. Raises `BrokerLost`.
    """
    dead_letters = dead_letter_queue(queue)
    with _session(url) as connection:
        for exchange in (ACCOUNTS_IN, TO_CREDITORS, TO_DEBTORS):
            _declare_exchange(connection, exchange, "topic")
        _declare_exchange(connection, TO_COORDINATORS, "headers")
        for coordinator_type, exchange in COORDINATOR_BINDINGS:
            _bind_coordinators(connection, coordinator_type, exchange)
        _declare_queue(connection, dead_letters, {"x-queue-type": "stream"})
        _declare_queue(
            connection,
            queue,
            {
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dead_letters,
            },
        )
        connection.ask(
            lambda channel, reply: channel.queue_bind(
                queue, ACCOUNTS_IN, routing_key, callback=reply
            )
        )


def declare_chores_queue(url: str, queue: str) -> None:
    """Declare the queue of a node's own chores, and its dead letters. Raises `BrokerLost`."""
    with _session(url) as connection:
        _declare_queue(connection, dead_letter_queue(queue), {"x-queue-type": "stream"})
        _declare_queue(connection, queue, {"x-queue-type": "quorum"})


def unsubscribe(url: str, queue: str, routing_key: str, chores_url: str, chores_queue: str) -> None:
    """Have no more messages come to the principal queue, and delete the chores queue.

    The principal queue stays, with its messages, until `delete_queue`. What is
    gone already is no error. Raises `BrokerLost`, and `ValueError` if the chores
    queue has no name of its own.
    """
    if chores_queue in ("", queue):
        raise ValueError(
            f"the chores queue must have a name other than the principal queue's ({queue!r}),"
            f" not {chores_queue!r}: it is going to be deleted with its messages"
        )
    with _session(url) as connection:
        connection.ask(
            lambda channel, reply: channel.queue_unbind(
                queue, ACCOUNTS_IN, routing_key, callback=reply
            )
        )
    with _session(chores_url) as connection:
        _delete(connection, chores_queue)


def delete_queue(url: str, queue: str, *, pause: Callable[[float], object] = time.sleep) -> None:
    """Wait until nothing of the queue is left to be handled, then delete it.

    A quorum queue counts as a consumer not only who consumes, but also who has
    cancelled and still has deliveries to settle. So no messages and no
    consumers mean that nothing is on its way; consumers must pause from time to
    time. No binding may be left that brings new messages. A missing queue is
    no error. `pause` gets the seconds between two looks. Raises `BrokerLost`.
    """
    with _session(url) as connection:
        try:
            while not _is_spent(connection, queue):
                pause(LOOK_SECONDS)
            lost_count = _delete(connection, queue)
        except BrokerLost as lost:
            if not lost.is_not_found:
                raise
            return
    if lost_count:
        logger.error(
            "%d messages arrived in the queue %s after it was found empty, and were lost with it."
            " Some exchange is still bound to it, or somebody publishes to it directly.",
            lost_count,
            queue,
        )


@contextmanager
def _session(url: str) -> Iterator[ConnectionThread]:
    connection = ConnectionThread(
        url,
        "topology",
        prepare=lambda _channel: connection.ready(),
        on_content=lambda _content: None,
        on_lost=lambda: None,
    )
    connection.start()
    try:
        yield connection
    finally:
        connection.stop()


def _declare_exchange(connection: ConnectionThread, exchange: str, exchange_type: str) -> None:
    connection.ask(
        lambda channel, reply: channel.exchange_declare(
            exchange, exchange_type, durable=True, callback=reply
        )
    )


def _bind_coordinators(connection: ConnectionThread, coordinator_type: str, exchange: str) -> None:
    arguments = {"x-match": "all", COORDINATOR_TYPE_HEADER: coordinator_type}
    connection.ask(
        lambda channel, reply: channel.exchange_bind(
            exchange, TO_COORDINATORS, routing_key="", arguments=arguments, callback=reply
        )
    )


def _declare_queue(connection: ConnectionThread, queue: str, arguments: Mapping[str, str]) -> None:
    connection.ask(
        lambda channel, reply: channel.queue_declare(
            queue, durable=True, arguments=dict(arguments), callback=reply
        )
    )


def _delete(connection: ConnectionThread, queue: str) -> int:
    """Delete the queue, missing or not, and return how many messages were lost with it."""
    answer = connection.ask(lambda channel, reply: channel.queue_delete(queue, callback=reply))
    count: int = answer.message_count
    return count


def _is_spent(connection: ConnectionThread, queue: str) -> bool:
    """Tell whether the queue has no messages, nor anybody who might return one.

    A queue whose leader is slow to answer reports zeros. To get a message from
    it takes a working leader: the zeros are believed if they were seen before
    and after that.
    """
    return (
        _is_idle(connection, queue)
        and isinstance(connection.ask(_getter(queue)), Basic.GetEmpty)
        and _is_idle(connection, queue)
    )


def _is_idle(connection: ConnectionThread, queue: str) -> bool:
    answer = connection.ask(
        lambda channel, reply: channel.queue_declare(queue, passive=True, callback=reply)
    )
    return (answer.message_count, answer.consumer_count) == (0, 0)


def _getter(queue: str) -> Callable[[Channel, Callable[[Any], None]], None]:
    """Return the question for one message, which goes back at once if there is one."""

    def get(channel: Channel, reply: Callable[[Any], None]) -> None:
        def on_message(_channel: Channel, method: Any, _properties: Any, _body: bytes) -> None:
            channel.basic_nack(method.delivery_tag)
            reply(Method(channel.channel_number, method))

        channel.add_callback(reply, [Basic.GetEmpty])
        channel.basic_get(queue, on_message)

    return get
