"""A real RabbitMQ for each test that asks for one.

The exchanges of the protocol have fixed names, so two tests can't share a virtual host without
seeing each other's messages. Making a virtual host takes a second and can't be done over AMQP. The
private broker of script/test therefore boots with a number of them (TEST_BROKER_VHOSTS), which are
handed out in turn. Whoever gets one, finds it without the node's exchanges and default queues. What
else a test has left in it is bound to nothing any more.

A broker of one's own (PROTOCOL_BROKER_URL) has only the virtual host in its URL. All tests use that
one, after it has been looked at: where a node has been configured, nothing is deleted.
"""

import itertools
import os
import uuid
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.fix_database import url_or_skip

_EXCHANGES = ("accounts_in", "to_creditors", "to_debtors", "to_coordinators")
_DEFAULT_QUEUES = ("swpt_accounts", "swpt_accounts.XQ", "swpt_accounts_chores")
_MARK = "swpt_accounts_tests"  # An exchange: everything in this virtual host is for tests.
_NOT_FOUND = 404


@pytest.fixture(scope="session")
def broker_server_url() -> str:
    """The broker's URL as it was given, with a virtual host that may not be for tests."""
    return url_or_skip("PROTOCOL_BROKER_URL")


@pytest.fixture(scope="session")
def vhost_urls(broker_server_url: str) -> Iterator[str]:
    """Without end: the URLs of the virtual hosts for tests, in turn."""
    names = os.environ.get("TEST_BROKER_VHOSTS", "").split()
    base = broker_server_url.rstrip("/")
    urls = [f"{base}/{quote(name, safe='')}" for name in names]
    if not urls:
        _ensure_for_tests(broker_server_url)
        urls = [broker_server_url]
    return itertools.cycle(urls)


@pytest.fixture
def broker_url(vhost_urls: Iterator[str]) -> str:
    """A virtual host without a node's exchanges and queues, as PROTOCOL_BROKER_URL names it."""
    url = next(vhost_urls)
    _delete(url, exchanges=_EXCHANGES, queues=_DEFAULT_QUEUES)
    return url


@pytest.fixture
def queue_name(broker_url: str) -> Iterator[str]:
    """A name that no queue has had. It, its dead letters and its chores go after the test."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    _delete(broker_url, exchanges=(), queues=(name, f"{name}.XQ", f"{name}_chores"))


def _delete(url: str, *, exchanges: Sequence[str], queues: Sequence[str]) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        for exchange in exchanges:
            channel.exchange_delete(exchange)
        for queue in queues:
            channel.queue_delete(queue)
    finally:
        connection.close()


def _ensure_for_tests(url: str) -> None:
    """Marks a virtual host in which no node has been configured; fails where one has."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        in_use = _exists(connection.channel(), _EXCHANGES[0])
        if in_use and not _exists(connection.channel(), _MARK):
            pytest.fail(
                f"PROTOCOL_BROKER_URL names a virtual host that has an exchange {_EXCHANGES[0]}. "
                "The tests would delete it. Name a virtual host that no node uses."
            )
        connection.channel().exchange_declare(_MARK, "fanout", durable=True)
    finally:
        connection.close()


def _exists(channel: BlockingChannel, exchange: str) -> bool:
    try:
        channel.exchange_declare(exchange, passive=True)
    except ChannelClosedByBroker as closed:
        if closed.reply_code != _NOT_FOUND:
            raise
        return False
    return True
