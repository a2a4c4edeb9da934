"""The proxy in front of all shards: sends each question to the shard that knows the account."""

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.end_to_end.shapes import sharding_bits


@dataclass
class Proxy:
    """Where the proxy is, and the paths that it has been asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    is_out_of_order: bool = False
    """Whether it answers with nothing but an error."""


@contextmanager
def proxy(ports: Mapping[str, int]) -> Iterator[Proxy]:
    """Serve, as long as the block runs; `ports` are the shards' own, by their first bits."""
    described = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            described.asked.append(self.path)
            if described.is_out_of_order:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            _, accounts, debtor_id, creditor_id, _ = self.path.split("/")
            assert accounts == "accounts"
            bits = f"{sharding_bits(int(debtor_id), int(creditor_id)):032b}"
            [port] = [port for prefix, port in ports.items() if bits.startswith(prefix)]
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", self.path)
            response = connection.getresponse()
            body = response.read()
            connection.close()
            self.send_response(response.status)
            for name in ("Content-Type", "Cache-Control"):
                if (value := response.getheader(name)) is not None:
                    self.send_header(name, value)
            if response.status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        described.url = f"http://127.0.0.1:{server.server_port}"
        yield described
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
