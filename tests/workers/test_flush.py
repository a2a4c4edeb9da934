"""From the outbox to the exchanges: each message once, and none lost when a server is."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
from psycopg import sql

from swpt_accounts.broker import topology
from swpt_accounts.ledger import events
from swpt_accounts.ledger.events import Event
from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database, Transaction
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers import care, flush
from swpt_accounts.workers.stopping import Stopping
from tests.broker.proxy import Proxy
from tests.factories import event, every_event
from tests.workers.cable import Cable, cable
from tests.workers.running import make_flusher, running
from tests.workers.waiting import eventually
from tests.workers.wire import Received, Wire, types

Announce = Callable[[Iterable[Event]], None]


@pytest.fixture
def announce(postgres_url: str) -> Iterator[Announce]:
    """Call it to write events to the outbox, as one batch does."""
    database = Database(postgres_url, application_name="tests: announce")

    def announce(announced: Iterable[Event]) -> None:
        with database.transaction() as transaction:
            outbox.append(transaction, map(encode, announced), utc_now())
        outbox.wake_flushers(database)

    yield announce
    database.close()


@pytest.fixture
def left_count(shard: psycopg.Connection) -> Callable[[str], int]:
    """Call it with the name of a table for the number of its rows."""

    def count(table: str) -> int:
        row = shard.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])

    return count


@pytest.fixture
def exchanges(broker_url: str, queue: str) -> str:
    """The broker's URL, where all exchanges exist, and a queue for other shards' messages."""
    return broker_url


def prepared(count: int, first: int = 0) -> list[Event]:
    """Events that differ, for several accounts."""
    return [
        event(events.PreparedTransfer, creditor_id=n % 31, coordinator_request_id=n)
        for n in range(first, first + count)
    ]


def request_ids(received: Iterable[Received]) -> Counter[int]:
    return Counter(r.document["coordinator_request_id"] for r in received)


def test_every_type_of_message_is_sent_and_forgotten(
    postgres_url: str,
    exchanges: str,
    queue: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
) -> None:
    wire.collect_all()
    wire.consume(queue)
    announce(every_event())

    with running(make_flusher(postgres_url, exchanges)):
        wire.receive("eight messages", lambda received: len(received) >= 8)
        eventually("the outbox is empty", lambda: left_count("outbox") == 0)

    assert sorted(types(wire.received)) == sorted(type(e).__name__ for e in every_event())
    for received in wire.received:
        expected = encode(
            next(e for e in every_event() if type(e).__name__ == received.properties.type)
        )
        assert received.exchange == expected.exchange
        assert received.routing_key == expected.routing_key
        assert received.body == expected.body
        assert received.properties.content_type == "application/json"
        assert received.properties.delivery_mode == 2
        assert received.properties.app_id == "swpt_accounts"


def test_a_flusher_is_woken_by_the_commit_of_others(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    shard: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would find nothing by looking by itself, for an hour."""
    monkeypatch.setattr(flush, "WAIT_SECONDS", 3600.0)
    wire.collect_all()
    announce(prepared(1))
    stopping = Stopping()
    with ThreadPoolExecutor(1) as another_thread:
        flusher = make_flusher(postgres_url, exchanges, poll_seconds=3600.0)
        end = another_thread.submit(flusher.run, stopping)
        try:
            for count in range(1, 20):
                wire.receive(f"message {count}", partial(is_as_long_as, count))
                announce(prepared(1, first=count))
            wire.receive("the last one", partial(is_as_long_as, 20))
        finally:
            stopping.request()
            shard.execute(f"NOTIFY {outbox.CHANNEL}")  # It notices then that it is to stop.
        end.result(60)

    assert request_ids(wire.received) == Counter(range(20))


def is_as_long_as(count: int, received: list[Received]) -> bool:
    return len(received) >= count


