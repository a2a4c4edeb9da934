"""What other shards ask this one over HTTP: is an account reachable, and how is it configured.

The paths, headers and status codes are those of protocol.rst, Fetch API.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import falcon
import falcon.asgi
from falcon import Request, Response
from falcon.routing import BaseConverter

from swpt_accounts.ledger.values import parse_account_id
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.lookups import AccountLookups
from swpt_accounts.store.transaction import DatabaseUnavailable

_TEXT: Final = "text/plain; charset=utf-8"

# Caches between shards may keep what they are told for a day. "No such
# account" is not for that long: accounts are opened all the time, and a
# freshly opened one must become reachable soon.
_FOUND: Final = {"Content-Type": _TEXT, "Cache-Control": "max-age=86400"}
_NOT_FOUND: Final = {"Content-Type": _TEXT, "Cache-Control": "max-age=10"}
_TROUBLE: Final = {"Content-Type": _TEXT, "Cache-Control": "no-store"}

_MISROUTED_REPORT_SECONDS: Final = 60.0

_logger = logging.getLogger(__name__)


def create_app(lookups: AccountLookups, realm: Realm) -> falcon.asgi.App[Any, Any]:
    """Make the ASGI application. Nothing is connected to until somebody asks about an account."""
    app = falcon.asgi.App(middleware=[_Closing(lookups)])
    app.router_options.converters["id"] = _IdConverter
    app.set_error_serializer(_say_in_words)
    app.add_error_handler(DatabaseUnavailable, _say_that_the_database_is_away)
    app.add_route("/accounts/healthz", _Health())
    report_misrouted = _MisroutedReport(realm)
    for question in (_Reachable, _Config):
        path = f"/accounts/{{debtor_id:id}}/{{creditor_id:id}}/{question.name}"
        app.add_route(path, question(lookups, realm, report_misrouted))
    return app


class _Health:
    """Whether this process can answer; the database is not asked."""

    async def on_get(self, _request: Request, response: Response) -> None:
        _answer(response, 200, {"Content-Type": "text/plain"}, b"I am healthy")

    on_head = on_get


class _Question:
    """A question about an account, which must be in the shard's realm."""

    name: str

    def __init__(
        self,
        lookups: AccountLookups,
        realm: Realm,
        report_misrouted: "_MisroutedReport",
    ) -> None:
        self._lookups = lookups
        self._realm = realm
        self._report_misrouted = report_misrouted

    async def on_get(
        self, _request: Request, response: Response, debtor_id: int, creditor_id: int
    ) -> None:
        if self._realm.contains(debtor_id, creditor_id):
            await self._answer(response, debtor_id, creditor_id)
        else:
            self._report_misrouted(debtor_id, creditor_id)
            body = b"The account is not in this shard's realm.\n"
            _answer(response, 500, _TROUBLE, body)

    on_head = on_get

    async def _answer(self, response: Response, debtor_id: int, creditor_id: int) -> None:
        raise NotImplementedError


class _Reachable(_Question):
    name = "reachable"

    async def _answer(self, response: Response, debtor_id: int, creditor_id: int) -> None:
        if await self._lookups.is_reachable(debtor_id, creditor_id):
            _answer(response, 204, _FOUND)
        else:
            _answer(response, 404, _NOT_FOUND)


class _Config(_Question):
    name = "config"

    async def _answer(self, response: Response, debtor_id: int, creditor_id: int) -> None:
        config_data = await self._lookups.config_data(debtor_id, creditor_id)
        if config_data is None:
            _answer(response, 404, _NOT_FOUND)
        else:
            _answer(response, 200, _FOUND, config_data.encode())


def _answer(response: Response, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    response.status = status
    response.set_headers(headers)
    response.data = body


async def _say_that_the_database_is_away(
    _request: Request, response: Response, _error: DatabaseUnavailable, _parameters: Any
) -> None:
    _answer(response, 503, _TROUBLE, b"The database is away.\n")


def _say_in_words(_request: Request, response: Response, error: falcon.HTTPError) -> None:
    response.content_type = _TEXT
    response.data = f"{error.title}\n".encode()


class _Closing:
    """Closes the connections when the server ends."""

    def __init__(self, lookups: AccountLookups) -> None:
        self._lookups = lookups

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        await self._lookups.close()


class _IdConverter(BaseConverter):
    """Ids in paths are unsigned 64-bit decimals in canonical form; anything else is not found."""

    def convert(self, value: str) -> int | None:
        return parse_account_id(value)


class _MisroutedReport:
    """Logs requests that belong to another shard: one line a minute at most."""

    def __init__(self, realm: Realm, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._realm = realm
        self._clock = clock
        self._quiet_until = float("-inf")

    def __call__(self, debtor_id: int, creditor_id: int) -> None:
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _MISROUTED_REPORT_SECONDS
            _logger.error(
                "Asked about account (%d, %d), which is not in this shard's realm %s: the proxy in"
                " front of the shards does not send requests where they belong.",
                debtor_id,
                creditor_id,
                self._realm.routing_key,
            )
