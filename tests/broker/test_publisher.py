"""Each message of a page gets its own outcome, and an unknown one is never taken for a good one."""

import threading
from collections.abc import Iterator

import pika
import pytest

from swpt_accounts.broker import publisher as publisher_module
from swpt_accounts.broker.confirms import Posted
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.broker.publisher import CONFIRMED, Message, Publisher, Verdict
from tests.broker.conftest import DEADLINE, bodies, take_exactly


def plain(routing_key: str, body: bytes = b"body", *, mandatory: bool = True) -> Message:
    properties = encode_properties("application/json", "AccountUpdate", "test", {"debtor-id": 1})
    return Message("", routing_key, body, properties, mandatory)


@pytest.fixture
def full_queue(channel, queue_name) -> Iterator[str]:
    """A queue that takes nothing."""
    name = f"{queue_name}_chores"  # It goes after the test, as the queue itself does.
    channel.queue_declare(name, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    return name


def test_each_message_of_a_page_gets_its_own_outcome(publisher, queue, full_queue, start_consumer):
    page = [
        plain(queue, b"same"),
        plain("nowhere", b"same"),
        plain(full_queue, b"same"),
        plain(queue, b"same"),
        plain("nowhere", b"same"),
        plain("nowhere", b"other"),
        plain(full_queue, b"same"),
        plain("nowhere", b"same"),
        plain(queue, b"other"),
    ]
    outcomes = publisher.publish(page)
    assert [outcome.verdict.value for outcome in outcomes] == [
        "confirmed",
        "returned",
        "refused",
        "confirmed",
        "returned",
        "returned",
        "refused",
        "returned",
        "confirmed",
    ]
    assert outcomes[1].reason == "312 NO_ROUTE"
    assert "nack" in outcomes[2].reason
    assert bodies(take_exactly(start_consumer(queue), 3)) == [b"same", b"same", b"other"]


def test_a_full_or_missing_queue_does_not_harm_the_next_page(publisher, queue, full_queue):
    for _ in range(3):
        assert publisher.publish([plain(full_queue)] * 3)[2].verdict is Verdict.REFUSED
        assert publisher.publish([plain("nowhere")] * 3)[2].verdict is Verdict.RETURNED
        assert publisher.publish([plain(queue)] * 3) == [CONFIRMED] * 3


def test_a_message_that_is_not_mandatory_may_go_nowhere(publisher):
    page = [plain("nowhere", mandatory=False), plain("nowhere"), plain("nowhere", mandatory=False)]
    verdicts = [outcome.verdict for outcome in publisher.publish(page)]
    assert verdicts == [Verdict.CONFIRMED, Verdict.RETURNED, Verdict.CONFIRMED]


def test_a_message_without_an_amqp_form_is_refused_and_the_others_go(publisher, queue):
    too_long = Message("", queue, b"body", pika.BasicProperties(type="t" * 256))
    outcomes = publisher.publish([plain(queue), too_long, plain("nowhere"), plain(queue)])
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.CONFIRMED,
        Verdict.REFUSED,
        Verdict.RETURNED,
        Verdict.CONFIRMED,
    ]
    assert "cannot be encoded" in outcomes[1].reason
    assert publisher.publish([too_long])[0].verdict is Verdict.REFUSED


def test_an_empty_page_needs_no_answer(publisher):
    assert publisher.publish([]) == []


@pytest.mark.parametrize("limit", ["UNCONFIRMED_MAX", "UNCONFIRMED_BYTES_MAX", "_SEND_BYTES"])
def test_a_page_greater_than_the_window_goes_in_pieces(
    publisher, queue, start_consumer, monkeypatch, limit
):
    monkeypatch.setattr(publisher_module, limit, 7)
    wanted = [b"%d" % number for number in range(50)]
    page = [plain(queue, body) for body in wanted]
    page.insert(20, plain("nowhere"))
    outcomes = publisher.publish(page)
    assert outcomes.pop(20).verdict is Verdict.RETURNED
    assert outcomes == [CONFIRMED] * 50
    assert bodies(take_exactly(start_consumer(queue), 50)) == wanted


