"""AMQP properties as bytes: written quickly, read without trusting who wrote them.

The codec of pika costs more than everything else that happens to a message,
and it fails on headers that RabbitMQ lets pass (an infinite float, a time stamp
in the year 300000, ten thousand nested tables), which would end the connection
again and again. So the two properties that every message is judged by are read
without looking at the headers, which are decoded only when somebody asks.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import pika
import pika.exceptions

HeaderValue = str | int | bool

SHORT_STRING_BYTES_MAX: Final = 255
NO_PROPERTIES: Final = b"\x00\x00"

_CONTENT_TYPE: Final = 1 << 15
_CONTENT_ENCODING: Final = 1 << 14
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_PRIORITY: Final = 1 << 11
_TIMESTAMP: Final = 1 << 6
_TYPE: Final = 1 << 5
_APP_ID: Final = 1 << 3
_MORE_FLAGS: Final = 1

# From the delivery mode to the type, in the order in which they follow the headers.
_SHORT_STRINGS_BEFORE_TIMESTAMP: Final = (1 << 10, 1 << 9, 1 << 8, 1 << 7)

_PERSISTENT: Final = b"\x02"
_FLAGS: Final = struct.Struct(">H")
_TABLE_SIZE: Final = struct.Struct(">I")
_INT32: Final = struct.Struct(">ci")
_INT64: Final = struct.Struct(">cq")
_STRING_SIZE: Final = struct.Struct(">cI")

_WRITTEN_FLAGS: Final = _FLAGS.pack(
    _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _TYPE | _APP_ID,
)

_DECODING_ERRORS: Final = (
    ArithmeticError,  # not a number, infinite, or beyond the calendar
    OSError,  # beyond the calendar of the C library
    IndexError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    pika.exceptions.AMQPError,
)


@lru_cache(maxsize=4096)
def short_string(value: str) -> bytes:
    """Return the AMQP form of a short string; raises `ValueError` beyond 255 bytes."""
    encoded = value.encode()
    if len(encoded) > SHORT_STRING_BYTES_MAX:
        raise ValueError(
            f"AMQP allows {SHORT_STRING_BYTES_MAX} bytes for a name, key or property,"
            f" but {value[:40]!r}... has {len(encoded)}"
        )
    return bytes((len(encoded),)) + encoded


def encode_properties(
    content_type: str, message_type: str, app_id: str, headers: Mapping[str, HeaderValue]
) -> bytes:
    """Return the properties of a persistent message, ready for `Message.properties`.

    Raises `ValueError` for integers beyond 64 bits and for names beyond 255 bytes.
    """
    pieces = []
    for name, value in headers.items():
        pieces.append(short_string(name))
        pieces.append(_header_value(value))
    table = b"".join(pieces)
    return b"".join(
        (
            _WRITTEN_FLAGS,
            short_string(content_type),
            _TABLE_SIZE.pack(len(table)),
            table,
            _PERSISTENT,
            short_string(message_type),
            short_string(app_id),
        )
    )


def _header_value(value: HeaderValue) -> bytes:
    if isinstance(value, str):
        encoded = value.encode()
        return _STRING_SIZE.pack(b"S", len(encoded)) + encoded
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _INT32.pack(b"I", value)
    try:
        return _INT64.pack(b"l", value)
    except struct.error:
        raise ValueError(f"the header value {value} does not fit into 64 bits") from None


def as_bytes(properties: pika.BasicProperties | bytes) -> bytes:
    """Return the properties as they go over the wire; raises `ValueError` if AMQP has no form."""
    if isinstance(properties, bytes):
        return properties
    try:
        return b"".join(properties.encode())
    except (AssertionError, *_DECODING_ERRORS) as error:
        raise ValueError(f"the properties have no AMQP form: {error!r}") from error


def peek(encoded: bytes) -> tuple[str | None, str | None]:
    """Return (content type, message type) of encoded properties, `None` where there is none.

    Bytes that are not UTF-8 are replaced, which no valid value survives.
    """
    try:
        (flags,) = _FLAGS.unpack_from(encoded)
        if flags & _MORE_FLAGS:
            return None, None
        content_type = None
        at = 2
        if flags & _CONTENT_TYPE:
            content_type, at = _read_short_string(encoded, at)
        if not flags & _TYPE:
            return content_type, None
        message_type, _ = _read_short_string(encoded, _position_of_type(encoded, flags, at))
    except (IndexError, struct.error):
        return None, None
    return content_type, message_type


def _read_short_string(encoded: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + encoded[at]
    return encoded[at + 1 : end].decode("utf-8", "replace"), end


def _position_of_type(encoded: bytes, flags: int, at: int) -> int:
    """Return where the type stands, `at` being the end of the content type."""
    if flags & _CONTENT_ENCODING:
        at += 1 + encoded[at]
    if flags & _HEADERS:
        at += 4 + _TABLE_SIZE.unpack_from(encoded, at)[0]
    if flags & _DELIVERY_MODE:
        at += 1
    if flags & _PRIORITY:
        at += 1
    for flag in _SHORT_STRINGS_BEFORE_TIMESTAMP:
        if flags & flag:
            at += 1 + encoded[at]
    if flags & _TIMESTAMP:
        at += 8
    return at


def decode_properties(encoded: bytes) -> tuple[pika.BasicProperties, bool]:
    """Return the properties, and whether all of them could be decoded.

    Never raises. Headers that cannot be decoded are left out; if the rest
    cannot be decoded either, the properties are empty.
    """
    try:
        return pika.BasicProperties().decode(encoded), True
    except _DECODING_ERRORS:
        pass
    try:
        return pika.BasicProperties().decode(_without_headers(encoded)), False
    except _DECODING_ERRORS:
        return pika.BasicProperties(), False


def shortened(encoded: bytes, size_max: int) -> bytes:
    """Return the properties without their headers, or none at all if these are still too long.

    Never raises.
    """
    try:
        short = _without_headers(encoded)
    except (IndexError, struct.error):
        return NO_PROPERTIES
    return short if len(short) <= size_max else NO_PROPERTIES


def _without_headers(encoded: bytes) -> bytes:
    (flags,) = _FLAGS.unpack_from(encoded)
    if not flags & _HEADERS:
        return encoded
    at = 2
    for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
        if flags & flag:
            at += 1 + encoded[at]
    after = at + 4 + _TABLE_SIZE.unpack_from(encoded, at)[0]
    return _FLAGS.pack(flags & ~_HEADERS) + encoded[2:at] + encoded[after:]
