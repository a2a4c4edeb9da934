"""Plain HTTP requests, whose paths arrive exactly as they are written."""

from http.client import HTTPConnection, HTTPMessage
from typing import NamedTuple
from urllib.parse import urlsplit


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
