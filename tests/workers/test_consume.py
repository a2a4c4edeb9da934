"""From the queue to the database and back: nothing is lost, nothing is kept for ever."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest

from swpt_accounts.broker import topology
from swpt_accounts.broker.message import Delivery
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.workers import consume, dead_letter_office, parking
from swpt_accounts.workers.consume import Intake
from swpt_accounts.workers.settled import Settled
from tests.factories import DEBTOR_ID, pending_balance_change
from tests.workers.cable import Cable, cable
from tests.workers.running import make_consumption, running
from tests.workers.waiting import eventually
from tests.workers.wire import Received, Wire

Count = Callable[[], int]


@pytest.fixture
def applied_count(shard: psycopg.Connection) -> Count:
    """Call it for the sum of all principals."""

    def count() -> int:
        row = shard.execute("SELECT coalesce(sum(principal), 0) FROM account").fetchone()
        assert row is not None
        return int(row[0])

    return count


def payments(count: int, first: int = 0) -> list[Any]:
    """Messages that add 1 to an account each, applied twice if they are not recognized."""
    return [
        pending_balance_change(change_id=n, creditor_id=1000 + n % 7, principal_delta=1)
        for n in range(first, first + count)
    ]


class Watched:
    """Remembers what a consumer has handled."""

    def __init__(self) -> None:
        self.batches: list[list[Delivery]] = []
        self._intake: Any = None

    def around(self, intake: Intake) -> Intake:
        self._intake = intake
        return self

    def handle(self, deliveries: Sequence[Delivery], settled: Settled | None = None) -> Settled:
        if deliveries:
            self.batches.append(list(deliveries))
        handled: Settled = self._intake.handle(deliveries, settled)
        return handled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._intake, name)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_what_is_in_the_queue_is_applied_in_batches_and_gone(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    watched: Watched,
) -> None:
    wire.send(*payments(500))

    with running(
        make_consumption(
            postgres_url, broker_url, queue, batch_size_max=50, around_intake=watched.around
        )
    ):
        eventually("all 500 are applied", lambda: applied_count() == 500)

    assert wire.ready_count(queue) == 0
    assert max(map(len, watched.batches)) <= 50
    assert sum(map(len, watched.batches)) == 500


def test_what_is_not_settled_when_the_consumer_stops_goes_back_to_the_queue(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    watched: Watched,
) -> None:
    """A stop is noticed between two batches: what was prefetched is left to others."""
    wire.send(*payments(500))

    with running(
        make_consumption(
            postgres_url, broker_url, queue, batch_size_max=10, around_intake=watched.around
        )
    ):
        eventually("some are applied", lambda: applied_count() >= 10)

    handled_count = sum(map(len, watched.batches))
    assert applied_count() == handled_count
    eventually("the rest is there", lambda: wire.ready_count(queue) == 500 - handled_count)


def test_a_message_of_another_shard_is_taken_from_the_queue_and_sent_on(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    shard: psycopg.Connection,
    watched: Watched,
) -> None:
    realm = Realm.parse("0.#")
    ours, foreign = (
        next(n for n in range(1000, 2000) if realm.contains(DEBTOR_ID, n) == is_ours)
        for is_ours in (True, False)
    )
    wire.send(pending_balance_change(creditor_id=foreign), pending_balance_change(creditor_id=ours))

    with running(
        make_consumption(
            postgres_url, broker_url, queue, routing_key="0.#", around_intake=watched.around
        )
    ):
        eventually(
            "it is on its way",
            lambda: shard.execute("SELECT FROM outbox WHERE is_forwarded").fetchall(),
        )

    assert sum(map(len, watched.batches)) == 2
    assert wire.ready_count(queue) == 0
    assert shard.execute("SELECT creditor_id FROM account").fetchall() == [(ours,)]
    assert shard.execute("SELECT FROM parked_message").fetchall() == []


def test_dead_letters_arrive_beside_the_queue_with_their_reasons(
    postgres_url: str, broker_url: str, queue: str, wire: Wire, applied_count: Count
) -> None:
    wire.send(*payments(10))
    wire.publish(b"{}", "PendingBalanceChange", exchange="", routing_key=queue)
    wire.publish(b"\xff", "Nonsense", exchange="", routing_key=queue, content_type="text/plain")
    wire.send(*payments(10, first=10))

    with running(make_consumption(postgres_url, broker_url, queue)):
        eventually("the good ones are applied", lambda: applied_count() == 20)
        first, second = await_dead_letters(wire, queue, 2)

    assert (first.body, first.properties.type) == (b"{}", "PendingBalanceChange")
    assert first.properties.headers is not None
    assert "missing required field" in first.properties.headers["dead-letter-reason"]
    assert (second.body, second.properties.type) == (b"\xff", "Nonsense")
    assert second.properties.content_type == "text/plain"
    assert second.properties.headers is not None
    assert "the content type is 'text/plain'" in second.properties.headers["dead-letter-reason"]
    assert wire.ready_count(queue) == 0


def test_what_is_rejected_is_kept_in_the_database_while_there_is_no_place_for_dead_letters(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    shard: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    watched: Watched,
) -> None:
    monkeypatch.setattr(parking, "BURY_SECONDS", 0.1)
    monkeypatch.setattr(dead_letter_office, "REST_SECONDS", 0.1)
    wire.channel.queue_delete(topology.dead_letter_queue(queue))
    wire.publish(b"{}", "PendingBalanceChange", exchange="", routing_key=queue)
    wire.send(*payments(10))

    def parked_count() -> int:
        return len(shard.execute("SELECT FROM parked_message").fetchall())

    with running(make_consumption(postgres_url, broker_url, queue, around_intake=watched.around)):
        eventually("the good ones are applied", lambda: applied_count() == 10)
        eventually("the other is parked", lambda: parked_count() == 1)
        topology.subscribe(broker_url, queue, "#")
        await_dead_letters(wire, queue, 1)
        eventually("nothing is parked", lambda: parked_count() == 0)

    [letter] = wire.dead_letters(queue)
    assert letter.body == b"{}"
    assert letter.properties.headers is not None
    assert "missing required field" in letter.properties.headers["dead-letter-reason"]
    assert sum(map(len, watched.batches)) == 11
    assert wire.ready_count(queue) == 0


def await_dead_letters(wire: Wire, queue: str, count: int) -> list[Received]:
    return eventually(
        f"{count} dead letters",
        lambda: letters if len(letters := wire.dead_letters(queue)) >= count else [],
    )


@pytest.fixture
def broker_cable(broker_url: str) -> Iterator[tuple[Cable, str]]:
    with cable(broker_url) as laid:
        yield laid


@pytest.fixture
def database_cable(postgres_url: str) -> Iterator[tuple[Cable, str]]:
    with cable(postgres_url) as laid:
        yield laid


def test_what_is_here_is_kept_and_no_more_is_taken_while_the_database_is_away(
    database_cable: tuple[Cable, str],
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    watched: Watched,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Given back to the queue, they would come again at once, and be dropped after 20 times."""
    to_database, url = database_cable
    wire.send(*payments(10))
    with running(make_consumption(url, broker_url, queue, around_intake=watched.around)):
        eventually("the first are applied", lambda: applied_count() == 10)
        to_database.pull_out()
        wire.send(*payments(10, first=10))
        eventually("it notices", lambda: "nothing is taken from the queue" in caplog.text)
        later = itertools.count(20)

        def later_ones_stay() -> bool:
            wire.send(*payments(1, first=next(later)))
            return wire.ready_count(queue) >= 3

        # The broker may hear of the cancellation a moment after the log does.
        eventually("what comes later stays there", later_ones_stay)
        to_database.plug_in()
        sent_count = next(later)
        eventually("all are applied", lambda: applied_count() == sent_count)

    # The broker may give back what it sends just when it hears of the cancellation.
    tags_by_body: defaultdict[bytes, set[int]] = defaultdict(set)
    for delivery in itertools.chain.from_iterable(watched.batches):
        tags_by_body[delivery.body].add(delivery.tag)
    assert max(map(len, tags_by_body.values())) <= 2
    assert wire.ready_count(queue) == 0


