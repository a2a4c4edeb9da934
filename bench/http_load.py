"""Asks a web server over several connections at once, each next question as soon as it is answered.

Reads no more of an answer than its status and its length. Started by bench/fetch_api.py.
"""

import random
import select
import socket
import time
from collections.abc import Iterator

import msgspec

from bench.load_program import COUNTED, COUNTING, read_order, report, say
from bench.peers import Failed

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_NO_CONTENT = b"204"
_STALL_SECONDS = 10.0
_RECEIVED_MAX = 65_536


class Order(msgspec.Struct):
    """Which paths to ask for, in random order, and what status each answer must have."""

    host: str
    port: int
    paths: list[str]
    status: int
    seed: int
    connections_count: int
    keeps_alive: bool
    """Otherwise there is a new connection for each request."""
    warm_up_seconds: float
    counted_seconds: float


class Answers(msgspec.Struct):
    """What has been answered in the seconds that count."""

    count: int
    seconds: float
    connections_count: int
    """So many were opened, also before."""
    longest_wait_seconds: float
    """Of a request, until its answer was complete; those that were answered later included."""


class _Connection:
    """One request at a time."""

    def __init__(self, order: Order, requests: Iterator[bytes]) -> None:
        self._address = (order.host, order.port)
        self._status = str(order.status).encode()
        self._keeps_alive = order.keeps_alive
        self._requests = requests
        self._received = b""
        self._asked_at = 0.0
        self.longest_wait_seconds = 0.0
        self.opened_count = 0
        self.socket = self._opened()

    def ask(self) -> None:
        self._asked_at = time.monotonic()
        self.socket.sendall(next(self._requests))

    def read(self) -> bool:
        """Takes what has come; whether that completes the answer."""
        received = self.socket.recv(_RECEIVED_MAX)
        self._received += received
        size = _answer_size(self._received)
        if size is None or len(self._received) < size:
            if not received:
                raise Failed(f"An answer was cut off: {self._received!r}.")
            return False
        if self._received[9:12] != self._status or len(self._received) > size:
            raise Failed(f"The answer is not {self._status.decode()}: {self._received!r}.")
        self._received = b""
        waited_seconds = time.monotonic() - self._asked_at
        self.longest_wait_seconds = max(self.longest_wait_seconds, waited_seconds)
        return True

    def renew(self) -> None:
        self.socket.close()
        self.socket = self._opened()

    def _opened(self) -> socket.socket:
        self.opened_count += 1
        opened = socket.create_connection(self._address, timeout=_STALL_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened


class _Client:
    """All connections, and the poll that tells which of them has something to read."""

    def __init__(self, order: Order) -> None:
        requests = _requests(order)
        self._keeps_alive = order.keeps_alive
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        for _ in range(order.connections_count):
            self._begin(_Connection(order, requests))

    @property
    def opened_count(self) -> int:
        return sum(connection.opened_count for connection in self._connections.values())

    def answers_until(self, moment: float) -> int:
        """Goes on until then; returns how many answers have come."""
        count = 0
        while time.monotonic() < moment:
            events = self._poll.poll(_STALL_SECONDS)
            if not events:
                raise Failed(f"There was no answer for {_STALL_SECONDS:g} s.")
            for number, _ in events:
                if self._connections[number].read():
                    count += 1
                    self._go_on(number)
        return count

    def finish(self) -> float:
        """Waits for the answers that are still missing; returns the longest wait of all.

        A server that forgets some requests, while it answers others, is not fast but wrong.
        """
        missing = set(self._connections)
        deadline = time.monotonic() + _STALL_SECONDS
        while missing:
            for number, _ in self._poll.poll(max(deadline - time.monotonic(), 0.0)):
                if self._connections[number].read():
                    missing.discard(number)
                    # Some servers do nothing else for seconds, until the client closes, too.
                    self._connections[number].socket.close()
            if missing and time.monotonic() > deadline:
                raise Failed(
                    f"{len(missing)} of the last {len(self._connections)} requests were not"
                    f" answered within {_STALL_SECONDS:g} s."
                )
        return max(each.longest_wait_seconds for each in self._connections.values())

    def _go_on(self, number: int) -> None:
        if self._keeps_alive:
            self._connections[number].ask()
        else:
            connection = self._connections.pop(number)
            connection.renew()
            self._begin(connection)

    def _begin(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        self._connections[number] = connection
        self._poll.register(number, select.EPOLLIN)
        connection.ask()


def _answer_size(received: bytes) -> int | None:
    """The bytes of the answer; None as long as its head is not complete."""
    head_size = received.find(_END_OF_HEAD) + len(_END_OF_HEAD)
    if head_size < len(_END_OF_HEAD):
        return None
    if received[9:12] == _NO_CONTENT:
        return head_size
    head = received[:head_size].lower()
    begin = head.find(_LENGTH)
    if begin < 0:
        raise Failed(f"The answer does not tell its length: {head!r}.")
    begin += len(_LENGTH)
    return head_size + int(head[begin : head.index(b"\r", begin)])


def _requests(order: Order) -> Iterator[bytes]:
    connection = "keep-alive" if order.keeps_alive else "close"
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: {order.host}\r\nAccept: */*\r\n"
        f"Connection: {connection}\r\n\r\n".encode()
        for path in order.paths
    ]
    random.Random(order.seed).shuffle(requests)
    while True:
        yield from requests


def main() -> None:
    order = read_order(Order)
    client = _Client(order)
    client.answers_until(time.monotonic() + order.warm_up_seconds)
    say(COUNTING)
    began = time.monotonic()
    count = client.answers_until(began + order.counted_seconds)
    seconds = time.monotonic() - began
    say(COUNTED)
    report(Answers(count, seconds, client.opened_count, client.finish()))


if __name__ == "__main__":
    main()
