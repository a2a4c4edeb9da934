"""Batches of deliveries: what is there is taken at once, and settled with one word."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from pika.channel import Channel

from swpt_accounts.broker.connection import BrokerLost, ConnectionThread
from swpt_accounts.broker.frames import Content
from swpt_accounts.broker.limits import BODY_BYTES_MAX, PROPERTIES_BYTES_MAX, Limits
from swpt_accounts.broker.message import Delivery
from swpt_accounts.broker.settlement import Settlement

__all__ = ["Consumer", "Delivery"]

WATCH_SECONDS: Final = 60.0
"""So often a silent queue is looked at; two looks in vain, and the connection is renewed."""

_NOBODY_WAITS: Final = sys.maxsize

_CURE: Final = (
    "`swpt_accounts configure` declares the queues of a node, and `swpt_accounts subscribe` the"
    " one that receives messages"
)


class Consumer:
    """Receives from one queue over one connection, from `start` to `stop` or `BrokerLost`.

    One thread takes and settles; `wake` and `stop` may be called from others.
    Not more than `prefetch_count` deliveries are here at any time; twice the
    batch size keeps the next batch ready while one is worked on. What each of
    them takes in memory is bounded too: longer bodies and properties are not
    kept (`Delivery.cut`). `arguments` are those that AMQP passes to the queue,
    as a stream needs them.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        *,
        prefetch_count: int,
        body_bytes_max: int = BODY_BYTES_MAX,
        properties_bytes_max: int = PROPERTIES_BYTES_MAX,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._queue = queue
        self._prefetch_count = prefetch_count
        self._arguments = dict(arguments or {})
        self._ready: deque[Delivery] = deque()
        # Its lock can be taken again by the thread that has it, so a signal handler may `wake`.
        self._condition = threading.Condition(threading.RLock())
        self._wanted_count = _NOBODY_WAITS
        self._is_woken = False
        self._deliveries_count = 0
        self._connection = ConnectionThread(
            url,
            f"consumer-{queue}",
            prepare=self._consume,
            on_content=self._on_content,
            on_lost=self._notify,
            limits=Limits(body_bytes_max, properties_bytes_max),
        )
        self._settlement = Settlement(self._connection)
        # Names the subscription; empty while there is none.
        self._consumer_tag = ""
        self._is_waiting_for_room = False

    def start(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Connect and begin to receive.

        Raises `BrokerLost`, also when there is no such queue, or when this is not
        wanted any more.
        """
        try:
            self._connection.start(is_wanted)
        except BrokerLost as lost:
            if not lost.is_not_found:
                raise
            raise BrokerLost(
                f"there is no queue {self._queue!r} at {self._connection.address}: {_CURE}"
            ) from lost.__cause__

    def take(
        self, count_max: int, wait_seconds: float, gather_seconds: float = 0.0
    ) -> list[Delivery]:
        """Return what is there, as soon as there is something, at most `count_max` deliveries.

        Before `gather_seconds` have passed, only when there are so many. Empty after
        `wait_seconds`, or when woken. Raises `BrokerLost`.
        """
        ready = self._ready
        if gather_seconds and len(ready) < count_max:
            self._wait(count_max, gather_seconds)
        if not ready:
            self._wait(1, wait_seconds)
        if self._connection.is_lost:
            raise self._connection.lost()
        return [ready.popleft() for _ in range(min(count_max, len(ready)))]

    def settle(self, accepted: Sequence[int]) -> None:
        """Ack the tags. Does not wait for the broker; raises `BrokerLost` if it is gone."""
        accepted = tuple(accepted)

        def settle() -> None:
            self._settlement.ack(accepted)
            if self._is_waiting_for_room:
                self._subscribe_again()

        self._connection.post(settle)

    def pause(self) -> None:
        """Cancel the subscription; what is here, or already on its way, stays to be settled.

        The broker bears it for half an hour. Raises `BrokerLost`.
        """
        self._connection.post(self._unsubscribe)

    def resume(self) -> None:
        """Subscribe again, as soon as no more than a quarter of the window is unsettled.

        So no number of pauses can make what is here grow without limit. Raises
        `BrokerLost`; if the queue is gone by then, `take` raises it.
        """
        self._connection.post(self._subscribe_again)

    def messages_count(self) -> int:
        """Ask how many messages stand in the queue, those delivered not counted.

        For a stream this is how many it has, by a count some seconds old.
        Raises `BrokerLost`.
        """
        answer = self._connection.ask(
            lambda channel, reply: channel.queue_declare(self._queue, passive=True, callback=reply)
        )
        count: int = answer.message_count
        return count

    def wake(self) -> None:
        """Have `take` return, now if it waits, or else as soon as it would wait."""
        with self._condition:
            self._is_woken = True
            self._condition.notify_all()

    def stop(self) -> None:
        """Stop receiving, tell the broker what is settled, return all the rest, disconnect."""
        self._connection.stop(self._leave)
        self._ready.clear()

    def _wait(self, count: int, seconds: float) -> None:
        with self._condition:
            self._wanted_count = count
            self._condition.wait_for(self._has_news, seconds)
            self._wanted_count = _NOBODY_WAITS
            if not self._ready:
                self._is_woken = False

    def _has_news(self) -> bool:
        is_enough = len(self._ready) >= self._wanted_count
        return is_enough or self._is_woken or self._connection.is_lost

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    # What follows runs on the connection's thread.

    def _consume(self, channel: Channel) -> None:
        channel.add_on_cancel_callback(self._on_cancel)
        channel.basic_qos(prefetch_count=self._prefetch_count, callback=lambda _frame: None)
        self._subscribe(channel, lambda _frame: self._connection.ready())
        if not self._arguments:
            self._watch(self._deliveries_count, 0)

    def _subscribe(self, channel: Channel, on_subscribed: Callable[[Any], None]) -> None:
        self._consumer_tag = channel.basic_consume(
            self._queue,
            on_message_callback=_never_called,
            arguments=self._arguments,
            callback=on_subscribed,
        )

    def _subscribe_again(self) -> None:
        channel = self._connection.channel
        if self._consumer_tag or not channel.is_open:
            return
        has_room = self._settlement.outstanding_count <= self._prefetch_count // 4
        self._is_waiting_for_room = not has_room
        if has_room:
            self._subscribe(channel, lambda _frame: None)

    def _unsubscribe(self) -> None:
        self._is_waiting_for_room = False
        channel = self._connection.channel
        if self._consumer_tag and channel.is_open:
            channel.basic_cancel(self._consumer_tag, callback=lambda _frame: None)
            self._consumer_tag = ""

    def _on_content(self, content: list[Content]) -> None:
        deliveries = cast(list[Delivery], content)
        self._settlement.add([delivery.tag for delivery in deliveries])
        self._deliveries_count += len(deliveries)
        self._ready.extend(deliveries)
        # Not taking the lock when nobody waits is safe: whoever begins to wait
        # first says so, and then looks once more whether something is there.
        if len(self._ready) >= self._wanted_count:
            self._notify()

    def _on_cancel(self, _frame: Any) -> None:
        self._connection.fail(
            f"the queue {self._queue!r} was deleted, or cannot be consumed any more: {_CURE}"
        )

    def _leave(self, channel: Channel, close: Callable[[], None]) -> None:
        def on_cancelled(_frame: Any) -> None:
            self._settlement.requeue_all()
            close()

        if self._consumer_tag:
            channel.basic_cancel(self._consumer_tag, callback=on_cancelled)
        else:
            on_cancelled(None)

    def _watch(self, seen_count: int, vain_looks_count: int) -> None:
        """Notice when the broker has forgotten this consumer, which some versions do."""

        def look() -> None:
            if not self._connection.channel.is_open:
                return
            has_room = self._settlement.outstanding_count < self._prefetch_count
            if has_room and self._is_silent_since(seen_count):
                self._connection.channel.queue_declare(self._queue, passive=True, callback=judge)
            else:
                self._watch(self._deliveries_count, 0)

        def judge(frame: Any) -> None:
            is_stuck = frame.method.message_count > 0 and self._is_silent_since(seen_count)
            if is_stuck and vain_looks_count:
                self._connection.fail(
                    f"the queue {self._queue!r} has messages, but none has come for"
                    f" {2 * WATCH_SECONDS:g} seconds"
                )
            else:
                self._watch(self._deliveries_count, vain_looks_count + 1 if is_stuck else 0)

        self._connection.call_later(WATCH_SECONDS, look)

    def _is_silent_since(self, seen_count: int) -> bool:
        return self._consumer_tag != "" and seen_count == self._deliveries_count


def _never_called(*_arguments: object) -> None:
    raise AssertionError("deliveries go past pika's own dispatch")