def test_no_more_is_in_flight_than_allowed(publisher, queue, monkeypatch):
    monkeypatch.setattr(publisher_module, "UNCONFIRMED_MAX", 10)
    counts = []
    original = publisher._in_flight.sent

    def sent(messages: list[Posted]) -> None:
        original(messages)
        counts.append(publisher._in_flight.unsettled_count)

    monkeypatch.setattr(publisher._in_flight, "sent", sent)
    publisher.publish([plain(queue)] * 100)
    assert 0 < max(counts) <= 10


def test_several_threads_may_publish_at_once(publisher, queue):
    outcomes: dict[int, list[Verdict]] = {}

    def work(number: int) -> None:
        targets = [queue if (number >> bit) & 1 else "nowhere" for bit in range(5)] * 20
        outcomes[number] = [o.verdict for o in publisher.publish([plain(t) for t in targets])]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    for number in range(8):
        expected = [
            Verdict.CONFIRMED if (number >> bit) & 1 else Verdict.RETURNED for bit in range(5)
        ]
        assert outcomes[number] == expected * 20


@pytest.fixture
def start_publisher() -> Iterator[object]:
    publishers = []

    def start(url: str, seconds: float) -> Publisher:
        publisher = Publisher(url, confirm_timeout_seconds=seconds)
        publishers.append(publisher)
        publisher.start()
        return publisher

    yield start
    for publisher in publishers:
        publisher.stop()


def test_confirms_that_do_not_come_are_not_taken_for_granted(start_publisher, proxy, queue):
    publisher = start_publisher(f"{proxy.url}?heartbeat=0", 0.2)
    publisher.publish([plain(queue)])
    proxy.go_dead()
    with pytest.raises(BrokerLost, match=r"no confirm for 0.2 seconds.*they may have arrived or"):
        publisher.publish([plain(queue)] * 3)
    with pytest.raises(BrokerLost):
        publisher.publish([plain(queue)])


def test_a_lost_connection_ends_the_wait_for_confirms(start_publisher, proxy, queue):
    publisher = start_publisher(proxy.url, DEADLINE)
    publisher.publish([plain(queue)])
    proxy.go_dead()
    posted = threading.Event()
    original = publisher._in_flight.sent

    def sent(messages: list[Posted]) -> None:
        original(messages)
        posted.set()

    def cut_when_posted() -> None:
        posted.wait(DEADLINE)
        proxy.cut()

    publisher._in_flight.sent = sent
    thread = threading.Thread(target=cut_when_posted)
    thread.start()
    with pytest.raises(BrokerLost, match="5 messages are unconfirmed"):
        publisher.publish([plain(queue)] * 5)
    thread.join()


def test_stopping_ends_the_wait_for_confirms(start_publisher, proxy, queue, monkeypatch):
    from swpt_accounts.broker import connection

    monkeypatch.setattr(connection, "STOP_SECONDS", 0.2)
    publisher = start_publisher(proxy.url, DEADLINE)
    proxy.go_dead()
    thread = threading.Thread(target=publisher.stop)
    thread.start()
    with pytest.raises(BrokerLost):
        publisher.publish([plain(queue)])
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_missing_exchange_ends_the_connection_with_its_name(start_publisher, broker_url):
    publisher = start_publisher(broker_url, DEADLINE)
    with pytest.raises(BrokerLost, match=r"404 NOT_FOUND - no exchange 'no_such_exchange'"):
        publisher.publish([Message("no_such_exchange", "", b"", b"\x00\x00")])


