"""Pages of messages, published together, and confirmed one by one."""

import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from pika.channel import Channel

from swpt_accounts.broker.confirms import CONFIRMED, InFlight, Outcome, Page, Verdict
from swpt_accounts.broker.connection import CHANNEL_NUMBER, BrokerLost, ConnectionThread
from swpt_accounts.broker.frames import Content, encode_publish
from swpt_accounts.broker.message import Confirm, Message, Returned

__all__ = ["CONFIRMED", "Message", "Outcome", "Publication", "Publisher", "Verdict"]

UNCONFIRMED_MAX: Final = 2000
"""So many messages may wait for their confirms; more would only add to the latency."""

UNCONFIRMED_BYTES_MAX: Final = 16 * 1024 * 1024
"""So many bytes may wait for their confirms, or to be sent (one message may have more)."""

_SEND_BYTES: Final = 128 * 1024


class _SentPage(Page):
    """A page, the frames of it that are not sent yet, and who waits for it."""

    def __init__(self, messages: Sequence[Message], frames: list[bytes]) -> None:
        super().__init__(messages, [len(frame) for frame in frames])
        self.frames = frames
        self.sent_count = 0
        self.done = threading.Event()


class Publisher:
    """Publishes over one connection, from `start` to `stop` or `BrokerLost`.

    Several threads may publish at the same time; their pages then follow each
    other over the wire without waiting for each other's confirms.
    """

    def __init__(self, url: str, *, confirm_timeout_seconds: float) -> None:
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._lock = threading.Lock()
        self._pages: set[_SentPage] = set()
        self._unsent: deque[_SentPage] = deque()
        self._in_flight = InFlight()
        self._news_count = 0
        self._frame_size_max = 0
        self._connection = ConnectionThread(
            url,
            "publisher",
            prepare=self._select_confirms,
            on_content=self._on_content,
            on_lost=self._on_lost,
        )

    def start(self) -> None:
        """Connect; raises `BrokerLost`."""
        self._connection.start()

    def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """Publish, wait until the broker has told what became of each message, and return that.

        A message that AMQP has no form for counts as refused, and is not sent.
        Raises `BrokerLost` if the connection is lost or blocked for too long,
        or no confirm comes for `confirm_timeout_seconds`: each of the messages
        may then have arrived or not.
        """
        return self.begin(messages).outcomes()

    def begin(self, messages: Sequence[Message]) -> "Publication":
        """Publish, but wait for nothing yet. Raises `BrokerLost`."""
        assert self._frame_size_max, "the publisher has not been started"
        outcomes: dict[int, Outcome] = {}
        frames = []
        for index, message in enumerate(messages):
            try:
                frames.append(encode_publish(CHANNEL_NUMBER, message, self._frame_size_max))
            except ValueError as error:
                outcomes[index] = Outcome(Verdict.REFUSED, f"it cannot be encoded: {error}")
        sendable = (
            [m for i, m in enumerate(messages) if i not in outcomes] if outcomes else messages
        )
        return Publication(self, self._post(sendable, frames), len(messages), outcomes)

    def messages_count(self, queue: str) -> int:
        """Ask how many messages stand in a queue, those delivered not counted.

        Raises `BrokerLost`, also when there is no such queue.
        """
        answer = self._connection.ask(
            lambda channel, reply: channel.queue_declare(queue, passive=True, callback=reply)
        )
        count: int = answer.message_count
        return count

    def stop(self) -> None:
        """Disconnect. Whoever still waits for confirms gets `BrokerLost`."""
        self._connection.stop()

    def _post(self, messages: Sequence[Message], frames: list[bytes]) -> _SentPage:
        page = _SentPage(messages, frames)
        if not messages:
            page.done.set()
            return page
        with self._lock:
            self._pages.add(page)
        try:
            self._connection.post(partial(self._send, page))
        except BrokerLost:
            self._forget(page)
            raise
        return page

    def _forget(self, page: _SentPage) -> None:
        with self._lock:
            self._pages.discard(page)

    def _wait(self, page: _SentPage) -> None:
        connection = self._connection
        seen_count = self._news_count
        while not page.done.wait(self._confirm_timeout_seconds):
            if seen_count == self._news_count:
                connection.fail(f"no confirm for {self._confirm_timeout_seconds:g} seconds")
                break
            seen_count = self._news_count
        if page.unsettled_count:
            raise BrokerLost(
                f"{connection.lost()}. Of {len(page.messages)} messages"
                f" {page.unsettled_count} are unconfirmed: they may have arrived or not"
            )

    def _on_lost(self) -> None:
        with self._lock:
            pages = list(self._pages)
        for page in pages:
            page.done.set()

    # What follows runs on the connection's thread.

    def _select_confirms(self, channel: Channel) -> None:
        def on_selected(_frame: object) -> None:
            self._frame_size_max = self._connection.frame_size_max
            self._connection.ready()

        channel.confirm_delivery(_never_called, callback=on_selected)

    def _send(self, page: _SentPage) -> None:
        self._unsent.append(page)
        self._send_some()

    def _send_some(self) -> None:
        """Send as much as may be in flight, in few big pieces."""
        while self._unsent:
            page = self._unsent[0]
            first = page.sent_count
            size = 0
            while page.sent_count < len(page.frames) and self._has_room(
                page.sent_count - first, size
            ):
                size += page.sizes[page.sent_count]
                page.sent_count += 1
            if page.sent_count == first:
                return
            if not first:
                self._in_flight.begin(page)
            self._in_flight.sent(page.sent_count - first, size)
            self._connection.send(b"".join(page.frames[first : page.sent_count]))
            if page.sent_count == len(page.frames):
                page.frames = []
                self._unsent.popleft()

    def _has_room(self, count: int, size: int) -> bool:
        in_flight = self._in_flight
        if in_flight.unsettled_count + count == 0:
            return True
        return (
            size < _SEND_BYTES
            and in_flight.unsettled_count + count < UNCONFIRMED_MAX
            and in_flight.unsettled_bytes + size < UNCONFIRMED_BYTES_MAX
        )

    def _on_content(self, content: list[Content]) -> None:
        for item in content:
            if isinstance(item, Confirm):
                self._in_flight.take_confirm(item)
            elif isinstance(item, Returned):
                self._in_flight.take_returned(item)
        self._news_count += len(content)
        for page in self._in_flight.take_complete():
            assert isinstance(page, _SentPage)
            page.done.set()
        if self._unsent:
            self._send_some()


class Publication:
    """Messages that were published together. Made by `Publisher.begin`."""

    def __init__(
        self, publisher: Publisher, page: _SentPage, count: int, refused: dict[int, Outcome]
    ) -> None:
        self._publisher = publisher
        self._page = page
        self._count = count
        self._refused = refused

    def is_settled(self, wait_seconds: float = 0.0) -> bool:
        """Tell whether `outcomes` would not have to wait, if need be after so many seconds."""
        return self._page.done.wait(wait_seconds)

    def outcomes(self) -> list[Outcome]:
        """Return what became of the messages, in their order; see `Publisher.publish`."""
        try:
            self._publisher._wait(self._page)  # noqa: SLF001 - the other half of the same thing
        finally:
            self._publisher._forget(self._page)  # noqa: SLF001 - the same
        published = iter(self._page.outcomes())
        return [self._refused.get(index) or next(published) for index in range(self._count)]


def _never_called(*_arguments: object) -> None:
    raise AssertionError("confirms go past pika's own dispatch")
