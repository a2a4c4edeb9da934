"""Many small GET requests to one server at once, bounded in number, size and time."""

import asyncio
from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from swpt_accounts.ledger.values import CONFIG_DATA_BYTES_MAX

# The longest answer that makes sense is a configuration. What is longer than
# twice that comes from somebody else, and is not read to its end.
BODY_BYTES_MAX: Final = 2 * CONFIG_DATA_BYTES_MAX

# When there are more requests than connections, those that had to wait for a
# connection that was in vain get a chance, too.
ROUNDS_MAX: Final = 2

_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "swpt_accounts"}


class Answer(msgspec.Struct, frozen=True):
    """A complete response, whatever its status code."""

    status: int
    body: bytes


class Outcome(msgspec.Struct):
    """What became of each path: either it was answered, or there was some trouble."""

    answers: dict[str, Answer] = {}
    troubles: dict[str, str] = {}


class ParallelGet:
    """Asks one server, over at most `connections_max` connections that are kept for the next time.

    A request takes `timeout_seconds` at most, all requests together twice that
    long. The server's address is looked up again after `dns_cache_seconds`.
    Belongs to one thread, and connects when it is first used, so that it may
    be made before a fork. Raises `ValueError` for a URL that is no `http` or
    `https` one; a path in it is ignored.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        connections_max: int,
        dns_cache_seconds: float,
    ) -> None:
        self._origin = _origin(base_url)
        self._timeout_seconds = timeout_seconds
        self._connections_max = connections_max
        self._dns_cache_seconds = dns_cache_seconds
        self._runner: asyncio.Runner | None = None
        self._session: aiohttp.ClientSession | None = None

    def __call__(self, paths: Collection[str]) -> Outcome:
        """Request all paths; whatever happens on the network is part of the outcome."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._request_all(paths))

    def close(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            if self._session is not None:
                self._runner.run(self._session.close())
                self._session = None
            self._runner.close()
            self._runner = None

    async def _request_all(self, paths: Collection[str]) -> Outcome:
        if self._session is None:
            self._session = self._new_session()
        outcome = Outcome(troubles=dict.fromkeys(paths, "there was no time left to ask"))
        deadline = asyncio.get_running_loop().time() + ROUNDS_MAX * self._timeout_seconds
        waiting = iter(paths)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(len(paths), self._connections_max)):
                tasks.create_task(self._request_some(self._session, waiting, deadline, outcome))
        return outcome

    async def _request_some(
        self,
        session: aiohttp.ClientSession,
        waiting: Iterator[str],
        deadline: float,
        outcome: Outcome,
    ) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < deadline and (path := next(waiting, None)) is not None:
            give_up_at = min(deadline, clock() + self._timeout_seconds)
            try:
                outcome.answers[path] = await _request(session, path, give_up_at)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                outcome.troubles[path] = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                del outcome.troubles[path]

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            self._origin,
            headers=_HEADERS,
            connector=aiohttp.TCPConnector(
                limit=self._connections_max,
                ttl_dns_cache=max(0, int(self._dns_cache_seconds)),
            ),
            # One timeout for the whole request, in `_request`, is enough.
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )


async def _request(session: aiohttp.ClientSession, path: str, give_up_at: float) -> Answer:
    """Return the whole response; raise `TimeoutError` when the event loop's time has come."""
    async with (
        asyncio.timeout_at(give_up_at),
        session.get(path, allow_redirects=False) as response,
    ):
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                response.close()
                raise ValueError(f"a body of more than {BODY_BYTES_MAX} bytes")
        return Answer(response.status, bytes(body))


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