def test_properties_arrive_as_they_were_sent(publisher, queue, start_consumer):
    headers = {"message-type": "AccountTransfer", "debtor-id": 2**62, "creditor-id": -7}
    encoded = encode_properties("application/json", "AccountTransfer", "swpt_accounts", headers)
    by_pika = pika.BasicProperties(
        content_type="application/json",
        headers=headers,
        delivery_mode=2,
        type="AccountTransfer",
        app_id="swpt_accounts",
    )
    publisher.publish([Message("", queue, b"{}", encoded), Message("", queue, b"{}", by_pika)])
    for delivery in take_exactly(start_consumer(queue), 2):
        assert delivery.properties == by_pika


# -- how many messages wait ------------------------------------------------


def test_messages_that_stand_in_a_queue_are_counted_but_not_those_delivered(
    publisher, queue, start_consumer
):
    assert publisher.messages_count(queue) == 0
    publisher.publish([plain(queue)] * 10)
    assert publisher.messages_count(queue) == 10

    consumer = start_consumer(queue, prefetch_count=4)
    deliveries = take_exactly(consumer, 4)
    assert publisher.messages_count(queue) == 6
    consumer.settle([delivery.tag for delivery in deliveries])
    take_exactly(consumer, 4)
    assert publisher.messages_count(queue) == 2


def test_messages_are_counted_while_others_are_published(publisher, queue):
    counts = []

    def publish() -> None:
        for _ in range(20):
            publisher.publish([plain(queue)] * 50)

    thread = threading.Thread(target=publish)
    thread.start()
    while thread.is_alive():
        counts.append(publisher.messages_count(queue))
    thread.join()

    assert counts == sorted(counts)
    assert publisher.messages_count(queue) == 1000


def test_a_look_at_a_missing_queue_is_an_error_and_ends_the_connection(publisher, queue_name):
    with pytest.raises(BrokerLost, match=f"NOT_FOUND.*{queue_name}"):
        publisher.messages_count(queue_name)
    with pytest.raises(BrokerLost):
        publisher.publish([plain(queue_name)])


def test_nothing_is_counted_by_a_publisher_that_was_stopped(broker_url, queue):
    publisher = Publisher(broker_url, confirm_timeout_seconds=DEADLINE)
    publisher.start()
    publisher.stop()
    with pytest.raises(BrokerLost):
        publisher.messages_count(queue)


# -- outcomes one by one -------------------------------------------------------


def test_outcomes_are_told_though_one_of_them_never_comes(start_publisher, proxy, queue):
    """What was confirmed before the connection dies is told first, and then that it is dead."""
    publisher = start_publisher(proxy.url, DEADLINE)
    outcomes = publisher.outcomes()
    publisher.begin([plain(queue), plain("nowhere")], ["a", "b"], outcomes)
    told = []
    while outcomes.awaited_count:
        told += outcomes.take(DEADLINE)
    assert {posted.token: posted.outcome.verdict.value for posted in told} == {
        "a": "confirmed",
        "b": "returned",
    }
    assert outcomes.take(0.0) == []
    too_long = Message("", queue, b"", pika.BasicProperties(type="t" * 256))
    proxy.go_dead()
    publisher.begin([plain(queue), too_long], ["c", "d"], outcomes)
    proxy.cut()
    assert [posted.token for posted in outcomes.take(DEADLINE)] == ["d"]
    with pytest.raises(BrokerLost, match="1 messages are unconfirmed"):
        outcomes.take(DEADLINE)


def test_a_broker_that_works_proves_it_and_one_that_does_not_is_found_out(start_publisher, proxy):
    publisher = start_publisher(proxy.url, DEADLINE)
    publisher.prove(DEADLINE)
    proxy.go_dead()
    with pytest.raises(BrokerLost, match=r"goes nowhere for 0\.3 seconds"):
        publisher.prove(0.3)


def test_a_proof_that_nobody_waits_for_any_more_ends_at_once(start_publisher, proxy):
    publisher = start_publisher(proxy.url, DEADLINE)
    proxy.go_dead()
    with pytest.raises(BrokerLost, match="nobody waits for it any more"):
        publisher.prove(3600.0, lambda: False)
