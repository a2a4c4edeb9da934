"""A broker's URL: its connection parameters, and how it may be shown."""

from typing import Final
from urllib.parse import parse_qs, urlsplit

import pika

HEARTBEAT_SECONDS: Final = 10
"""A dead connection is noticed after two to three times as long."""

BLOCKED_CONNECTION_SECONDS: Final = 30
"""So long the broker may refuse to read (memory or disk alarm) before the connection is lost."""

SOCKET_SECONDS: Final = 5
STACK_SECONDS: Final = 10
"""So long TCP, TLS and AMQP together may take to come up."""

TCP_OPTIONS: Final = {
    "TCP_USER_TIMEOUT": 10_000,  # milliseconds without an acknowledgment from the peer's kernel
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
}

_DEFAULTS: Final = {
    "heartbeat": HEARTBEAT_SECONDS,
    "blocked_connection_timeout": BLOCKED_CONNECTION_SECONDS,
    "socket_timeout": SOCKET_SECONDS,
    "stack_timeout": STACK_SECONDS,
    "tcp_options": TCP_OPTIONS,
}

_HARMLESS_BEGINNINGS: Final = ("Unknown URL parameter", "Expected exactly one", "Invalid ")


def connection_parameters(url: str) -> pika.URLParameters:
    """Return what pika needs to connect; the URL's query overrides the defaults above.

    Raises `ValueError`, which never contains the password.
    """
    try:
        parameters = pika.URLParameters(url)
        given = parse_qs(urlsplit(url).query)
    except (ValueError, TypeError, AttributeError, SyntaxError, OSError) as error:
        raise ValueError(_complaint(str(error))) from None
    for name, value in _DEFAULTS.items():
        if name not in given:
            setattr(parameters, name, value)
    return parameters


def _complaint(detail: str) -> str:
    complaint = (
        "the broker's URL (not shown, since it may contain a password) cannot be read;"
        " it should look like amqp://user:password@host:5672/virtual_host?heartbeat=10"
    )
    if detail.startswith(_HARMLESS_BEGINNINGS):
        complaint += f". {detail}"
    return complaint


def without_password(parameters: pika.URLParameters) -> str:
    """Return the broker's address as people may see it."""
    scheme = "amqps" if parameters.ssl_options else "amqp"
    virtual_host = parameters.virtual_host
    path = "" if virtual_host == "/" else f"/{virtual_host}"
    return f"{scheme}://{parameters.host}:{parameters.port}{path}"
