"""Requests transfers at moments chosen beforehand, commits each at once, and notes when it is done.

The moments do not depend on the node (open loop): when it is slow, requests go on all the same, and
what a late program adds is part of the latency. Started by bench/latency.py.
"""

import gc
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence

import msgspec
from pika.channel import Channel

from bench.load_program import COUNTED, COUNTING, read_order, report, say
from bench.peers import OUTPUT_QUEUE, Failed
from bench.workload import Currency, Prepared, finalize_transfer, prepare_transfer, uniform
from swpt_accounts.broker.connection import CHANNEL_NUMBER, ConnectionThread
from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.frames import Content, encode_publish
from swpt_accounts.broker.message import Confirm, Delivery, Message

OUTPUTS_PER_TRANSFER = 4
_PREFETCH_COUNT = 2000
_ANSWERED_AT_ONCE = 50
"""Few, because answers to all of them go out together."""

_ACKED_AT_ONCE = _PREFETCH_COUNT // 4
"""Many, because each ack goes through the queue's log, but not all that may be here."""

_REQUEST_PERIOD_SECONDS = 0.002
"""Requests due within so short a time leave together, as a peer's do that has many."""

_STALL_SECONDS = 60.0
_HEAD_START_SECONDS = 0.2


class Order(msgspec.Struct):
    """What to do. Moments are counted in seconds from the first that may have a request."""

    broker_url: str
    debtor_id: int
    first_creditor_id: int
    accounts_count: int
    rate: float
    seed: int
    warm_up_seconds: float
    counted_seconds: float


class Moments(msgspec.Struct):
    """Of each transfer, in seconds from the moment from which transfers count; before: negative."""

    due: list[float]
    """When the request should have been sent,"""
    sent: list[float]
    """and when it was."""
    prepared: list[float]
    """When the PreparedTransfer was here,"""
    done: list[float]
    """and the recipient's AccountTransfer."""


class _Notice(msgspec.Struct, gc=False):
    acquired_amount: int
    transfer_note: str


class _Outlet:
    """Publishes with confirms, but waits for none."""

    def __init__(self, url: str) -> None:
        self.trouble: Content | None = None
        self._connection = ConnectionThread(
            url,
            "outlet",
            prepare=self._select_confirms,
            on_content=self._on_content,
            on_lost=lambda: None,
        )
        self.start = self._connection.start
        self.stop = self._connection.stop

    def encode(self, message: Message) -> bytes:
        return encode_publish(CHANNEL_NUMBER, message, self._connection.frame_size_max)

    def send(self, frames: Sequence[bytes]) -> None:
        joined = b"".join(frames)
        self._connection.post(lambda: self._connection.send(joined))

    def _select_confirms(self, channel: Channel) -> None:
        channel.confirm_delivery(_never_called, callback=lambda _frame: self._connection.ready())

    def _on_content(self, content: list[Content]) -> None:
        for item in content:
            if not isinstance(item, Confirm) or not item.accepted:
                self.trouble = item


