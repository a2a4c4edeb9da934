"""Many small GET requests to one server, over connections that are kept for the next time."""

from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from swpt_accounts.ledger.values import CONFIG_DATA_BYTES_MAX

# The longest answer is a configuration. What is longer comes from somebody
# else, and is not read to its end.
BODY_BYTES_MAX: Final = CONFIG_DATA_BYTES_MAX

_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "swpt_accounts"}


class Response(msgspec.Struct, frozen=True):
    """A complete response, whatever its status code; a header that is missing is empty."""

    status: int
    content_type: str
    cache_control: str
    body: bytes


class HttpGet:
    """Asks one server, over at most `connections_max` connections.

    The server's address is looked up again after `dns_cache_seconds`. Belongs
    to the event loop in which it is first used. Raises `ValueError` for a URL
    that is no `http` or `https` one; a path in it is ignored.
    """

    def __init__(self, base_url: str, *, connections_max: int, dns_cache_seconds: float) -> None:
        self._origin = _origin(base_url)
        self._connections_max = connections_max
        self._dns_cache_seconds = dns_cache_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, path: str) -> Response:
        """Return the whole response; raise `aiohttp.ClientError`, `OSError` or `ValueError`.

        Takes as long as the server likes.
        """
        if self._session is None:
            self._session = self._new_session()
        async with self._session.get(self._origin + path, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    response.close()
                    raise ValueError(f"a body of more than {BODY_BYTES_MAX} bytes")
            return Response(
                response.status,
                response.headers.get("Content-Type", ""),
                ", ".join(response.headers.getall("Cache-Control", ())),
                bytes(body),
            )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=_HEADERS,
            connector=aiohttp.TCPConnector(
                limit=self._connections_max,
                ttl_dns_cache=max(0, int(self._dns_cache_seconds)),
            ),
            # Whoever asks has a limit for the whole request.
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )


def _origin(base_url: str) -> str:
    """Return the URL without its path; raise `ValueError` when it cannot be asked anything."""
    try:
        parts = urlsplit(base_url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(
            f"{base_url!r} is not the URL of a web server: something like http://host or"
            " https://host:8080 is needed"
        )
    return f"{urlsplit(base_url).scheme}://{urlsplit(base_url).netloc}"
