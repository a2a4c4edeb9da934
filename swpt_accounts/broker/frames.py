"""AMQP frames in bulk: bytes to messages, and messages to bytes.

pika makes several objects of each of the three frames of a message, and sends
each frame by itself. Here a read buffer becomes a list of messages, and a page
of messages becomes one buffer. All other frames are left to pika.
"""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pika.spec import FRAME_MAX_SIZE

from swpt_accounts.broker.limits import NO_LIMITS, Cutting, Limits
from swpt_accounts.broker.message import Confirm, Cut, Delivery, Message, Returned
from swpt_accounts.broker.properties import as_bytes, peek, short_string

Content = Delivery | Returned | Confirm

Finish = Callable[[bytes, bytes, Cut | None], Delivery | Returned]
"""Makes the message, when its body and its properties have come."""

_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME_END: Final = 0xCE
_PROTOCOL_HEADER: Final = ord("A")
_PROTOCOL_HEADER_SIZE: Final = 8
_OVERHEAD: Final = 8
"""The bytes of a frame around its payload."""

_BASIC_CLASS: Final = 60
_DELIVER: Final = b"\x00\x3c\x00\x3c"
_RETURN: Final = b"\x00\x3c\x00\x32"
_ACK: Final = b"\x00\x3c\x00\x50"
_NACK: Final = b"\x00\x3c\x00\x78"
_PUBLISH: Final = b"\x00\x3c\x00\x28\x00\x00"

_FRAME: Final = struct.Struct(">BHI")
_NEXT_HEADER: Final = struct.Struct(">BBHIHHQ")
_NEXT_BODY: Final = struct.Struct(">BBHI")
_BODY_SIZE: Final = struct.Struct(">4xQ")
_TAG_AND_BITS: Final = struct.Struct(">QB")
_CODE: Final = struct.Struct(">H")
_SETTLEMENT: Final = struct.Struct(">BHI4sQBB")
_SETTLEMENT_SIZE: Final = 13
_HEADER_PREFIX: Final = 12


class BrokenFrame(Exception):
    """The peer does not speak AMQP 0-9-1, or bytes were lost."""


class FrameReader:
    """Cuts what the broker sends into the messages of one channel, and frames for pika.

    Of a message that has begun, no more is kept than the limits allow, and of
    what was read beyond that less than one frame.
    """

    def __init__(self, channel: int, limits: Limits = NO_LIMITS) -> None:
        self._channel = channel
        self._limits = limits
        self._body_bytes_max, self._properties_bytes_max = limits
        self._rest = b""
        self._finish: Finish | None = None
        self._properties = b""
        self._fragments: list[bytes] = []
        self._missing = 0
        self._cutting: Cutting | None = None

    def feed(self, data: bytes) -> Iterator[Content | bytes]:
        """Yield, in order, the messages and confirms, and as bytes the frames that are not ours.

        Raises `BrokenFrame` if what comes cannot be AMQP.
        """
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while end - at >= _OVERHEAD:
            frame_type, channel, size = _FRAME.unpack_from(buffer, at)
            if frame_type == _PROTOCOL_HEADER:
                yield buffer[at : at + _PROTOCOL_HEADER_SIZE]
                at += _PROTOCOL_HEADER_SIZE
                continue
            last = at + _OVERHEAD - 1 + size
            if last >= end:
                if size > FRAME_MAX_SIZE:
                    raise BrokenFrame(f"the broker has announced a frame of {size} bytes")
                break
            if buffer[last] != _FRAME_END:
                raise BrokenFrame("a frame from the broker does not end where it should")
            frame = buffer[at : last + 1]
            at = last + 1
            item = self._take(frame_type, frame) if channel == self._channel else frame
            if item is not None:
                yield item
        self._rest = buffer[at:]

    def _take(self, frame_type: int, frame: bytes) -> Content | bytes | None:
        """Return the frame itself if it is none of ours, and a message when it is complete."""
        if frame_type == _METHOD:
            read = _READERS.get(frame[7:11])
            if read is None:
                return frame
            begun = read(frame)
            if isinstance(begun, Confirm):
                return begun
            self._finish = begun
            return None
        if self._finish is None:
            return frame
        if frame_type == _BODY:
            self._missing -= len(frame) - _OVERHEAD
            if self._missing < 0:
                raise BrokenFrame("a message from the broker is longer than announced")
            if self._cutting is None:
                self._fragments.append(frame[7:-1])
            else:
                self._cutting.add(memoryview(frame)[7:-1])
        elif frame_type == _HEADER:
            (size,) = _BODY_SIZE.unpack_from(frame, 7)
            properties = frame[7 + _HEADER_PREFIX : -1]
            if size > self._body_bytes_max or len(properties) > self._properties_bytes_max:
                self._cutting = Cutting(self._limits, size, properties)
            else:
                self._properties = properties
            self._missing = size
        else:
            return frame
        return None if self._missing else self._complete(self._finish)

    def _complete(self, finish: Finish) -> Content:
        self._finish = None
        if self._cutting is not None:
            cutting, self._cutting = self._cutting, None
            return finish(cutting.body, cutting.properties, cutting.cut())
        fragments = self._fragments
        if len(fragments) == 1:
            return finish(fragments.pop(), self._properties, None)
        self._fragments = []
        return finish(b"".join(fragments), self._properties, None)


