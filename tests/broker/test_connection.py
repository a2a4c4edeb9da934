"""A connection comes up or fails in time, says why, and never tells the password."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pika.exceptions import ShortStringTooLong

from swpt_accounts.broker import connection as connection_module
from swpt_accounts.broker.address import (
    HEARTBEAT_SECONDS,
    TCP_OPTIONS,
    connection_parameters,
    without_password,
)
from swpt_accounts.broker.connection import BrokerLost, ConnectionThread
from tests.broker.conftest import DEADLINE

SECRET = "Geheimnis4711"


def make_connection(url: str) -> ConnectionThread:
    connection = ConnectionThread(
        url,
        "test",
        prepare=lambda _channel: connection.ready(),
        on_content=lambda _content: None,
        on_lost=lambda: None,
    )
    return connection


@pytest.fixture
def connection(broker_url: str) -> Iterator[ConnectionThread]:
    connection = make_connection(broker_url)
    connection.start()
    yield connection
    connection.stop()


@contextlib.contextmanager
def server_that(answer: bytes) -> Iterator[str]:
    """A server that says this to whoever connects, and then nothing."""
    connections = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                connections.append(client)
                client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"amqp://guest:{SECRET}@127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)
    for client in connections:
        client.close()


def test_a_wrong_password_is_refused_and_never_shown(broker_url, caplog):
    caplog.set_level(logging.DEBUG)
    parts = urlsplit(broker_url)
    url = f"amqp://guest:{SECRET}@{parts.hostname}:{parts.port or 5672}{parts.path}"
    with pytest.raises(BrokerLost, match="ACCESS_REFUSED") as lost:
        make_connection(url).start()
    assert f"amqp://{parts.hostname}:{parts.port or 5672}" in str(lost.value)
    assert SECRET not in str(lost.value) + repr(lost.value.__cause__) + caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://guest:{SECRET}/@host",
        f"amqp://guest:{SECRET}@host:port",
        f"amqp://guest:{SECRET}@host:99999",
        f"amqp://guest:{SECRET}@host?heartbeat=often",
        f"amqp://guest:{SECRET}@host?no_such_option=1",
        f"amqp://guest:{SECRET}@host?tcp_options={{",
        f"postgresql://guest:{SECRET}@host",
        "amqp://guest@host",
        f"amqp://guest:{SECRET}@[host",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="amqp://user:password@host:5672") as error:
        make_connection(url)
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None


def test_defaults_hold_until_the_url_says_otherwise():
    defaults = connection_parameters("amqp://u:p@host")
    assert defaults.heartbeat == HEARTBEAT_SECONDS
    assert defaults.tcp_options == TCP_OPTIONS
    assert defaults.blocked_connection_timeout == 30
    other = connection_parameters("amqp://u:p@host?heartbeat=77&blocked_connection_timeout=5")
    assert (other.heartbeat, other.blocked_connection_timeout) == (77, 5)
    assert other.socket_timeout == defaults.socket_timeout


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"amqp://guest:{SECRET}@host", "amqp://host:5672"),
        (f"amqp://guest:{SECRET}@host:1/%2F", "amqp://host:1"),
        (f"amqps://guest:{SECRET}@host/vhost?heartbeat=5", "amqps://host:5671/vhost"),
    ],
)
def test_an_address_is_shown_without_the_password(url, shown):
    assert without_password(connection_parameters(url)) == shown


def test_nobody_listening_is_said_so():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BrokerLost, match=f"amqp://127.0.0.1:{port}: ConnectionRefusedError"):
        make_connection(f"amqp://guest:{SECRET}@127.0.0.1:{port}").start()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x00" * 100]
)
def test_a_server_that_is_no_broker_is_given_up_in_time(answer):
    with server_that(answer) as url:
        connection = make_connection(f"{url}?stack_timeout=0.3&socket_timeout=0.2")
        with pytest.raises(BrokerLost):
            connection.start()
        assert connection.is_lost
        connection._thread.join(DEADLINE)
        assert not connection._thread.is_alive()


def test_a_set_up_that_hangs_is_given_up_in_time(broker_url, monkeypatch):
    monkeypatch.setattr(connection_module, "SETUP_SECONDS", 0.1)
    connection = ConnectionThread(
        f"{broker_url}?stack_timeout=0.05&retry_delay=0",
        "test",
        prepare=lambda _channel: None,
        on_content=lambda _content: None,
        on_lost=lambda: None,
    )
    with pytest.raises(BrokerLost, match=r"no answer within 0\.2 seconds"):
        connection.start()
    connection._thread.join(DEADLINE)
    assert not connection._thread.is_alive()


def test_a_start_that_nobody_waits_for_any_more_is_given_up_at_once():
    with server_that(b"") as url:
        connection = make_connection(url)
        begun = time.monotonic()
        with pytest.raises(BrokerLost, match="nobody waits for the connection any more"):
            connection.start(lambda: time.monotonic() < begun + 0.2)
        assert time.monotonic() < begun + 5
        connection._thread.join(DEADLINE)
        assert not connection._thread.is_alive()


def test_callbacks_are_called_in_order_on_the_connections_thread(connection):
    calls: list[tuple[int, str]] = []
    done = threading.Event()
    for number in range(5):
        connection.post(lambda n=number: calls.append((n, threading.current_thread().name)))
    connection.post(done.set)
    assert done.wait(DEADLINE)
    assert calls == [(number, "broker-test") for number in range(5)]


def test_an_exception_in_a_callback_ends_the_connection_and_is_reported(connection, caplog):
    lost = threading.Event()
    connection._on_lost = lost.set
    connection.post([].pop)
    assert lost.wait(DEADLINE)
    with pytest.raises(BrokerLost, match="IndexError") as error:
        connection.post(lambda: None)
    assert isinstance(error.value.__cause__, IndexError)
    assert "IndexError" in caplog.text
    connection._thread.join(DEADLINE)
    assert not connection._thread.is_alive()


def test_a_question_that_makes_no_sense_is_the_askers_fault(connection):
    with pytest.raises(ShortStringTooLong):
        connection.ask(
            lambda channel, reply: channel.queue_declare("q" * 256, passive=True, callback=reply)
        )
    assert not connection.is_lost


def test_a_question_without_an_answer_ends_the_connection(connection):
    with pytest.raises(BrokerLost, match=r"no answer within 0\.05 seconds"):
        connection.ask(lambda _channel, _reply: None, 0.05)
    assert connection.is_lost


def test_a_question_the_broker_refuses_ends_the_connection(connection):
    with pytest.raises(BrokerLost, match="404 NOT_FOUND") as lost:
        connection.ask(
            lambda channel, reply: channel.queue_declare(
                "no_such_queue", passive=True, callback=reply
            )
        )
    assert lost.value.is_not_found


def test_whoever_waits_for_an_answer_is_woken_when_the_connection_dies(proxy):
    connection = make_connection(proxy.url)
    connection.start()
    asked = threading.Event()
    thread = threading.Thread(target=lambda: (asked.wait(DEADLINE), proxy.cut()))
    thread.start()
    with pytest.raises(BrokerLost):
        connection.ask(lambda _channel, _reply: asked.set(), DEADLINE)
    thread.join()


def test_a_peer_gone_without_a_sign_does_not_hold_up_a_stop(proxy, monkeypatch, caplog):
    monkeypatch.setattr(connection_module, "STOP_SECONDS", 0.1)
    connection = make_connection(proxy.url)
    connection.start()
    proxy.go_dead()
    connection.stop()
    assert not connection._thread.is_alive()
    assert "dropping it" in caplog.text


def test_a_peer_gone_without_a_sign_is_noticed_by_its_heartbeats(proxy):
    lost = threading.Event()
    connection = make_connection(proxy.url)
    connection._on_lost = lost.set
    connection.start()
    connection.post(lambda: _check_at_once(connection))
    proxy.go_dead()
    connection.post(lambda: _check_at_once(connection))
    assert lost.wait(DEADLINE)
    with pytest.raises(BrokerLost, match="heartbeats have ceased"):
        connection.post(lambda: None)


def _check_at_once(connection: ConnectionThread) -> None:
    assert connection._link is not None
    connection._link._heartbeat_checker._check_heartbeat()


def test_stopping_twice_is_harmless(connection):
    connection.stop()
    connection.stop()
    with pytest.raises(BrokerLost, match="closed by this process"):
        connection.post(lambda: None)
