"""A neighbour, an exchange or the broker in trouble: everything else goes on, and nothing is lost.

On a broker of its own, since what is done to it is not good for others.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from embedded import EmbeddedRabbitMQ, ServerFailed
from swpt_accounts.broker import topology
from swpt_accounts.broker.publisher import Outcome
from swpt_accounts.broker.trial import try_out
from swpt_accounts.ledger import events
from swpt_accounts.ledger.events import Event
from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.store import outbox
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers import care, destinations, pipeline, prober
from swpt_accounts.workers.stopping import Stopping
from tests.broker.proxy import Proxy
from tests.factories import event
from tests.workers.running import make_flusher
from tests.workers.waiting import SECONDS, eventually
from tests.workers.wire import Wire

STOP_SECONDS = 10.0
"""What is promised: this is the one limit that is not ten times the promise."""

SICK, WELL, ALSO_WELL = 0x0A, 0x0B, 0x0C
VHOSTS = iter(f"trouble-{number}" for number in range(20))


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRabbitMQ]:
    folder: Path = tmp_path_factory.mktemp("rabbitmq")
    rabbitmq = EmbeddedRabbitMQ(folder, vhosts=[f"trouble-{number}" for number in range(20)])
    try:
        rabbitmq.start()
    except ServerFailed as failure:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(failure))
    yield rabbitmq
    rabbitmq.kill()


class Scene:
    """A shard whose peers have quorum queues of their own, and whose outbox is written to."""

    def __init__(self, rabbitmq: EmbeddedRabbitMQ, postgres_url: str, shard: Any) -> None:
        self.rabbitmq = rabbitmq
        self.vhost = next(VHOSTS)
        self.broker_url = f"{rabbitmq.url}/{self.vhost}"
        self.postgres_url = postgres_url
        self.shard: psycopg.Connection = shard
        self._database = Database(postgres_url, application_name="tests: announce")
        topology.subscribe(self.broker_url, "shard", "#")
        self.wire = Wire(self.broker_url)
        for subnet in (SICK, WELL, ALSO_WELL):
            self.declare(self.queue(subnet))
            self.bind(subnet)

    def close(self) -> None:
        self.wire.close()
        self._database.close()

    @staticmethod
    def queue(subnet: int) -> str:
        return f"peer-{subnet:02x}"

    def declare(self, queue: str, **arguments: Any) -> None:
        arguments = {"x-queue-type": "quorum", **arguments}
        self.wire.channel.queue_declare(queue, durable=True, arguments=arguments)

    def bind(self, subnet: int, exchange: str = "to_creditors") -> None:
        self.wire.channel.queue_bind(self.queue(subnet), exchange, f"00.00.{subnet:02x}.#")

    def announce(self, announced: Iterable[Event]) -> None:
        with self._database.transaction() as transaction:
            outbox.append(transaction, map(encode, announced), utc_now())
        outbox.wake_flushers(self._database)

    def count(self, table: str) -> int:
        row = self.shard.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type]
        assert row is not None
        return int(row[0])

    def numbers_at(self, subnet: int, count: int) -> Counter[int]:
        """Wait until so many different transfers have come to a peer, and say how often each."""
        reader = Wire(self.broker_url)
        try:
            reader.consume(self.queue(subnet))
            numbers: Counter[int] = Counter()
            seen = 0

            def enough(received: list[Any]) -> bool:
                nonlocal seen
                for one in received[seen:]:
                    numbers[one.document["transfer_number"]] += 1
                seen = len(received)
                return len(numbers) >= count

            reader.receive(f"{count} transfers at {subnet:02x}", enough)
            for one in reader.catch_up()[seen:]:
                numbers[one.document["transfer_number"]] += 1
            return numbers
        finally:
            reader.close()

    def ready_count(self, subnet: int) -> int:
        return self.wire.ready_count(self.queue(subnet))

    def stop_queue(self, subnet: int) -> None:
        """Take the majority of its members from a queue."""
        self._on_queue("stop_server", subnet)

    def restart_queue(self, subnet: int) -> None:
        self._on_queue("restart_server", subnet)

    def _on_queue(self, what: str, subnet: int) -> None:
        name = f'list_to_atom("{self.vhost}_{self.queue(subnet)}")'
        self.rabbitmq.control("eval", f"ra:{what}(quorum_queues,{{{name},node()}}).")


@pytest.fixture
def scene(
    rabbitmq: EmbeddedRabbitMQ, postgres_url: str, shard: psycopg.Connection
) -> Iterator[Scene]:
    scene = Scene(rabbitmq, postgres_url, shard)
    yield scene
    scene.close()


@contextmanager
def flushing(scene: Scene, broker_url: str | None = None) -> Iterator[Stopping]:
    """Run a flusher, and see that it stops in time, whatever the state it is in."""
    stopping = Stopping()
    flusher = make_flusher(scene.postgres_url, broker_url or scene.broker_url)
    thread = threading.Thread(target=flusher.run, args=(stopping,))
    thread.start()
    try:
        yield stopping
    finally:
        stopping.request()
        begun = time.monotonic()
        thread.join(SECONDS)
        assert time.monotonic() - begun < STOP_SECONDS


def transfers(subnet: int, numbers: Iterable[int]) -> list[Event]:
    return [
        event(events.AccountTransfer, creditor_id=(subnet << 40) + n % 31, transfer_number=n)
        for n in numbers
    ]


def mixed(*lists: list[Event]) -> list[Event]:
    return [one for together in zip(*lists, strict=True) for one in together]


@pytest.mark.parametrize("share_min", [16, 1000])
def test_a_queue_without_a_majority_stops_only_what_goes_there(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    share_min: int,
) -> None:
    """With 1000 messages under way to it, RabbitMQ reads nothing more from the connection."""
    monkeypatch.setattr(destinations, "SHARE_MIN", share_min)
    scene.announce(transfers(SICK, [0]) + transfers(WELL, [0]))
    with flushing(scene):
        eventually("the flusher has used both", lambda: scene.ready_count(SICK) == 1)
        scene.stop_queue(SICK)
        scene.announce(mixed(transfers(SICK, range(1, 1001)), transfers(WELL, range(1, 1001))))
        scene.announce(transfers(WELL, range(1001, 3001)))
        eventually("the others go on", lambda: scene.ready_count(WELL) >= 3001)
        eventually("the rest is set aside", lambda: scene.count("undelivered_message") >= 1000)
        eventually("nothing is left", lambda: scene.count("outbox") == 0)
        assert "The destination to_creditors 00.00.0a takes nothing" in caplog.text
    with flushing(scene):
        scene.announce(transfers(WELL, range(3001, 3101)))
        eventually("it knows the next time", lambda: scene.ready_count(WELL) >= 3101)
        scene.restart_queue(SICK)
        eventually("all is sent", lambda: scene.count("undelivered_message") == 0)
        again = "to_creditors 00.00.0a takes messages again"
        eventually("it says so", lambda: again in caplog.text)
    numbers = scene.numbers_at(SICK, 1001)
    assert set(numbers) == set(range(1001))
    # Each at most twice, but for those that served as probes.
    assert sum(count > 2 for count in numbers.values()) <= 5
    assert max(scene.numbers_at(WELL, 3101).values()) <= 2


def test_what_stands_behind_many_messages_to_a_silent_queue_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.announce(transfers(SICK, [0]) + transfers(WELL, [0]))
    with flushing(scene):
        eventually("the flusher has used both", lambda: scene.ready_count(SICK) == 1)
        scene.stop_queue(SICK)
        scene.announce(transfers(SICK, range(1, 5001)) + transfers(WELL, range(1, 101)))
        eventually("the others go on", lambda: scene.ready_count(WELL) == 101)
        eventually("the rest is set aside", lambda: scene.count("undelivered_message") == 5000)
        eventually("nothing is left", lambda: scene.count("outbox") == 0)
    assert caplog.text.count("what is for it is set aside") == 1


def test_what_was_confirmed_is_deleted_though_the_connection_dies(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the confirm of one message is waited for, those of others have come."""
    monkeypatch.setattr(pipeline, "DELETED_AFTER_SECONDS", 3600.0)
    proxy = Proxy(scene.broker_url)
    scene.announce(transfers(SICK, [0]) + transfers(WELL, [0]))
    with flushing(scene, proxy.url):
        eventually("the flusher has used both", lambda: scene.ready_count(SICK) == 1)
        scene.stop_queue(SICK)
        scene.announce(transfers(SICK, [1]) + transfers(WELL, range(1, 10)))
        eventually("the others go on", lambda: scene.ready_count(WELL) == 10)
        proxy.cut()
        scene.announce(transfers(WELL, range(10, 20)))
        eventually("more others go on", lambda: scene.ready_count(WELL) >= 20)
    proxy.close()
    assert scene.numbers_at(WELL, 20) == Counter(range(20))


