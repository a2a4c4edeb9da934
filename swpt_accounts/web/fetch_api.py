"""What other shards ask this one over HTTP: is an account reachable, and how is it configured.

The paths, headers and status codes are those of protocol.rst, Fetch API.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, ValidationError

from swpt_accounts.ledger.values import account_id, parse_account_id
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


def create_app(lookups: AccountLookups, realm: Realm) -> Flask:
    """Make the WSGI application. Nothing is connected to until somebody asks about an account."""
    app = Flask(__name__, static_folder=None)
    app.url_map.converters["id"] = _IdConverter
    # A path with doubled slashes is no path of ours; it is not redirected.
    app.url_map.merge_slashes = False
    report_misrouted = _MisroutedReport(realm)

    @app.get("/accounts/healthz")
    def healthz() -> Response:
        return Response("I am healthy", content_type="text/plain")

    @app.get("/accounts/<id:debtor_id>/<id:creditor_id>/reachable")
    def reachable(debtor_id: int, creditor_id: int) -> Response:
        if not realm.contains(debtor_id, creditor_id):
            return report_misrouted(debtor_id, creditor_id)
        if lookups.is_reachable(debtor_id, creditor_id):
            return Response(status=204, headers=_FOUND)
        return Response(status=404, headers=_NOT_FOUND)

    @app.get("/accounts/<id:debtor_id>/<id:creditor_id>/config")
    def config(debtor_id: int, creditor_id: int) -> Response:
        if not realm.contains(debtor_id, creditor_id):
            return report_misrouted(debtor_id, creditor_id)
        config_data = lookups.config_data(debtor_id, creditor_id)
        if config_data is None:
            return Response(status=404, headers=_NOT_FOUND)
        return Response(config_data, headers=_FOUND)

    @app.errorhandler(DatabaseUnavailable)
    def unavailable(_error: DatabaseUnavailable) -> Response:
        return Response("The database is away.\n", status=503, headers=_TROUBLE)

    # The shards' proxy, and nobody else, stands in front.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_port=1)  # type: ignore[method-assign]
    return app


class _IdConverter(BaseConverter):
    """Ids in paths are unsigned 64-bit decimals in canonical form; anything else is not found."""

    regex = "[0-9]{1,20}"

    def to_python(self, value: str) -> int:
        number = parse_account_id(value)
        if number is None:
            raise ValidationError
        return number

    def to_url(self, value: int) -> str:
        return account_id(value)


class _MisroutedReport:
    """Answers requests that belong to another shard, and logs them: one line a minute at most."""

    def __init__(self, realm: Realm, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._realm = realm
        self._clock = clock
        self._quiet_until = float("-inf")

    def __call__(self, debtor_id: int, creditor_id: int) -> Response:
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
        return Response("The account is not in this shard's realm.\n", 500, _TROUBLE)