def _read_deliver(frame: bytes) -> Finish:
    at = 12 + frame[11]
    tag, redelivered = _TAG_AND_BITS.unpack_from(frame, at)
    exchange, at = _read_string(frame, at + 9)
    routing_key, _ = _read_string(frame, at)
    return partial(_delivery, tag, redelivered == 1, exchange, routing_key)


def _delivery(
    tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: bytes,
    cut: Cut | None,
) -> Delivery:
    content_type, message_type = peek(properties)
    return Delivery(
        tag, redelivered, exchange, routing_key, content_type, message_type, body, properties, cut
    )


def _read_return(frame: bytes) -> Finish:
    (code,) = _CODE.unpack_from(frame, 11)
    text, at = _read_string(frame, 13)
    exchange, at = _read_string(frame, at)
    routing_key, _ = _read_string(frame, at)
    return partial(_returned, f"{code} {text}", exchange, routing_key)


def _returned(
    reason: str, exchange: str, routing_key: str, body: bytes, properties: bytes, _cut: Cut | None
) -> Returned:
    return Returned(reason, exchange, routing_key, body, properties)


def _read_ack(frame: bytes) -> Confirm:
    sequence_number, bits = _TAG_AND_BITS.unpack_from(frame, 11)
    return Confirm(sequence_number, multiple=bits & 1 == 1, accepted=True)


def _read_nack(frame: bytes) -> Confirm:
    sequence_number, bits = _TAG_AND_BITS.unpack_from(frame, 11)
    return Confirm(sequence_number, multiple=bits & 1 == 1, accepted=False)


_READERS: Final[dict[bytes, Callable[[bytes], Finish | Confirm]]] = {
    _DELIVER: _read_deliver,
    _RETURN: _read_return,
    _ACK: _read_ack,
    _NACK: _read_nack,
}


def _read_string(frame: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + frame[at]
    return frame[at + 1 : end].decode("utf-8", "replace"), end


def encode_publish(channel: int, message: Message, frame_size_max: int) -> bytes:
    """Return all frames of a message; raises `ValueError` if AMQP has no form for it."""
    exchange = short_string(message.exchange)
    routing_key = short_string(message.routing_key)
    properties = as_bytes(message.properties)
    body = message.body
    header_size = _HEADER_PREFIX + len(properties)
    if header_size + _OVERHEAD > frame_size_max:
        raise ValueError(
            f"the properties take {len(properties)} bytes, but must fit into one frame of"
            f" {frame_size_max} bytes"
        )
    method_size = len(_PUBLISH) + len(exchange) + len(routing_key) + 1
    pieces = [
        _FRAME.pack(_METHOD, channel, method_size),
        _PUBLISH,
        exchange,
        routing_key,
        b"\x01" if message.mandatory else b"\x00",
        _NEXT_HEADER.pack(_FRAME_END, _HEADER, channel, header_size, _BASIC_CLASS, 0, len(body)),
        properties,
    ]
    fragment_size_max = frame_size_max - _OVERHEAD
    for start in range(0, len(body), fragment_size_max):
        fragment = body[start : start + fragment_size_max]
        pieces.append(_NEXT_BODY.pack(_FRAME_END, _BODY, channel, len(fragment)))
        pieces.append(fragment)
    pieces.append(b"\xce")
    return b"".join(pieces)


def encode_ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return the frame that acks a delivery, or all deliveries up to it."""
    return _SETTLEMENT.pack(
        _METHOD, channel, _SETTLEMENT_SIZE, _ACK, tag, 1 if multiple else 0, _FRAME_END
    )


def encode_requeue_all(channel: int) -> bytes:
    """Return the frame that returns all deliveries of the channel that are not settled."""
    return _SETTLEMENT.pack(_METHOD, channel, _SETTLEMENT_SIZE, _NACK, 0, 3, _FRAME_END)
