"""The one exception for a broker that is not there, and the reasons it gives."""

from typing import Final

from pika.exceptions import (
    AMQPHeartbeatTimeout,
    ChannelClosed,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosed,
    ConnectionClosedByClient,
)

_NOT_FOUND: Final = 404


class BrokerLost(Exception):
    """The broker is gone, refuses, or does not answer: pause, and come back with a new connection.

    Whatever was not settled or confirmed before is in an unknown state: the
    broker delivers again what it has no ack for, and a message published
    without a confirm may or may not have arrived.
    """

    @property
    def is_not_found(self) -> bool:
        """Tell whether what was asked for does not exist, while the broker itself is fine."""
        cause = self.__cause__
        return isinstance(cause, ChannelClosedByBroker) and cause.reply_code == _NOT_FOUND


def describe(error: BaseException) -> str:
    """Return why a connection was lost, without the wrappings."""
    while True:
        inner = getattr(error, "exceptions", None) or (getattr(error, "exception", None),)
        inner = inner[-1] or next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None:
            break
        error = inner
    if isinstance(error, ConnectionClosedByClient):
        return "the connection was closed by this process"
    if isinstance(error, ConnectionClosed | ChannelClosed):
        return f"closed by the broker: {error.reply_code} {error.reply_text}"
    if isinstance(error, ConnectionBlockedTimeout):
        return "it has blocked this connection for too long (a memory or disk alarm)"
    if isinstance(error, AMQPHeartbeatTimeout):
        return "its heartbeats have ceased"
    return f"{type(error).__name__}: {error}"
