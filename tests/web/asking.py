"""Plain HTTP requests, whose paths arrive exactly as they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPMessage
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.serving import make_server


class Answered(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes


def ask(
    url: str, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> Answered:
    parts = urlsplit(url)
    assert parts.hostname
    connection = HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.putrequest(
            method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True
        )
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Answered(response.status, response.headers, response.read())
    finally:
        connection.close()


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an application on a free port, each request in a thread of its own; give the URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
