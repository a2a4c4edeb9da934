"""Messages published together, and confirmed one by one."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final

from pika.channel import Channel

from swpt_accounts.broker.confirms import (
    CONFIRMED,
    InFlight,
    Outcome,
    Posted,
    Verdict,
)
from swpt_accounts.broker.connection import CHANNEL_NUMBER, BrokerLost, ConnectionThread
from swpt_accounts.broker.frames import Content, encode_publish
from swpt_accounts.broker.message import Confirm, Message, Returned

__all__ = ["CONFIRMED", "Message", "Outcome", "Outcomes", "Publisher", "Verdict"]

UNCONFIRMED_MAX: Final = 8000
"""So many messages may wait for their confirms; more would only add to the latency."""

UNCONFIRMED_BYTES_MAX: Final = 16 * 1024 * 1024
"""So many bytes may wait for their confirms, or to be sent (one message may have more)."""

_SEND_BYTES: Final = 128 * 1024

_LOOK_SECONDS: Final = 0.1
"""How long it goes unnoticed that nobody waits any more."""

CANARY: Final = Message("", "swpt_accounts.no_such_queue", b"", b"\x00\x00", mandatory=False)
"""Goes nowhere, which a broker that works confirms at once."""


class Publisher:
    """Publishes over one connection, from `start` to `stop` or `BrokerLost`.

    Several threads may publish at the same time; their messages then follow each
    other over the wire without waiting for each other's confirms.
    """

    def __init__(self, url: str, *, confirm_timeout_seconds: float) -> None:
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._news = threading.Condition()
        self._unsent: deque[Posted] = deque()
        self._in_flight = InFlight()
        self._frame_size_max = 0
        self._connection = ConnectionThread(
            url,
            "publisher",
            prepare=self._select_confirms,
            on_content=self._on_content,
            on_lost=self._on_lost,
        )

    def start(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Connect; raises `BrokerLost`, also when this is not wanted any more."""
        self._connection.start(is_wanted)

    def publish(self, messages: Sequence[Message], seconds: float | None = None) -> list[Outcome]:
        """Publish, wait until the broker has told what became of each message, and return that.

        A message that AMQP has no form for counts as refused, and is not sent.
        Raises `BrokerLost` if the connection is lost or blocked for too long,
        or if for `seconds`, or else `confirm_timeout_seconds`, nothing is told
        about any of them: each may then have arrived or not.
        """
        limit = self._confirm_timeout_seconds if seconds is None else seconds
        outcomes = self.outcomes()
        told: dict[int, Posted] = {}
        self.begin(messages, range(len(messages)), outcomes)
        while len(told) < len(messages):
            settled = outcomes.take(limit)
            if not settled:
                self._connection.fail(f"no confirm for {limit:g} seconds")
            told.update((posted.token, posted) for posted in settled)
        return [told[index].outcome for index in range(len(messages))]

    def outcomes(self) -> "Outcomes":
        """Return what will tell the outcomes of messages that are given to `begin` with it."""
        return Outcomes(self._connection, self._news)

    def begin(
        self, messages: Sequence[Message], tokens: Iterable[Any], outcomes: "Outcomes"
    ) -> None:
        """Publish, but wait for nothing: `outcomes` will tell, each with its message's token.

        Raises `BrokerLost`.
        """
        assert self._frame_size_max, "the publisher has not been started"
        page = []
        refused = []
        for message, token in zip(messages, tokens, strict=True):
            try:
                frames = encode_publish(CHANNEL_NUMBER, message, self._frame_size_max)
            except ValueError as error:
                outcome = Outcome(Verdict.REFUSED, f"it cannot be encoded: {error}")
                refused.append(Posted(message, b"", token, outcomes, 0, outcome))
            else:
                page.append(Posted(message, frames, token, outcomes, len(frames)))
        with self._news:
            outcomes.awaited_count += len(messages)
            outcomes.add(refused)
        if page:
            self._connection.post(partial(self._send, page))

    def prove(self, seconds: float, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Have the broker confirm a message that goes nowhere.

        Raises `BrokerLost` if it does not, within so many seconds, or if this is
        not wanted any more.
        """
        outcomes = self.outcomes()
        self.begin([CANARY], [None], outcomes)
        deadline = time.monotonic() + seconds
        while not outcomes.take(_LOOK_SECONDS):
            if not is_wanted():
                self._connection.fail("nobody waits for it any more")
            elif time.monotonic() >= deadline:
                self._connection.fail(
                    self.blocked_reason
                    or f"it has not confirmed a message that goes nowhere for {seconds:g} seconds"
                )

    @property
    def blocked_reason(self) -> str:
        """Why the broker reads nothing from this connection for now; empty when it does."""
        return self._connection.blocked_reason

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

    def drop(self, reason: str) -> None:
        """Disconnect without farewell, as from a broker that does not answer."""
        self._connection.drop(reason)

    def _on_lost(self) -> None:
        with self._news:
            self._news.notify_all()

    # What follows runs on the connection's thread.

    def _select_confirms(self, channel: Channel) -> None:
        def on_selected(_frame: object) -> None:
            self._frame_size_max = self._connection.frame_size_max
            self._connection.ready()

        channel.confirm_delivery(_never_called, callback=on_selected)

    def _send(self, page: list[Posted]) -> None:
        self._unsent.extend(page)
        self._send_some()

    def _send_some(self) -> None:
        """Send as much as may be in flight, in few big pieces."""
        unsent = self._unsent
        while unsent:
            piece: list[Posted] = []
            size = 0
            while unsent and self._has_room(len(piece), size):
                posted = unsent.popleft()
                size += posted.size
                piece.append(posted)
            if not piece:
                return
            self._in_flight.sent(piece)
            self._connection.send(b"".join([posted.frames for posted in piece]))
            for posted in piece:
                posted.frames = b""

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
        settled = self._in_flight.take_settled()
        if settled:
            with self._news:
                for owner, group in groupby(settled, lambda posted: posted.owner):
                    owner.add(list(group))
        if self._unsent:
            self._send_some()


class Outcomes:
    """What becomes of messages, told as soon as the broker does, in any order.

    For the messages of any number of calls of `Publisher.begin`, on the publisher that made this.
    """

    def __init__(self, connection: ConnectionThread, news: threading.Condition) -> None:
        """`news` is the lock that the publisher holds when it tells something."""
        self._connection = connection
        self._news = news
        self._settled: list[Posted] = []
        self._enough = 0
        self.awaited_count = 0

    def add(self, settled: list[Posted]) -> None:
        """Tell outcomes; to be called by the publisher, which holds the lock."""
        self._settled += settled
        self.awaited_count -= len(settled)
        if self._enough and self._has_enough():
            self._news.notify_all()

    def take(self, seconds: float, enough: int = 1) -> list[Posted]:
        """Return what was settled since the last time, each with its outcome.

        Waits for at most so long until there are enough of them, or all. Raises
        `BrokerLost` when the connection is lost, but not before everything was
        returned that the broker had told until then.
        """
        with self._news:
            self._enough = enough
            self._news.wait_for(lambda: self._connection.is_lost or self._has_enough(), seconds)
            self._enough = 0
            settled, self._settled = self._settled, []
        if not settled and self._connection.is_lost and self.awaited_count:
            raise BrokerLost(
                f"{self._connection.lost()}. {self.awaited_count} messages are unconfirmed:"
                " they may have arrived or not"
            ) from self._connection.lost().__cause__
        return settled

    def _has_enough(self) -> bool:
        return len(self._settled) >= self._enough or not self.awaited_count


def _never_called(*_arguments: object) -> None:
    raise AssertionError("confirms go past pika's own dispatch")
