"""A wire between client and broker that can be cut, or go dead without a sign."""

import contextlib
import socket
import struct
import threading
from urllib.parse import urlsplit, urlunsplit

_HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_ACK, _NACK = b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes everything on, both ways, until told otherwise."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port or 5672)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))
        self._sockets: list[socket.socket] = []
        self._is_dead = threading.Event()
        self._nacking: set[socket.socket] = set()
        self._heartbeats = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Reset all connections."""
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.shutdown(socket.SHUT_RDWR)

    def go_dead(self) -> None:
        """Pass nothing on any more, and keep the connections open."""
        self._is_dead.set()

    def nack(self) -> None:
        """Turn acks into nacks, on the connections there are now."""
        self._nacking.update(self._sockets)

    def await_heartbeats(self, count: int, seconds: float) -> bool:
        """Wait until the client has sent so many heartbeats."""
        return all(self._heartbeats.acquire(timeout=seconds) for _ in range(count))

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for connection in self._sockets:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    thread = threading.Thread(
                        target=self._pass_on, args=(source, sink, source is client), daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if is_client:
                    for _ in range(data.count(_HEARTBEAT)):
                        self._heartbeats.release()
                if not is_client and sink in self._nacking:
                    data = data.replace(_ACK, _NACK)
                if not self._is_dead.is_set():
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
