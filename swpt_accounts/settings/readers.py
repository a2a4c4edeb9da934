"""From the text of an environment variable to a value, or to the reason why there is none."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from swpt_accounts.protocol.sharding import Realm

SHOWN_LENGTH_MAX: Final = 120
# AMQP allows 255 bytes, and the dead-letter queue's name is longer by ".XQ".
QUEUE_NAME_BYTES_MAX: Final = 252

_FALSE: Final = frozenset({"false", "off", "no", ""})
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD_OPTION: Final = re.compile(r"(?i)password=([^&\s]*)")
_POSTGRES_SCHEMES: Final = ("postgresql+psycopg", "postgresql", "postgres")


@dataclass(frozen=True)
class Bad:
    """Stands where a value should be, until all problems are gathered."""

    shown: str
    reason: str
    allowed: str


@dataclass(frozen=True)
class Reader:
    """Reads one kind of value; `parse` raises `ValueError` with the reason for a refusal."""

    type_name: str
    allowed: str
    parse: Callable[[str], Any]
    unit: str = ""

    def __call__(self, text: str | None) -> Any:
        """Return the value, or a `Bad`; what is not set (None) stays so."""
        if text is None:
            return None
        try:
            return self.parse(text)
        except ValueError as error:
            return Bad(shown(text), _without_secrets(str(error), text), self.allowed)


def shown(text: str) -> str:
    """Return a text as a message may show it: without passwords, and not endless."""
    masked = _PASSWORD_OPTION.sub("password=***", text)
    scheme, separator, rest = masked.rpartition("://")
    # A password may contain any character, so everything before the last "@" goes.
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    elif separator:
        # Without an "@" it was forgotten, perhaps, and the "port" is a password.
        rest = re.sub(r"^([^/:?#\[\]]*:)(?![0-9]{1,5}(?:[/?#,]|$)).*", r"\1***", rest)
    masked = f"{scheme}{separator}{rest}"
    if len(masked) > SHOWN_LENGTH_MAX:
        masked = masked[:SHOWN_LENGTH_MAX] + "..."
    return repr(masked)


def _without_secrets(reason: str, text: str) -> str:
    """Return a reason that may quote parts of a URL, with the URL's password masked."""
    userinfo = text.partition("://")[2].rpartition("@")[0]
    passwords = [userinfo.partition(":")[2], *_PASSWORD_OPTION.findall(text)]
    for secret in (userinfo, *passwords, *map(unquote, passwords)):
        if secret:
            reason = reason.replace(secret, "***")
    return reason


def integer(at_least: int, at_most: int) -> Reader:
    """Read a whole number between two limits, both included."""

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text.strip()):
            raise ValueError("it is not a whole number")
        value = int(text)
        if not at_least <= value <= at_most:
            raise ValueError("it is too small" if value < at_least else "it is too large")
        return value

    return Reader("integer", f"a whole number from {at_least} to {at_most}", parse)


def number(
    unit: str, *, at_least: float = 0.0, at_most: float, above: float | None = None
) -> Reader:
    """Read a number, possibly with a fraction, between two limits; `above` excludes the lower."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("it is not a number") from None
        if not math.isfinite(value):
            raise ValueError("it is not a finite number")
        if value < at_least or (above is not None and value <= above):
            raise ValueError("it is too small")
        if value > at_most:
            raise ValueError("it is too large")
        return value

    lower = f"from {at_least:g} to" if above is None else f"above {above:g}, at most"
    return Reader("number", f"a number {lower} {at_most:g}", parse, unit)


def optional(reader: Reader) -> Reader:
    """Read what the reader reads; nothing means that the variable is not set."""

    def parse(text: str) -> Any:
        return reader.parse(text) if text.strip() else None

    return Reader(reader.type_name, f"{reader.allowed}, or nothing", parse, reader.unit)


def boolean() -> Reader:
    """Read a truth value: false, off, no, and nothing at all are false, anything else is true.

    "0" is true. That surprises, but deployments rely on it.
    """

    def parse(text: str) -> bool:
        return text.strip().lower() not in _FALSE

    return Reader("boolean", '"false", "off", "no" or nothing; anything else means true', parse)


def exactly(word: str) -> Reader:
    """Read a switch that only one word turns on."""
    return Reader("word", f'"{word}", or anything else for no', lambda text: text == word)


def choice(*words: str) -> Reader:
    """Read one of several words; upper and lower case do not matter."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError("there is no such choice")
        return word

    return Reader("word", "one of " + ", ".join(words), parse)


