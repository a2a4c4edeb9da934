"""Many small GET requests to one server at once, bounded in number, size and time."""

import asyncio
import ssl
from collections.abc import Collection, Iterator
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
        outcome = Outcome(troubles=dict.fromkeys(paths, "there was no time left to ask"))
        deadline = asyncio.get_running_loop().time() + ROUNDS_MAX * self._timeout_seconds
        waiting = iter(paths)
        lanes_count = min(len(paths), self._connections_max)
        while len(self._lanes) < lanes_count:
            self._lanes.append(self._new_lane())
        async with asyncio.TaskGroup() as tasks:
            for lane in range(lanes_count):
                tasks.create_task(self._request_some(lane, waiting, deadline, outcome))
        return outcome

    async def _request_some(
        self, lane: int, waiting: Iterator[str], deadline: float, outcome: Outcome
    ) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < deadline and (path := next(waiting, None)) is not None:
            give_up_at = min(deadline, clock() + self._timeout_seconds)
            try:
                outcome.answers[path] = await _request(self._lanes[lane], path, give_up_at)
            except (httpx.HTTPError, OSError, UnicodeError, _BodyTooLongError) as error:
                outcome.troubles[path] = f"{type(error).__name__}: {error}".rstrip(": ")
                # A request that is given up while httpx is already cleaning up
                # after it occupies the client's only connection for ever.
                broken, self._lanes[lane] = self._lanes[lane], self._new_lane()
                await broken.aclose()
            else:
                del outcome.troubles[path]

    def _new_lane(self) -> httpx.AsyncClient:
        """Return a client of one connection.

        With one client for all connections, httpx looks at every connection for
        every request: at a hundred of them that is milliseconds a request.
        """
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        return httpx.AsyncClient(
            base_url=self._origin,
            headers=_HEADERS,
            # The timeouts of httpx begin anew with each byte. `_request` has a
            # better one, which always comes first.
            timeout=ROUNDS_MAX * self._timeout_seconds,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_SECONDS_MAX),
            verify=self._ssl_context,
            # Proxies and passwords of the environment are for other servers.
            trust_env=False,
        )

    async def _close_lanes(self) -> None:
        while self._lanes:
            await self._lanes.pop().aclose()


async def _request(lane: httpx.AsyncClient, path: str, give_up_at: float) -> Answer:
    """Return the whole response; raise `TimeoutError` when the event loop's time has come."""
    async with asyncio.timeout_at(give_up_at), lane.stream("GET", path) as response:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise _BodyTooLongError(f"more than {BODY_BYTES_MAX} bytes")
        return Answer(response.status_code, bytes(body))


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