def test_nothing_is_subscribed_to_before_the_database_has_answered(
    database_cable: tuple[Cable, str],
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    watched: Watched,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often a consumer is started meanwhile, no message is delivered in vain."""
    to_database, url = database_cable
    to_database.pull_out()
    wire.send(*payments(10))
    for _ in range(3):
        caplog.clear()
        with running(make_consumption(url, broker_url, queue, around_intake=watched.around)):
            eventually("it says so", lambda: "the database cannot be used" in caplog.text)
        eventually("all are still there", lambda: wire.ready_count(queue) == 10)
    to_database.plug_in()

    with running(make_consumption(url, broker_url, queue, around_intake=watched.around)):
        eventually("all are applied", lambda: applied_count() == 10)

    assert not any(d.redelivered for batch in watched.batches for d in batch)


def test_what_is_kept_for_too_long_goes_back_to_the_queue(
    database_cable: tuple[Cable, str],
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consume, "HOLD_SECONDS_MAX", 0.5)
    to_database, url = database_cable
    wire.send(*payments(10))
    with running(make_consumption(url, broker_url, queue)):
        eventually("the first are applied", lambda: applied_count() == 10)
        to_database.pull_out()
        wire.send(*payments(10, first=10))
        eventually("they are back", lambda: wire.ready_count(queue) == 10)
        assert wire.consumers_count(queue) == 0
        to_database.plug_in()
        eventually("all are applied", lambda: applied_count() == 20)


@pytest.mark.parametrize("round_", range(3))
def test_a_consumer_comes_back_when_the_broker_does(
    postgres_url: str,
    broker_cable: tuple[Cable, str],
    queue: str,
    wire: Wire,
    applied_count: Count,
    round_: int,
) -> None:
    to_broker, url = broker_cable
    wire.send(*payments(300))
    with running(make_consumption(postgres_url, url, queue, batch_size_max=20)):
        eventually("some are applied", lambda: applied_count() >= 20 * round_ + 20)
        to_broker.pull_out()
        wire.send(*payments(300, first=300))
        to_broker.plug_in()
        eventually("all are applied", lambda: applied_count() == 600)
        wire.send(*payments(600))
        wire.send(*payments(1, first=600))
        eventually("nothing was applied twice", lambda: applied_count() == 601)

    eventually("everything is acked", lambda: wire.ready_count(queue) == 0)


def test_a_consumer_waits_for_a_queue_that_does_not_exist_yet(
    postgres_url: str,
    broker_url: str,
    queue_name: str,
    wire: Wire,
    applied_count: Count,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(make_consumption(postgres_url, broker_url, queue_name)):
        eventually("it says so", lambda: f"there is no queue '{queue_name}'" in caplog.text)
        topology.subscribe(broker_url, queue_name, "#")
        wire.send(*payments(10))
        eventually("all are applied", lambda: applied_count() == 10)


def test_a_consumer_survives_the_deletion_of_its_queue(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    applied_count: Count,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(make_consumption(postgres_url, broker_url, queue)):
        wire.send(*payments(10))
        eventually("the first are applied", lambda: applied_count() == 10)
        wire.channel.queue_delete(queue)
        eventually("it notices", lambda: f"the queue '{queue}' was deleted" in caplog.text)
        topology.subscribe(broker_url, queue, "#")
        wire.send(*payments(10, first=10))
        eventually("all are applied", lambda: applied_count() == 20)
