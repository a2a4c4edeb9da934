"""Deliveries come in batches of what is there, and none is settled that should not be."""

import os
import signal
import threading

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from swpt_accounts.broker import consumer as consumer_module
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.publisher import CONFIRMED, Message
from tests.broker.conftest import DEADLINE, bodies, tags, take_exactly
from tests.broker.hostile import HOSTILE_HEADERS, properties_with


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def wait_until_buffered(consumer: Consumer, count: int) -> None:
    with consumer._condition:
        consumer._wanted_count = count
        assert consumer._condition.wait_for(lambda: len(consumer._ready) == count, DEADLINE)


def test_one_message_is_delivered_without_waiting_for_more(start_consumer, queue, publish):
    consumer = start_consumer(queue)
    publish(b"only one")
    (delivery,) = consumer.take(50, DEADLINE)
    assert delivery.body == b"only one"
    assert (delivery.exchange, delivery.routing_key) == ("", queue)
    assert not delivery.redelivered


def test_a_batch_is_all_that_is_there(start_consumer, queue, publish):
    publish(*numbered(300))
    consumer = start_consumer(queue, prefetch_count=300)
    wait_until_buffered(consumer, 300)
    assert bodies(consumer.take(250, DEADLINE)) == numbered(300)[:250]
    assert bodies(consumer.take(250, DEADLINE)) == numbered(300)[250:]
    assert consumer.take(250, 0) == []


def test_a_batch_may_be_left_to_gather(start_consumer, queue, publish):
    publish(*numbered(20))
    consumer = start_consumer(queue, prefetch_count=100)
    assert len(consumer.take(20, DEADLINE, DEADLINE)) == 20
    thread = threading.Thread(target=publish, args=numbered(20))
    thread.start()
    assert len(consumer.take(20, 0, DEADLINE)) == 20
    thread.join()
    publish(b"alone")
    assert len(consumer.take(20, DEADLINE, 0.01)) == 1
    assert consumer.take(20, 0, 0.01) == []


def test_wake_ends_gathering_too(start_consumer, queue, publish):
    publish(b"message")
    consumer = start_consumer(queue)
    wait_until_buffered(consumer, 1)
    thread = threading.Thread(target=consumer.wake)
    thread.start()
    assert len(consumer.take(10, 0, DEADLINE)) == 1
    thread.join()


def test_no_more_is_received_than_may_be_unsettled(start_consumer, queue, publish):
    publish(*numbered(30))
    consumer = start_consumer(queue, prefetch_count=10)
    wait_until_buffered(consumer, 10)
    assert consumer.messages_count() == 20
    for _ in range(3):
        deliveries = take_exactly(consumer, 10)
        assert consumer.take(10, 0) == []
        consumer.settle(tags(deliveries))


def test_wake_ends_a_wait(start_consumer, queue):
    consumer = start_consumer(queue)
    thread = threading.Thread(target=consumer.wake)
    thread.start()
    assert consumer.take(10, DEADLINE) == []
    thread.join()


def test_wake_before_a_wait_ends_it_too_but_holds_no_deliveries_back(
    start_consumer, queue, publish
):
    consumer = start_consumer(queue)
    publish(b"message")
    wait_until_buffered(consumer, 1)
    consumer.wake()
    assert len(consumer.take(10, DEADLINE)) == 1
    assert consumer.take(10, DEADLINE) == []


def test_a_signal_handler_may_wake(start_consumer, queue):
    consumer = start_consumer(queue)
    before = signal.signal(signal.SIGUSR1, lambda _signum, _frame: consumer.wake())
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
    try:
        thread.start()
        assert consumer.take(10, DEADLINE) == []
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_what_is_acked_never_comes_back_and_what_is_not_does(start_consumer, queue, publish):
    publish(*numbered(10))
    consumer = start_consumer(queue)
    deliveries = take_exactly(consumer, 10)
    kept = [deliveries[3], deliveries[6]]
    consumer.settle(tags([d for d in deliveries if d not in kept]))
    publish(b"later")
    consumer.settle(tags(take_exactly(consumer, 1)))
    consumer.stop()

    returned = take_exactly(start_consumer(queue), 2)
    assert sorted(bodies(returned)) == [b"3", b"6"]
    assert all(d.redelivered for d in returned)


def test_batches_settled_in_another_order_lose_and_repeat_nothing(start_consumer, queue, publish):
    publish(*numbered(9))
    consumer = start_consumer(queue)
    first, _second, third = (take_exactly(consumer, 3) for _ in range(3))
    consumer.settle(tags(third))
    consumer.settle(tags(first))
    consumer.stop()
    assert sorted(bodies(take_exactly(start_consumer(queue), 3))) == [b"3", b"4", b"5"]


def test_stopping_returns_what_is_not_settled_and_says_what_is(start_consumer, queue, publish):
    publish(*numbered(8))
    consumer = start_consumer(queue, prefetch_count=6)
    deliveries = take_exactly(consumer, 5)
    consumer.settle(tags(deliveries[:2]))
    consumer.stop()
    with pytest.raises(BrokerLost, match="closed by this process"):
        consumer.take(10, DEADLINE)
    rest = take_exactly(start_consumer(queue), 6)
    assert sorted(bodies(rest)) == numbered(8)[2:]


def test_settling_twice_ends_the_connection(start_consumer, queue, publish):
    publish(b"message")
    consumer = start_consumer(queue)
    (delivery,) = take_exactly(consumer, 1)
    consumer.settle([delivery.tag])
    consumer.settle([delivery.tag])
    with pytest.raises(BrokerLost, match="settled before") as lost:
        consumer.take(10, DEADLINE)
    assert isinstance(lost.value.__cause__, ValueError)