def test_every_row_is_sent_once_while_pages_follow_each_other(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many pages are under way at once, and rows committed late have smaller ids than they."""
    monkeypatch.setattr(flush, "PAGE_SIZE", 20)
    monkeypatch.setattr(flush, "GATHERING_SECONDS", 0.0)
    monkeypatch.setattr(flush, "CONFIRM_SECONDS", 0.0)
    wire.collect_all()
    with connect(postgres_url, application_name="late") as late, late.cursor() as cursor:
        outbox.append(Transaction(cursor), map(encode, prepared(100, first=5000)), utc_now())
        announce(prepared(3000))
        with running(make_flusher(postgres_url, exchanges)):
            wire.receive("some messages", lambda received: len(received) > 1000)
            late.commit()
            wire.receive("the rest", lambda received: len(received) >= 3100)
            eventually("the outbox is empty", lambda: left_count("outbox") == 0)

    assert request_ids(wire.catch_up()) == Counter([*range(3000), *range(5000, 5100)])


def test_two_flushers_send_every_row_once(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the second one starts, lanes are passed on to it."""
    monkeypatch.setattr(flush, "PAGE_SIZE", 50)
    monkeypatch.setattr(flush, "REBALANCE_SECONDS", 0.02)
    wire.collect_all()
    announce(prepared(2000))
    first, second = (make_flusher(postgres_url, exchanges) for _ in range(2))
    with running(first):
        wire.receive("some messages", lambda received: len(received) > 100)
        with running(second):
            announce(prepared(1000, first=2000))
            wire.receive("most messages", lambda received: len(received) > 2500)
        announce(prepared(100, first=3000))
        eventually("the outbox is empty", lambda: left_count("outbox") == 0)

    assert request_ids(wire.catch_up()) == Counter(range(3100))


def test_a_flusher_for_one_type_of_message_leaves_the_others_alone(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    shard: psycopg.Connection,
) -> None:
    wire.collect_all()
    announce(every_event())

    flusher = make_flusher(postgres_url, exchanges, ["AccountTransfer"], quit_early=True)
    with running(flusher) as [end]:
        end.result(60)

    left = {row[0] for row in shard.execute("SELECT message_type FROM outbox")}
    assert left == {type(e).__name__ for e in every_event()} - {"AccountTransfer"}
    assert types(wire.catch_up()) == ["AccountTransfer"]


def test_a_flusher_that_may_quit_early_ends_when_nothing_is_left(
    postgres_url: str,
    exchanges: str,
    announce: Announce,
    left_count: Callable[[str], int],
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flush, "PAGE_SIZE", 50)
    wire.collect_all()
    announce(prepared(180))

    with running(make_flusher(postgres_url, exchanges, quit_early=True)) as [end]:
        end.result(60)
        assert left_count("outbox") == 0
    assert request_ids(wire.catch_up()) == Counter(range(180))


# -- what the broker would not take ---------------------------------------


def test_what_nobody_takes_is_set_aside_and_sent_when_there_is_a_queue_for_it(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    shard: psycopg.Connection,
    left_count: Callable[[str], int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(care, "PROBE_SECONDS", 0.2)
    coordinators = wire.collect("to_coordinators")
    stray = [event(events.AccountTransfer, transfer_number=n) for n in range(1, 4)]
    announce([*stray[:2], *prepared(20), *stray[2:]])

    with running(make_flusher(postgres_url, exchanges)):
        wire.receive("its neighbours", lambda received: len(received) == 20)
        eventually("nothing is left to send", lambda: left_count("outbox") == 0)
        assert left_count("undelivered_message") == 3
        reasons = shard.execute("SELECT destination, reason FROM undelivered_message").fetchall()
        assert set(reasons) == {("to_creditors 00.00.02", "312 NO_ROUTE")}
        assert "The destination to_creditors 00.00.02 takes nothing" in caplog.text
        assert "exchange to_creditors with routing key 00.00.02.01.00.00.00.01: 312" in caplog.text

        before = sum(attempts_counts(shard))
        eventually("it was tried again", lambda: sum(attempts_counts(shard)) > before)
        announce(prepared(20, first=20))
        wire.receive("others go on", lambda received: len(received) == 40)

        wire.channel.queue_bind(coordinators, "to_creditors", "#")
        wire.await_documents("AccountTransfer", 3)
        eventually("nothing is left", lambda: left_count("undelivered_message") == 0)
        again = "The destination to_creditors 00.00.02 takes messages again"
        eventually("it says so", lambda: again in caplog.text)

    assert {d["transfer_number"] for d in wire.documents("AccountTransfer")} == {1, 2, 3}
    assert caplog.text.count("takes nothing") == 1
    assert request_ids(r for r in wire.received if r.exchange == "to_coordinators") == Counter(
        range(40)
    )


def attempts_counts(shard: psycopg.Connection) -> list[int]:
    return [row[0] for row in shard.execute("SELECT attempts_count FROM undelivered_message")]


def test_the_last_words_to_a_debtor_that_has_gone_are_not_kept(
    postgres_url: str,
    exchanges: str,
    announce: Announce,
    left_count: Callable[[str], int],
) -> None:
    """When a root account is scheduled for deletion, its queue may be gone for good."""
    announce([event(events.AccountUpdate, creditor_id=0, config_flags=1)])

    with running(make_flusher(postgres_url, exchanges, quit_early=True)) as [end]:
        end.result(60)

    assert left_count("outbox") == left_count("undelivered_message") == 0


def test_what_a_full_queue_refuses_is_set_aside_and_the_rest_is_sent(
    postgres_url: str,
    exchanges: str,
    queue_name: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(care, "PROBE_SECONDS", 0.2)
    full = f"{queue_name}-full"
    wire.channel.queue_declare(
        full, exclusive=True, arguments={"x-max-length": 5, "x-overflow": "reject-publish"}
    )
    wire.channel.queue_bind(full, "to_debtors", "#")
    wire.collect("to_coordinators")
    announce([event(events.AccountUpdate, debtor_id=n, creditor_id=0) for n in range(20)])
    announce(prepared(20))

    with running(make_flusher(postgres_url, exchanges)):
        wire.receive("the others", lambda received: len(received) == 20)
        eventually("nothing is left", lambda: left_count("outbox") == 0)
        refused_count = left_count("undelivered_message")
        assert 0 < refused_count < 20
        assert wire.ready_count(full) == 20 - refused_count

        wire.consume(full)
        wire.await_documents("AccountUpdate", 20)
        eventually("nothing is left", lambda: left_count("undelivered_message") == 0)
    counts = Counter(d["debtor_id"] for d in wire.documents("AccountUpdate"))
    assert set(counts) == set(range(20))
    assert max(counts.values()) <= 2


# -- servers that go away --------------------------------------------------


@pytest.fixture
def broker_cable(exchanges: str) -> Iterator[tuple[Cable, str]]:
    with cable(exchanges) as laid:
        yield laid


@pytest.fixture
def database_cable(postgres_url: str) -> Iterator[tuple[Cable, str]]:
    with cable(postgres_url) as laid:
        yield laid


def test_a_flusher_comes_back_when_the_broker_does(
    postgres_url: str,
    broker_cable: tuple[Cable, str],
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to_broker, url = broker_cable
    monkeypatch.setattr(flush, "PAGE_SIZE", 100)
    wire.collect_all()
    announce(prepared(3000))
    with running(make_flusher(postgres_url, url)):
        wire.receive("some messages", lambda received: len(received) > 100)
        to_broker.pull_out()
        announce(prepared(100, first=3000))
        to_broker.plug_in()
        eventually("the outbox is empty", lambda: left_count("outbox") == 0)
    assert set(request_ids(wire.catch_up())) == set(range(3100))
    assert left_count("undelivered_message") == 0


def test_a_flusher_comes_back_when_the_database_does(
    database_cable: tuple[Cable, str],
    exchanges: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to_database, url = database_cable
    monkeypatch.setattr(flush, "PAGE_SIZE", 100)
    wire.collect_all()
    announce(prepared(3000))
    with running(make_flusher(url, exchanges)):
        wire.receive("some messages", lambda received: len(received) > 100)
        to_database.pull_out()
        announce(prepared(100, first=3000))
        to_database.plug_in()
        eventually("the outbox is empty", lambda: left_count("outbox") == 0)
    assert set(request_ids(wire.catch_up())) == set(range(3100))


def test_nothing_is_sent_from_a_database_in_which_nothing_can_be_deleted(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    administrator: psycopg.Connection,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after a fail-over to a standby: it would be sent again with each attempt."""
    wire.collect_all()
    announce(prepared(20))
    alter = sql.SQL("ALTER DATABASE {} {}")
    name = sql.Identifier(shard.info.dbname)
    read_only = sql.SQL("SET default_transaction_read_only = on")
    administrator.execute(alter.format(name, read_only))
    try:
        with running(make_flusher(postgres_url, exchanges)):
            eventually("it says so", lambda: "the database is read-only" in caplog.text)
            assert wire.catch_up() == []
    finally:
        reset = sql.SQL("RESET default_transaction_read_only")
        administrator.execute(alter.format(name, reset))

    with running(make_flusher(postgres_url, exchanges)):
        eventually("nothing is left", lambda: left_count("outbox") == 0)
    assert request_ids(wire.catch_up()) == Counter(range(20))


def test_a_flusher_waits_for_exchanges_that_do_not_exist_yet(
    postgres_url: str,
    broker_url: str,
    queue_name: str,
    announce: Announce,
    left_count: Callable[[str], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    announce(prepared(10))
    with running(make_flusher(postgres_url, broker_url)):
        eventually("it says so", lambda: "no exchange 'to_coordinators'" in caplog.text)
        eventually("it is set aside", lambda: left_count("undelivered_message") == 10)
        topology.subscribe(broker_url, queue_name, "#")
        wire = Wire(broker_url)
        try:
            wire.collect_all()
            wire.receive("all messages", lambda received: len(request_ids(received)) == 10)
        finally:
            wire.close()


# -- whose fault it is ---------------------------------------------------------


def test_a_channel_that_nacks_while_a_new_one_works_is_replaced(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    left_count: Callable[[str], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after the fail-over of a queue, for as long as the dead node is away."""
    wire.collect_all()
    announce(prepared(10))
    proxy = Proxy(exchanges)
    with running(make_flusher(postgres_url, proxy.url)):
        wire.receive("some messages", lambda received: len(received) >= 10)
        eventually("they are confirmed", lambda: left_count("outbox") == 0)
        proxy.nack()
        announce(prepared(500, first=10))
        wire.receive("all messages", lambda received: len(request_ids(received)) == 510)
        eventually("the outbox is empty", lambda: left_count("outbox") == 0)
        assert left_count("undelivered_message") == 0
    proxy.close()
    assert caplog.text.count("connecting anew") == 1
    # One served as a probe.
    assert sum(count > 2 for count in request_ids(wire.catch_up()).values()) <= 1


def test_an_id_that_was_set_aside_before_is_no_reason_to_send_anything_again(
    postgres_url: str,
    exchanges: str,
    wire: Wire,
    announce: Announce,
    shard: psycopg.Connection,
    left_count: Callable[[str], int],
) -> None:
    wire.collect("to_coordinators")
    announce([event(events.AccountTransfer, transfer_number=1), *prepared(20)])
    columns = "lane, exchange, routing_key, mandatory, message_type, debtor_id, creditor_id"
    columns = f"id, {columns}, origin_creditor_id, body, inserted_at, is_forwarded"
    shard.execute(
        f"INSERT INTO undelivered_message ({columns}, reason, attempts_count, next_attempt_at)"
        f" SELECT {columns}, '', 1, now() FROM outbox WHERE exchange = 'to_creditors'"
    )
    with running(make_flusher(postgres_url, exchanges)):
        wire.receive("its neighbours", lambda received: len(received) >= 20)
        eventually("the outbox is empty", lambda: left_count("outbox") == 0)
    assert left_count("undelivered_message") == 1
    assert request_ids(wire.catch_up()) == Counter(range(20))