class OpenLoop:
    """Everybody pays everybody: one run."""

    def __init__(self, order: Order) -> None:
        self._chance = random.Random(order.seed)
        first = order.first_creditor_id
        creditor_ids = range(first, first + order.accounts_count)
        self._currency = Currency(order.debtor_id, creditor_ids)
        self._due = _arrivals(order, self._chance)
        count = len(self._due)
        self.moments = Moments(self._due, [0.0] * count, [0.0] * count, [0.0] * count)
        self._ends_at = order.counted_seconds
        self._warm_up_seconds = order.warm_up_seconds
        self._zero = 0.0
        self._consumer = Consumer(order.broker_url, OUTPUT_QUEUE, prefetch_count=_PREFETCH_COUNT)
        self._outlet = _Outlet(order.broker_url)
        self._read_prepared = msgspec.json.Decoder(Prepared).decode
        self._read_notice = msgspec.json.Decoder(_Notice).decode

    def run(self) -> None:
        """Returns when all transfers are done. Raises Failed and BrokerLost."""
        started: list[Callable[[], None]] = []
        try:
            for part in (self._outlet, self._consumer):
                part.start()
                started.append(part.stop)
            frames = [self._outlet.encode(each) for each in self._messages()]
            gc.collect()
            gc.freeze()
            gc.disable()
            self._zero = time.monotonic() + _HEAD_START_SECONDS + self._warm_up_seconds
            requesting = threading.Thread(target=self._request, args=(frames,), daemon=True)
            requesting.start()
            self._coordinate()
            requesting.join()
        finally:
            for stop in started:
                stop()

    def _messages(self) -> list[Message]:
        return [
            prepare_transfer(self._currency, uniform(self._currency, self._chance), number)
            for number in range(len(self._due))
        ]

    # Its own thread: requests.

    def _request(self, frames: list[bytes]) -> None:
        first_counted = bisect_left(self._due, 0.0)
        self._send(frames, 0, first_counted)
        self._sleep_until(0.0)
        say(COUNTING)
        self._send(frames, first_counted, len(frames))
        self._sleep_until(self._ends_at)
        say(COUNTED)

    def _send(self, frames: list[bytes], number: int, stop: int) -> None:
        """From the one of this number on, each when it is due."""
        due, sent = self._due, self.moments.sent
        next_moment = -self._warm_up_seconds
        while number < stop:
            self._sleep_until(max(due[number], next_moment))
            now = time.monotonic() - self._zero
            next_moment = now + _REQUEST_PERIOD_SECONDS
            first = number
            while number < stop and due[number] <= now:
                sent[number] = now
                number += 1
            self._outlet.send(frames[first:number])

    def _sleep_until(self, moment: float) -> None:
        while (seconds := self._zero + moment - time.monotonic()) > 0:
            time.sleep(seconds)

    # The main thread: commits.

    def _coordinate(self) -> None:
        consumer = self._consumer
        missing_count = OUTPUTS_PER_TRANSFER * len(self._due)
        unacked: list[int] = []
        while missing_count:
            deliveries = consumer.take(_ANSWERED_AT_ONCE, _STALL_SECONDS)
            now = time.monotonic() - self._zero
            self._check(deliveries, missing_count)
            answers = [answer for each in deliveries if (answer := self._take(each, now))]
            if answers:
                self._outlet.send(answers)
            missing_count -= len(deliveries)
            unacked += [delivery.tag for delivery in deliveries]
            if len(unacked) >= _ACKED_AT_ONCE or not missing_count:
                consumer.settle(unacked)
                unacked = []

    def _take(self, delivery: Delivery, now: float) -> bytes | None:
        """Notes what has come, and returns the answer, if it needs one."""
        message_type = delivery.message_type
        if message_type == "PreparedTransfer":
            prepared = self._read_prepared(delivery.body)
            number = prepared.coordinator_request_id
            self.moments.prepared[number] = now
            return self._outlet.encode(finalize_transfer(prepared, note=str(number)))
        if message_type == "AccountTransfer":
            notice = self._read_notice(delivery.body)
            if notice.acquired_amount > 0:
                self.moments.done[int(notice.transfer_note)] = now
        elif message_type != "FinalizedTransfer":
            raise Failed(f"Not expected from the node: {message_type}, {delivery.body!r}.")
        return None

    def _check(self, deliveries: Sequence[Delivery], missing_count: int) -> None:
        if self._outlet.trouble is not None:
            raise Failed(f"The broker does not take a message: {self._outlet.trouble}")
        if not deliveries:
            raise Failed(
                f"Of {OUTPUTS_PER_TRANSFER * len(self._due):,} messages from the node"
                f" {missing_count:,} are missing, and none has come for {_STALL_SECONDS:g} s."
            )


def _arrivals(order: Order, chance: random.Random) -> list[float]:
    """The moments of a Poisson process of this rate."""
    moments = []
    moment = chance.expovariate(order.rate) - order.warm_up_seconds
    while moment < order.counted_seconds:
        moments.append(moment)
        moment += chance.expovariate(order.rate)
    return moments


def _never_called(*_arguments: object) -> None:
    raise AssertionError("confirms go past pika's own dispatch")


def main() -> None:
    loop = OpenLoop(read_order(Order))
    loop.run()
    report(loop.moments)


if __name__ == "__main__":
    main()