def test_a_defect_in_the_connections_thread_does_not_vanish(
    start_consumer, queue, publish, monkeypatch, caplog
):
    consumer = start_consumer(queue)
    monkeypatch.setattr(consumer._settlement, "add", lambda _tags: 1 / 0)
    publish(b"message")
    with pytest.raises(BrokerLost, match="ZeroDivisionError") as lost:
        consumer.take(10, DEADLINE)
    assert isinstance(lost.value.__cause__, ZeroDivisionError)
    assert "was not understood" in caplog.text


def test_a_missing_queue_is_named_together_with_the_cure(start_consumer, queue_name):
    with pytest.raises(BrokerLost) as lost:
        start_consumer(queue_name)
    assert f"no queue '{queue_name}'" in str(lost.value)
    assert "`swpt_accounts configure`" in str(lost.value)
    assert "`swpt_accounts subscribe`" in str(lost.value)


def test_a_deleted_queue_ends_the_wait(start_consumer, queue, channel):
    consumer = start_consumer(queue)
    channel.queue_delete(queue)
    with pytest.raises(BrokerLost, match="was deleted"):
        consumer.take(10, DEADLINE)
    with pytest.raises(BrokerLost, match="was deleted"):
        consumer.settle([])


def test_after_a_lost_connection_everything_unsettled_comes_again(
    start_consumer, queue, publish, proxy
):
    publish(*numbered(6))
    consumer = start_consumer(queue, url=proxy.url)
    deliveries = take_exactly(consumer, 6)
    consumer.settle(tags(deliveries[:2]))
    assert consumer.messages_count() == 0  # By now the acks have been read.
    proxy.cut()
    with pytest.raises(BrokerLost):
        consumer.take(10, DEADLINE)
    with pytest.raises(BrokerLost):
        consumer.settle(tags(deliveries[2:]))
    assert sorted(bodies(take_exactly(start_consumer(queue), 4))) == numbered(6)[2:]


def test_heartbeats_go_on_while_a_batch_takes_its_time(start_consumer, queue, publish, proxy):
    publish(b"message")
    consumer = start_consumer(queue, url=f"{proxy.url}?heartbeat=1")
    deliveries = take_exactly(consumer, 1)
    assert proxy.await_heartbeats(4, DEADLINE)
    consumer.settle(tags(deliveries))
    publish(b"next")
    assert bodies(take_exactly(consumer, 1)) == [b"next"]


def test_a_consumer_that_the_broker_has_forgotten_gives_up(
    start_consumer, queue_name, channel, monkeypatch
):
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    channel.queue_declare(queue_name, durable=True, arguments=arguments)
    for body in numbered(3):
        channel.basic_publish("", queue_name, body, mandatory=True)
    take_exactly(start_consumer(queue_name, prefetch_count=1), 1)
    monkeypatch.setattr(consumer_module, "WATCH_SECONDS", 0.05)
    forgotten = start_consumer(queue_name)
    with pytest.raises(BrokerLost, match="has messages, but none has come"):
        forgotten.take(10, DEADLINE)


def test_an_idle_consumer_does_not_give_up(start_consumer, queue, publish, monkeypatch):
    looks = threading.Semaphore(0)
    original = Consumer._watch

    def watch(*arguments: object) -> None:
        looks.release()
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(consumer_module, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(Consumer, "_watch", watch)
    consumer = start_consumer(queue)
    assert all(looks.acquire(timeout=DEADLINE) for _ in range(5))
    publish(b"message")
    assert len(take_exactly(consumer, 1)) == 1


@pytest.mark.parametrize("name", ["a time in the year 300000000000", "ten thousand nested tables"])
def test_hostile_headers_do_not_end_the_connection(start_consumer, queue, publisher, publish, name):
    properties = properties_with(HOSTILE_HEADERS[name])
    assert publisher.publish([Message("", queue, b"hostile", properties)]) == [CONFIRMED]
    publish(b"harmless")
    hostile, harmless = take_exactly(start_consumer(queue), 2)
    assert bodies([hostile, harmless]) == [b"hostile", b"harmless"]
    assert hostile.message_type == "PrepareTransfer"
    assert hostile.properties.headers is None


def test_large_and_empty_bodies_arrive_whole(start_consumer, queue, publish):
    wanted = [b"", os.urandom(1_000_000), b"\xce" * 131_072, b""]
    publish(*wanted)
    consumer = start_consumer(queue, body_bytes_max=1_000_000)
    assert bodies(take_exactly(consumer, 4)) == wanted


def test_properties_arrive_as_they_were_sent(start_consumer, queue, channel):
    properties = pika.BasicProperties(
        content_type="application/json",
        type="PrepareTransfer",
        app_id="swpt_stomp",
        delivery_mode=2,
        headers={"message-type": "PrepareTransfer", "debtor-id": -(2**63)},
    )
    channel.basic_publish("", queue, b"{}", properties, mandatory=True)
    (delivery,) = take_exactly(start_consumer(queue), 1)
    assert (delivery.content_type, delivery.message_type) == ("application/json", "PrepareTransfer")
    assert delivery.properties == properties


def test_a_consumer_that_was_never_started_can_be_stopped(broker_url, queue_name):
    Consumer(broker_url, queue_name, prefetch_count=1).stop()


def test_the_queue_is_free_to_be_deleted_after_a_stop(start_consumer, queue, channel):
    start_consumer(queue).stop()
    try:
        channel.queue_delete(queue, if_unused=False)
    except ChannelClosedByBroker:
        pytest.fail("the queue is still in use")
