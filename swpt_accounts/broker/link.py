"""pika's connection, with the messages of one channel read and written in bulk.

The only place that relies on what pika keeps to itself (`pyproject.toml` pins
the minor version for its sake, and `tests/broker/test_link.py` tells when that
has changed): where received bytes come in, where bytes to be sent go out, and
how a stream is dropped without farewell.
"""

from collections.abc import Callable
from typing import Any, Final

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.exceptions import AMQPConnectionError
from pika.frame import decode_frame

from swpt_accounts.broker.frames import Content, FrameReader
from swpt_accounts.broker.limits import Limits

READ_BYTES_MAX: Final = 65_536
"""So much is read at once; pika's 4,096 bytes hold only some six messages."""


class Link(SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that hands over messages and confirms as lists, as they come."""

    def __init__(
        self,
        parameters: pika.URLParameters,
        ioloop: IOLoop,
        channel_number: int,
        limits: Limits,
        *,
        on_open: Callable[["Link"], None],
        on_content: Callable[[list[Content]], None],
        on_defect: Callable[[Exception], None],
        on_end: Callable[[BaseException], None],
    ) -> None:
        self._reader = FrameReader(channel_number, limits)
        self._on_content = on_content
        self._on_defect = on_defect
        super().__init__(
            parameters,
            on_open_callback=on_open,
            on_open_error_callback=lambda _connection, error: on_end(error),
            on_close_callback=lambda _connection, error: on_end(error),
            custom_ioloop=ioloop,
        )

    @property
    def frame_size_max(self) -> int:
        """The greatest frame, in bytes, that both sides have agreed on."""
        size: int = self.params.frame_max
        return size

    def send(self, frames: bytes) -> None:
        """Send encoded frames, in as few packets as they need."""
        self._output_marshaled_frames([frames])

    def abort(self) -> None:
        """Drop the connection without farewell."""
        self._terminate_stream(AMQPConnectionError("dropped by this process"))

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = READ_BYTES_MAX  # noqa: SLF001 - pika offers no setting for it
        super()._proto_connection_made(transport)

    def _on_data_available(self, data_in: bytes) -> None:
        self.bytes_received += len(data_in)
        try:
            self._dispatch(data_in)
        except Exception as error:
            # pika logs it and drops the connection, but would forget what it was.
            self._on_defect(error)
            raise

    def _dispatch(self, data: bytes) -> None:
        content: list[Content] = []
        for item in self._reader.feed(data):
            if not isinstance(item, bytes):
                content.append(item)
                continue
            if content:
                self._on_content(content)
                content = []
            _, frame = decode_frame(item)
            self._process_frame(frame)
        if content:
            self._on_content(content)
