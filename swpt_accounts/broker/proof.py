"""A publisher on a fresh connection, whose broker has proved that it works."""

from collections.abc import Callable

from swpt_accounts.broker.blame import DEFAULT_EXCHANGE, blame_for
from swpt_accounts.broker.lost import BrokerLost
from swpt_accounts.broker.publisher import Publisher

MakePublisher = Callable[[], Publisher]
IsWanted = Callable[[], bool]


def start_proved(make_publisher: MakePublisher, seconds: float, is_wanted: IsWanted) -> Publisher:
    """Return a publisher that is started, whose broker has answered within so many seconds.

    To refuse the message that goes nowhere, as it does to users who may not
    write to the default exchange, is an answer too. It ends the connection, so
    that another one is made. Raises `BrokerLost`.
    """
    try:
        return _start(make_publisher, is_wanted, lambda p: p.prove(seconds, is_wanted))
    except BrokerLost as lost:
        blame = blame_for(lost)
        if blame is None or blame.exchange != DEFAULT_EXCHANGE:
            raise
    return _start(make_publisher, is_wanted, lambda _: None)


def _start(
    make_publisher: MakePublisher, is_wanted: IsWanted, prove: Callable[[Publisher], None]
) -> Publisher:
    publisher = make_publisher()
    try:
        publisher.start(is_wanted)
        prove(publisher)
    except BaseException:
        publisher.drop("the broker does not work")
        raise
    return publisher
