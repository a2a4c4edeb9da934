"""A body of JSON to a command, or the reason why it is none."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, get_args

import msgspec

CONTENT_TYPE: Final = "application/json"

# The longest valid message has a `config_data` of 2000 bytes, each written
# as a six-character escape, and less than a thousand bytes of other fields.
# The rest is for unknown fields that later versions may add.
BODY_BYTES_MAX: Final = 32 * 1024

_REASON_LENGTH_MAX: Final = 300

T = TypeVar("T")


class Malformed(Exception):
    """A delivery that cannot be what it says it is; `str()` is the reason."""


class Decoding(Generic[T]):
    """Decodes messages of several types.

    `commands` is the union of their structs; `checks` has, for some of them, a
    function that returns the command in its final form, or raises `Malformed`.
    """

    def __init__(self, commands: Any, checks: Mapping[type, Callable[[Any], T]]) -> None:
        self.message_types = tuple(command.__name__ for command in get_args(commands))
        # A union has to be told apart, so its decoder insists on the property `type`.
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(commands)
        self._checks = dict(checks)

    def decode(self, message_type: str | None, content_type: str | None, body: bytes) -> T:
        """Return the command that a delivery carries.

        `message_type` and `content_type` are the AMQP properties. Raises
        `Malformed`, and nothing else, whatever the bytes are.
        """
        if content_type != CONTENT_TYPE:
            raise Malformed(f"the content type is {shown(content_type)}, not {CONTENT_TYPE!r}")
        if message_type not in self.message_types:
            allowed = ", ".join(self.message_types)
            raise Malformed(f"the message type is {shown(message_type)}, not one of {allowed}")
        if len(body) > BODY_BYTES_MAX:
            raise Malformed(f"the body has {len(body)} bytes, more than {BODY_BYTES_MAX}")
        try:
            if not body.isascii():
                body.decode()  # Unknown properties are not looked at by the decoder.
            command = self._decoder.decode(body)
            if type(command).__name__ != message_type:
                raise Malformed(
                    f"the property `type` is {type(command).__name__!r}, but the message was sent"
                    f" as a {message_type}"
                )
            check = self._checks.get(type(command))
            return command if check is None else check(command)
        except UnicodeDecodeError as error:
            raise Malformed(
                f"the body is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
        except RecursionError:
            raise Malformed("the body is nested too deeply") from None
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise Malformed(f"the body is not a {message_type}: {_printable(str(error))}") from None


def shown(value: object) -> str:
    """Return a value that came with a message as an error can show it."""
    return ascii(value)[:_REASON_LENGTH_MAX]


def in_utc(field: str, moment: datetime) -> datetime:
    """Return the moment in UTC; raise `Malformed` when UTC has no such year."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Malformed(f"`{field}` is {moment.isoformat()}, which has no date in UTC") from None


def require_text(field: str, text: str, bytes_max: int) -> None:
    """Raise `Malformed` for a text that the database cannot hold."""
    if "\0" in text:
        raise Malformed(f"`{field}` contains a NUL character")
    if not text.isascii() and len(text.encode()) > bytes_max:
        raise Malformed(f"`{field}` has more than {bytes_max} bytes of UTF-8")


def require_ascii(field: str, text: str) -> None:
    """Raise `Malformed` for a text that is not plain ASCII."""
    if not text.isascii() or "\0" in text:
        raise Malformed(f"`{field}` is {shown(text)}, but may only have ASCII characters, no NUL")


def _printable(text: str) -> str:
    """Return a text that may quote the message as it can be written into one line of a log."""
    printable = text if text.isprintable() else text.encode("unicode_escape").decode()
    return printable[:_REASON_LENGTH_MAX]
