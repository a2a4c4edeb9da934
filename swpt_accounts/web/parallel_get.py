"""Many small GET requests to one server at once, bounded in number, size and time."""

import asyncio
import ssl
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from swpt_accounts.ledger.values import CONFIG_DATA_BYTES_MAX

# The longest answer that makes sense is a configuration. What is longer than
# twice that comes from somebody else, and is not read to its end.
BODY_BYTES_MAX: Final = 2 * CONFIG_DATA_BYTES_MAX

# When there are more requests than connections, those that had to wait for a
# connection that was in vain get a chance, too.
ROUNDS_MAX: Final = 2

# An idle connection is closed, so that the server's name is looked up again.
_IDLE_SECONDS_MAX: Final = 10.0

# Bodies are measured as they arrive; nothing is ever unpacked.
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
    long. Belongs to one thread, and connects when it is first used, so that it
    may be made before a fork. Raises `ValueError` for a URL that is no `http`
    or `https` one; a path in it is ignored.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float, connections_max: int) -> None:
        self._origin = _origin(base_url)
        self._timeout_seconds = timeout_seconds
        self._connections_max = connections_max
        self._runner: asyncio.Runner | None = None
        self._lanes: list[httpx.AsyncClient] = []
        self._ssl_context: ssl.SSLContext | None = None

    def __call__(self, paths: Collection[str]) -> Outcome:
        """Request all paths; whatever happens on the network is part of the outcome."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._request_all(paths))

    def close(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            self._runner.run(self._close_lanes())
            self._runner.close()
            self._runner = None

    async def _request_all(self, paths: Collection[str]) -> Outcome:
        outcome = Outcome(troubles=dict.fromkeys(paths, "no time was left"))
        waiting = iter(paths)
        lanes = self._opened_lanes(min(len(paths), self._connections_max))
        tasks = [asyncio.create_task(self._request_some(lane, waiting, outcome)) for lane in lanes]
        finished, late = await asyncio.wait(tasks, timeout=ROUNDS_MAX * self._timeout_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in finished:
            task.result()
        return outcome

    def _opened_lanes(self, count: int) -> list[httpx.AsyncClient]:
        """Return clients of one connection each.

        With one client for all connections, httpx looks at every connection for
        every request: at a hundred of them that is milliseconds a request.
        """
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        while len(self._lanes) < count:
            self._lanes.append(
                httpx.AsyncClient(
                    base_url=self._origin,
                    headers=_HEADERS,
                    timeout=self._timeout_seconds,
                    limits=httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_SECONDS_MAX),
                    verify=self._ssl_context,
                    # Proxies and passwords of the environment are for other servers.
                    trust_env=False,
                )
            )
        return self._lanes[:count]

    async def _request_some(
        self, lane: httpx.AsyncClient, waiting: Iterator[str], outcome: Outcome
    ) -> None:
        for path in waiting:
            try:
                outcome.answers[path] = await self._request(lane, path)
            except (httpx.HTTPError, OSError, UnicodeError, _BodyTooLongError) as error:
                outcome.troubles[path] = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                del outcome.troubles[path]

    async def _request(self, lane: httpx.AsyncClient, path: str) -> Answer:
        # The timeouts of httpx begin anew with each byte; this one does not.
        async with asyncio.timeout(self._timeout_seconds), lane.stream("GET", path) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise _BodyTooLongError(f"more than {BODY_BYTES_MAX} bytes")
            return Answer(response.status_code, bytes(body))

    async def _close_lanes(self) -> None:
        async with AsyncExitStack() as stack:
            while self._lanes:
                stack.push_async_callback(self._lanes.pop().aclose)


class _BodyTooLongError(Exception):
    pass


def _origin(base_url: str) -> str:
    """Return the URL without its path; raise `ValueError` when it cannot be asked anything."""
    try:
        parts = urlsplit(base_url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return str(httpx.URL(f"{parts.scheme}://{parts.netloc}"))
    except (ValueError, httpx.InvalidURL):
        pass
    raise ValueError(
        f"{base_url!r} is not the URL of a web server: something like http://host or"
        " https://host:8080 is needed"
    )
