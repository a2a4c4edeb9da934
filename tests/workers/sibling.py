"""Another shard's web server, as far as a test needs one."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def sibling(answers: Mapping[str, tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve the answers (status, body) by path, and "503" where there is none.

    Gives the server's URL, and the list of paths that it is being asked for.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = answers.get(self.path, (503, b""))
            self.send_response(status)
            if status in (200, 204, 404):
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Cache-Control", "max-age=86400")
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
