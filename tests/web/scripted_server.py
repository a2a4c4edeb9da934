"""An HTTP server that answers as a test says, byte by byte if need be."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

Reply = Callable[[socket.socket, Event], None]
"""Writes a response to a connection; the event says that the test is over."""


TEXT = "Content-Type: text/plain; charset=utf-8\r\n"
AUTHORITY = TEXT + "Cache-Control: max-age=86400\r\n"


def response(
    status: int, body: bytes = b"", *, headers: str = AUTHORITY, length: int | None = None
) -> Reply:
    """An accounting authority's response, unless `length` is not the length of the body."""
    head = f"HTTP/1.1 {status} SOMETHING\r\n{headers}"
    if status != 204:
        head += f"Content-Length: {len(body) if length is None else length}\r\n"
    return raw(f"{head}\r\n".encode() + body)


def raw(data: bytes) -> Reply:
    def reply(connection: socket.socket, _over: Event) -> None:
        connection.sendall(data)

    return reply


def silence(_connection: socket.socket, over: Event) -> None:
    over.wait()


def later(seconds: float, reply: Reply) -> Reply:
    def reply_later(connection: socket.socket, over: Event) -> None:
        over.wait(seconds)
        reply(connection, over)

    return reply_later


def drip(connection: socket.socket, over: Event) -> None:
    """Never stop sending, but never send much."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not over.wait(0.01):
        connection.sendall(b"x")


def flood(connection: socket.socket, over: Event) -> None:
    """Send as much as the other side takes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")


def hang_up(connection: socket.socket, _over: Event) -> None:
    connection.shutdown(socket.SHUT_RDWR)


class ScriptedServer:
    """Replies by path; `default` is for all paths that have no reply of their own."""

    def __init__(self, default: Reply) -> None:
        self.default = default
        self.replies: dict[str, Reply] = {}
        self.requests: Counter[str] = Counter()
        self.connections_count = 0
        self.simultaneous_max = 0
        self._simultaneous = 0
        self._lock = Lock()
        self._over = Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._threads = [Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(0.05)  # How often a reader looks whether all is over.
                with self._lock:
                    self.connections_count += 1
                thread = Thread(target=self._talk, args=[connection])
                self._threads.append(thread)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while path := self._read_path(connection):
                with self._lock:
                    self.requests[path] += 1
                    self._simultaneous += 1
                    self.simultaneous_max = max(self.simultaneous_max, self._simultaneous)
                try:
                    self.replies.get(path, self.default)(connection, self._over)
                finally:
                    with self._lock:
                        self._simultaneous -= 1

    def _read_path(self, connection: socket.socket) -> str:
        request = b""
        while b"\r\n\r\n" not in request:
            if self._over.is_set():
                return ""
            with suppress(TimeoutError):
                received = connection.recv(65536)
                if not received:
                    return ""
                request += received
        return request.split(b" ", 2)[1].decode()


@contextmanager
def scripted_server(default: Reply) -> Iterator[ScriptedServer]:
    server = ScriptedServer(default)
    try:
        yield server
    finally:
        server.close()