def text() -> Reader:
    """Read a text as it is."""
    return Reader("text", "any text", lambda value: value)


def variable_names() -> Reader:
    """Read the names of environment variables, separated by spaces."""

    def parse(value: str) -> tuple[str, ...]:
        names = tuple(value.split())
        for name in names:
            if not _VARIABLE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of an environment variable")
        return names

    return Reader("names", "names of environment variables, separated by spaces", parse)


def moment() -> Reader:
    """Read an ISO 8601 date, or date and time; UTC where no offset is given."""

    def parse(value: str) -> datetime:
        try:
            when = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError("it is not an ISO 8601 date or time") from None
        if when.tzinfo is None:
            return when.replace(tzinfo=UTC)
        try:
            return when.astimezone(UTC)
        except OverflowError:
            raise ValueError("it lies outside the years 1 to 9999") from None

    return Reader(
        "date or time",
        "an ISO 8601 date or time such as 2026-01-31 or 2026-01-31T12:00:00+02:00",
        parse,
    )


def json_object() -> Reader:
    """Read a JSON object."""

    def parse(value: str) -> Mapping[str, Any]:
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("it is not JSON") from None
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
        return document

    return Reader("JSON", 'a JSON object such as {"pool_size": 0}', parse)


def routing_key() -> Reader:
    """Read the binding key of a queue, which defines the realm of the shard."""

    def parse(value: str) -> str:
        try:
            return Realm.parse(value).routing_key
        except ValueError:
            raise ValueError("it is not the binding key of a shard") from None

    allowed = '"#", or up to 20 groups "0." or "1." and then "#", such as "1.0.#"'
    return Reader("routing key", allowed, parse)


def queue_name() -> Reader:
    """Read the name of a queue."""

    def parse(value: str) -> str:
        size = len(value.encode("utf-8", "surrogateescape"))
        if not value.strip():
            raise ValueError("it is empty")
        if size > QUEUE_NAME_BYTES_MAX:
            raise ValueError(f"it has {size} bytes")
        if value.startswith("amq."):
            raise ValueError('RabbitMQ keeps names that begin with "amq." for itself')
        return value

    allowed = f'1 to {QUEUE_NAME_BYTES_MAX} bytes that do not begin with "amq."'
    return Reader("text", allowed, parse)


def amqp_url() -> Reader:
    """Read where RabbitMQ is, in pika's notation."""

    def parse(value: str) -> str:
        import pika  # Takes longer to import than everything else here.

        _require_scheme(value, ("amqp", "amqps"))
        _require_host(value)
        try:
            pika.URLParameters(value)
        except Exception as error:
            # Its parser raises whatever its many options happen to run into.
            raise ValueError(f"pika cannot read it: {error}") from error
        return value

    return Reader("AMQP URL", "a URL such as amqp://user:password@host:5672/virtual-host", parse)


def postgres_url() -> Reader:
    """Read where the database is: SQLAlchemy's notation, with libpq's options as its query."""

    def parse(value: str) -> str:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        if not value:
            return value
        _require_scheme(value, _POSTGRES_SCHEMES)
        scheme, _, rest = value.partition("://")
        try:
            conninfo_to_dict(f"{scheme.partition('+')[0]}://{rest}")
        except psycopg.Error as error:
            raise ValueError(f"libpq cannot read it: {str(error).strip()}") from None
        return value

    return Reader(
        "PostgreSQL URL",
        "a URL such as postgresql+psycopg://user:password@host:5432/database",
        parse,
    )


def http_url() -> Reader:
    """Read the address of a web server; nothing means that there is none."""

    def parse(value: str) -> str | None:
        if not value:
            return None
        _require_scheme(value, ("http", "https"))
        _require_host(value)
        return value

    return Reader("HTTP URL", "a URL such as http://host:8080", parse)


def _require_scheme(url: str, schemes: tuple[str, ...]) -> None:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"it does not begin with {' or '.join(f'{s}://' for s in schemes)}")


def _require_host(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("its host or its port cannot be read") from None
    if not parts.hostname:
        raise ValueError("it names no host")
    if port == 0:
        raise ValueError("there is no port 0")
