"""Which messages a broker means that closes a channel, as far as its words tell. No broker."""

import re
from typing import Final, NamedTuple

from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from swpt_accounts.broker.lost import BrokerLost, describe

_EXCHANGE: Final = re.compile(r"exchange '([^']*)' in vhost")
_TOPIC: Final = re.compile(r"topic '([^']*)' in exchange")

DEFAULT_EXCHANGE: Final = "amq.default"
"""As the broker names it in its words; to publish there, the name is left empty."""

_FORCED: Final = 320
"""An operator, or a broker that shuts down, closes all connections with this code."""


class Blame(NamedTuple):
    """What made the broker close a channel: the exchange and the routing key, where it says so.

    When it names an exchange but no key, that is missing, or forbidden, for all
    messages. When it names neither, one of the messages on the way is to blame.
    """

    reason: str
    exchange: str | None
    routing_key: str | None

    @property
    def is_for_all(self) -> bool:
        """Tell whether all messages to the exchange are meant."""
        return self.exchange is not None and self.routing_key is None

    def names(self, exchange: str, routing_key: str) -> bool:
        """Tell whether the broker's words are about messages that go there."""
        return exchange == self.exchange and self.routing_key in (None, routing_key)


def blame_for(lost: BrokerLost) -> Blame | None:
    """Return what the broker found fault with, or None if it is simply gone."""
    error = lost.__cause__
    if isinstance(error, ChannelClosedByBroker):
        return blame_in(describe(error))
    if isinstance(error, ConnectionClosedByBroker) and error.reply_code != _FORCED:
        return blame_in(describe(error))
    return None


def blame_in(reason: str) -> Blame:
    """Return what the broker's words name."""
    exchange, topic = _EXCHANGE.search(reason), _TOPIC.search(reason)
    return Blame(reason, exchange and exchange[1], topic and topic[1])
