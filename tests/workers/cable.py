"""A cable between a client and its server, which can be pulled out and plugged in again."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

_CHUNK_BYTES = 65_536


class Cable:
    """Forwards TCP connections. Pulled out, it drops them all, and refuses new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._is_plugged_in = True
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def pull_out(self) -> None:
        """Drop all connections, and each new one at once."""
        with self._lock:
            self._is_plugged_in = False
            for end in list(self._peers):
                self._drop(end)

    def plug_in(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_plugged_in = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Pass nothing on, without a sign, while the block runs; and then all of it."""
        with self._lock:
            yield

    def close(self) -> None:
        self.pull_out()
        self._is_closed = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()  # Wakes the thread.
        self._thread.join()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not self._is_closed:
            for key, _ in self._selector.select():
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is self._listener:
                    self._connect(end.accept()[0])
                else:
                    self._forward(end)

    def _connect(self, client: socket.socket) -> None:
        with self._lock:
            if not self._is_plugged_in:
                client.close()
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                return
            for end, other in ((client, server), (server, client)):
                self._peers[end] = other
                self._selector.register(end, selectors.EVENT_READ)

    def _forward(self, end: socket.socket) -> None:
        with self._lock:
            if end not in self._peers:
                return
            try:
                data = end.recv(_CHUNK_BYTES)
                if data:
                    self._peers[end].sendall(data)
                    return
            except OSError:
                pass
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._peers.pop(end, None)
        if other is None:
            return
        del self._peers[other]
        for dropped in (end, other):
            self._selector.unregister(dropped)
            dropped.close()


@contextlib.contextmanager
def cable(url: str) -> Iterator[tuple[Cable, str]]:
    """Lay a cable to the server that the URL names; give it, and the URL of its near end."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    laid = Cable(parts.hostname, parts.port)
    login = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
    try:
        yield laid, urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{laid.port}"))
    finally:
        laid.close()