def test_a_deleted_exchange_stops_only_what_goes_through_it(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.wire.channel.exchange_delete("to_debtors")
    updates = [event(events.AccountUpdate, debtor_id=n, creditor_id=0) for n in range(100)]
    scene.announce(mixed(updates, transfers(WELL, range(100))))
    with flushing(scene):
        eventually("the others go on", lambda: scene.ready_count(WELL) >= 100)
        eventually("the rest is set aside", lambda: scene.count("undelivered_message") == 100)
        scene.announce(updates + transfers(WELL, range(100, 200)))
        eventually("the others go on", lambda: scene.ready_count(WELL) >= 200)
        eventually("the rest is set aside", lambda: scene.count("undelivered_message") == 200)
        assert "no exchange 'to_debtors'" in caplog.text
        topology.subscribe(scene.broker_url, "shard", "#")
        scene.declare("debtors")
        scene.wire.channel.queue_bind("debtors", "to_debtors", "#")
        eventually("all is sent", lambda: scene.count("undelivered_message") == 0)
    assert scene.wire.ready_count("debtors") >= 200
    assert max(scene.numbers_at(WELL, 200).values()) <= 2


def test_a_forbidden_routing_key_stops_only_its_destination(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    allowed = r"^(?!00\.00\.0a\.).*"
    words = ("set_topic_permissions", "-p", scene.vhost, "guest", "to_creditors")
    scene.rabbitmq.control(*words, allowed, ".*")
    scene.announce(mixed(transfers(SICK, range(100)), transfers(WELL, range(100))))
    with flushing(scene):
        eventually("the others go on", lambda: scene.ready_count(WELL) >= 100)
        eventually("the rest is set aside", lambda: scene.count("undelivered_message") == 100)
        assert "access to topic '00.00.0a." in caplog.text
        scene.rabbitmq.control(*words, ".*", ".*")
        eventually("all is sent", lambda: scene.count("undelivered_message") == 0)
    assert set(scene.numbers_at(SICK, 100)) == set(range(100))
    assert max(scene.numbers_at(WELL, 100).values()) <= 2


# RabbitMQ 4 reads it from the second place.
SET_LIMIT = (
    "application:set_env(rabbit, max_message_size, {0}),"
    " persistent_term:put(max_message_size, {0})."
)


def test_a_message_that_the_broker_does_not_name_is_found(scene: Scene) -> None:
    """The broker says only that a message is too long, not which."""
    note = "x" * 1000
    too_long = event(
        events.AccountTransfer, creditor_id=SICK << 40, transfer_number=0, transfer_note=note
    )
    others = transfers(SICK, range(1, 200)) + transfers(WELL, range(300))
    scene.rabbitmq.control("eval", SET_LIMIT.format(1000))
    try:
        scene.announce([*others[:150], too_long, *others[150:]])
        with flushing(scene):
            eventually("the others go on", lambda: scene.ready_count(WELL) >= 300)
            eventually("also to the same peer", lambda: scene.ready_count(SICK) >= 199)
            eventually("it is set aside", lambda: scene.count("undelivered_message") == 1)
            eventually("nothing is left", lambda: scene.count("outbox") == 0)
    finally:
        scene.rabbitmq.control("eval", SET_LIMIT.format(134217728))
    with flushing(scene):
        eventually("it is sent", lambda: scene.count("undelivered_message") == 0)
    assert set(scene.numbers_at(SICK, 200)) == set(range(200))


def test_one_that_is_tried_and_not_borne_leaves_no_others_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were nacked; then the broker says of the one tried only that something is too long."""
    scene.wire.channel.queue_delete(scene.queue(SICK))
    scene.declare(scene.queue(SICK), **{"x-max-length": 1, "x-overflow": "reject-publish"})
    for _ in range(100):
        scene.wire.channel.basic_publish("", scene.queue(SICK), b"{}")
    eventually("the queue is full", lambda: scene.ready_count(SICK) >= 1)
    scene.bind(SICK)

    def try_out_below_a_limit(*arguments: Any) -> list[Outcome]:
        scene.rabbitmq.control("eval", SET_LIMIT.format(1000))
        return try_out(*arguments)

    monkeypatch.setattr(prober, "try_out", try_out_below_a_limit)
    note = "x" * 1000
    too_long = event(
        events.AccountTransfer, creditor_id=SICK << 40, transfer_number=0, transfer_note=note
    )
    scene.announce([too_long, *transfers(SICK, range(1, 11))])
    try:
        with flushing(scene):
            eventually("nothing is left", lambda: scene.count("outbox") == 0)
        assert scene.count("undelivered_message") == 11
    finally:
        scene.rabbitmq.control("eval", SET_LIMIT.format(134217728))


def test_a_user_who_may_not_write_to_the_default_exchange_can_send(scene: Scene) -> None:
    control = scene.rabbitmq.control
    control("add_user", "frugal", "frugal")
    control("set_permissions", "-p", scene.vhost, "frugal", "^$", "^to_", "^$")
    scene.wire.channel.queue_unbind(scene.queue(SICK), "to_creditors", f"00.00.{SICK:02x}.#")
    scene.announce(mixed(transfers(SICK, range(50)), transfers(WELL, range(50))))
    with flushing(scene, scene.broker_url.replace("guest:guest@", "frugal:frugal@")):
        eventually("it is sent", lambda: scene.ready_count(WELL) == 50)
        eventually("the rest is set aside", lambda: scene.count("undelivered_message") == 50)
        scene.bind(SICK)
        eventually("all is sent", lambda: scene.count("undelivered_message") == 0)
    assert set(scene.numbers_at(SICK, 50)) == set(range(50))


def test_a_full_queue_stops_only_what_goes_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "PROBE_SECONDS", 0.5)
    scene.wire.channel.queue_delete(scene.queue(SICK))
    scene.declare(scene.queue(SICK), **{"x-max-length": 50, "x-overflow": "reject-publish"})
    scene.bind(SICK)
    scene.announce(mixed(transfers(SICK, range(2000)), transfers(WELL, range(2000))))
    with flushing(scene):
        eventually("the others go on", lambda: scene.ready_count(WELL) >= 2000)
        eventually("nothing is left", lambda: scene.count("outbox") == 0)
        assert scene.count("undelivered_message") >= 1900
        assert set(scene.numbers_at(SICK, 2000)) == set(range(2000))
        eventually("all is sent", lambda: scene.count("undelivered_message") == 0)
    assert max(scene.numbers_at(WELL, 2000).values()) <= 2


def test_a_broker_low_on_memory_is_waited_for(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.announce(transfers(WELL, [0]))
    with flushing(scene):
        eventually("the flusher is at work", lambda: scene.ready_count(WELL) == 1)
        scene.rabbitmq.control("set_vm_memory_high_watermark", "0.00000001")
        try:
            scene.announce(transfers(WELL, range(1, 500)) + transfers(ALSO_WELL, range(500)))
            eventually("it says so", lambda: "it has blocked this connection" in caplog.text)
            with flushing(scene):
                pass
        finally:
            scene.rabbitmq.control("set_vm_memory_high_watermark", "0.4")
        eventually("all is sent", lambda: scene.count("outbox") == 0)
        assert scene.count("undelivered_message") == 0
        eventually("it says so", lambda: "flushing goes on, after" in caplog.text)
    assert max(scene.numbers_at(WELL, 500).values()) <= 2
    assert max(scene.numbers_at(ALSO_WELL, 500).values()) <= 2
    assert caplog.text.count("flushing is interrupted") <= 2


@contextmanager
def frozen(rabbitmq: EmbeddedRabbitMQ) -> Iterator[None]:
    process = psutil.Process(rabbitmq.pid)
    members = [process, *process.children(recursive=True)]
    for one in members:
        one.suspend()
    try:
        yield
    finally:
        for one in members:
            one.resume()


def test_a_frozen_broker_is_waited_for_and_holds_up_no_stop(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.announce(transfers(WELL, [0]))
    with flushing(scene):
        eventually("the flusher is at work", lambda: scene.ready_count(WELL) == 1)
        with frozen(scene.rabbitmq):
            scene.announce(transfers(WELL, range(1, 500)))
            eventually("it says so", lambda: "flushing is interrupted" in caplog.text)
            with flushing(scene):  # One that has never seen it alive.
                time.sleep(0.5)
            assert scene.count("undelivered_message") == 0
        eventually("all is sent", lambda: scene.count("outbox") == 0)
    assert max(scene.numbers_at(WELL, 500).values()) <= 2
