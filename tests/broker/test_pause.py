"""A subscription that is cancelled for a while: nothing comes, and nothing is lost."""

import threading

import pytest

from swpt_accounts.broker import consumer as consumer_module
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Consumer
from tests.broker.conftest import DEADLINE, bodies, tags, take_exactly


def numbered(first: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, end)]


def pause(consumer: Consumer) -> None:
    """Pause, and wait until the broker knows: it answers in the order in which it is asked."""
    consumer.pause()
    consumer.messages_count()


def test_while_paused_nothing_comes_and_what_is_here_can_be_settled(start_consumer, queue, publish):
    publish(*numbered(0, 6))
    consumer = start_consumer(queue)
    first = take_exactly(consumer, 4)
    pause(consumer)
    publish(*numbered(6, 9))
    rest = take_exactly(consumer, 2)
    assert consumer.messages_count() == 3
    consumer.settle(tags([*first, *rest]))
    consumer.resume()
    again = take_exactly(consumer, 3)
    assert bodies(again) == numbered(6, 9)
    assert not any(delivery.redelivered for delivery in again)


def test_pausing_and_resuming_twice_changes_nothing(start_consumer, queue, publish):
    consumer = start_consumer(queue)
    pause(consumer)
    consumer.pause()
    publish(*numbered(0, 3))
    for _ in range(2):
        consumer.resume()
    assert bodies(take_exactly(consumer, 3)) == numbered(0, 3)
    assert consumer.take(10, 0) == []


def test_while_paused_others_get_what_is_in_the_queue(start_consumer, queue, publish):
    paused, other = start_consumer(queue), start_consumer(queue)
    pause(paused)
    publish(*numbered(0, 10))
    assert sorted(bodies(take_exactly(other, 10))) == sorted(numbered(0, 10))


def test_stopping_while_paused_returns_everything(start_consumer, queue, publish):
    publish(*numbered(0, 5))
    consumer = start_consumer(queue)
    consumer.settle(tags(take_exactly(consumer, 2)[:1]))
    pause(consumer)
    consumer.stop()
    assert sorted(bodies(take_exactly(start_consumer(queue), 4))) == numbered(1, 5)


def test_what_is_here_does_not_grow_with_every_pause(start_consumer, queue, publish):
    """Each new subscription has a window of its own, whatever the last one has left behind."""
    publish(*numbered(0, 100))
    consumer = start_consumer(queue, prefetch_count=10)
    taken = take_exactly(consumer, 10)
    for _ in range(5):
        pause(consumer)
        consumer.resume()
        assert consumer.messages_count() == 90
    consumer.settle(tags(taken[:8]))
    taken = taken[8:] + take_exactly(consumer, 10)
    assert consumer.take(1, 0.1) == []
    pause(consumer)
    consumer.settle(tags(taken))
    assert consumer.take(1, 0.1) == []


def test_the_watchdog_sleeps_while_paused(start_consumer, queue, publish, monkeypatch):
    looks = threading.Semaphore(0)
    original = Consumer._watch

    def watch(*arguments: object) -> None:
        looks.release()
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(consumer_module, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(Consumer, "_watch", watch)
    consumer = start_consumer(queue)
    pause(consumer)
    publish(b"message")
    while looks.acquire(blocking=False):
        pass
    assert all(looks.acquire(timeout=DEADLINE) for _ in range(5))
    consumer.resume()
    assert bodies(take_exactly(consumer, 1)) == [b"message"]


def test_a_queue_that_was_deleted_meanwhile_ends_the_connection(start_consumer, queue, channel):
    consumer = start_consumer(queue)
    pause(consumer)
    channel.queue_delete(queue)
    assert consumer.take(1, 0.1) == []
    consumer.resume()
    with pytest.raises(BrokerLost, match="404 NOT_FOUND"):
        consumer.take(1, DEADLINE)


def test_a_queue_that_is_deleted_after_a_pause_ends_the_wait(
    start_consumer, queue, channel, publish
):
    consumer = start_consumer(queue)
    pause(consumer)
    consumer.resume()
    publish(b"message")
    take_exactly(consumer, 1)
    channel.queue_delete(queue)
    with pytest.raises(BrokerLost, match="was deleted"):
        consumer.take(10, DEADLINE)


def test_a_consumer_that_is_gone_can_be_neither_paused_nor_resumed(start_consumer, queue):
    consumer = start_consumer(queue)
    consumer.stop()
    with pytest.raises(BrokerLost):
        consumer.pause()
    with pytest.raises(BrokerLost):
        consumer.resume()
