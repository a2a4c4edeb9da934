"""When accounts that have changed are announced: soon, in turn, and once."""

import json
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers import scan_accounts
from swpt_accounts.workers.scan_accounts import LOST_SECONDS, WaitingAccounts
from swpt_accounts.workers.scanner import Session
from tests import factories
from tests.factories import NOW, every_chore
from tests.workers.conftest import MakeSession
from tests.workers.running import running
from tests.workers.scanning import add_accounts, make_scanner
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

HALF = Realm.parse("0.#")
EVERYTHING = Realm.parse("#")
DELAY = timedelta(hours=1)
PAGE = 10

Sent = Callable[[], list[int]]


@pytest.fixture
def session(make_session: MakeSession) -> Session:
    return make_session()


@pytest.fixture
def sent(wire: Wire, chores_queue: str) -> Sent:
    """Call it to take from the queue what has been sent: the creditors of announced accounts."""

    def take() -> list[int]:
        taker = Wire(wire.url)
        taker.consume(chores_queue)
        received = taker.catch_up()
        taker.close()
        assert {r.properties.type for r in received} <= {"SendAccountUpdate"}
        return [r.document["creditor_id"] for r in received]

    return take


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_accounts, "WAITING_PAGE_SIZE", PAGE)


def add_waiting(shard: psycopg.Connection, waits: dict[int, timedelta | None]) -> None:
    """Add accounts, by their creditors, that have waited for so long."""
    add_accounts(
        shard,
        *(
            {"creditor_id": n, "update_pending_since": None if wait is None else NOW - wait}
            for n, wait in waits.items()
        ),
    )


def sweep(waiting: WaitingAccounts, session: Session) -> list[float]:
    """Let it take steps until it has found all; return the pauses."""
    pauses = [waiting.step(session)]
    while waiting._position != scan_accounts._BEFORE_ALL:
        pauses.append(waiting.step(session))
    return pauses


def test_accounts_that_have_waited_long_enough_are_announced_the_longest_first(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    microsecond = timedelta(microseconds=1)
    add_waiting(
        shard,
        {
            **{n: DELAY + timedelta(minutes=n) for n in range(1, 26)},
            100: DELAY,
            101: DELAY - microsecond,
            102: -DELAY,
            103: None,
        },
    )
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    waiting.begin(session)
    assert not waiting.is_done

    pauses = sweep(waiting, session)

    assert sent() == [*range(25, 0, -1), 100]
    assert len(pauses) == 3
    assert waiting.is_done


def test_many_accounts_that_have_begun_to_wait_at_one_moment_are_all_found_once(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, dict.fromkeys(range(-20, 15), DELAY))
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    sweep(waiting, session)
    assert sent() == list(range(-20, 15))


def test_no_account_is_sent_again_while_chores_wait_in_the_queue(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, dict.fromkeys(range(1, 16), DELAY))
    waiting = WaitingAccounts(EVERYTHING, DELAY)

    for _ in range(5):
        sweep(waiting, session)

    assert sent() == list(range(1, 16))
    # The chores are gone, without having been done.
    sweep(waiting, session)
    assert sent() == list(range(1, 16))


def test_accounts_that_begin_to_wait_are_found_although_nothing_was_sent_before(
    shard: psycopg.Connection, session: Session, make_session: MakeSession, sent: Sent
) -> None:
    add_waiting(shard, {1: timedelta(0)})
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    sweep(waiting, session)
    assert waiting.is_done
    assert sent() == []

    sweep(waiting, make_session(NOW + DELAY - timedelta(microseconds=1)))
    assert sent() == []
    sweep(waiting, make_session(NOW + DELAY))
    assert sent() == [1]


def test_accounts_of_other_shards_are_not_announced(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, dict.fromkeys(range(1, 41), DELAY))
    sweep(WaitingAccounts(HALF, DELAY), session)
    assert sent() == [n for n in range(1, 41) if HALF.contains(factories.DEBTOR_ID, n)]


def test_accounts_that_are_late_are_announced_without_a_pause_and_others_evenly(
    shard: psycopg.Connection, make_session: MakeSession
) -> None:
    add_waiting(shard, dict.fromkeys(range(1, 26), timedelta(0)))
    microsecond = timedelta(microseconds=1)
    for late, pause in (
        (timedelta(0), PAGE / scan_accounts.WAITING_PACE),
        (DELAY, PAGE / scan_accounts.WAITING_PACE),
        (DELAY + microsecond, 0.0),
        (timedelta(days=100), 0.0),
    ):
        pauses = sweep(WaitingAccounts(EVERYTHING, DELAY), make_session(NOW + DELAY + late))
        assert pauses[:-1] == [pause, pause]
        assert pauses[-1] == scan_accounts.LOOK_SECONDS_MAX


@pytest.mark.parametrize(
    ("delay", "pause"), [(0, 0.2), (1, 0.2), (10, 0.5), (100, 5), (3600, 10), (86400, 10)]
)
def test_the_shorter_the_delay_the_more_often_it_looks(
    session: Session, delay: float, pause: float
) -> None:
    waiting = WaitingAccounts(EVERYTHING, timedelta(seconds=delay))
    assert waiting.step(session) == pause


def test_after_a_restart_it_begins_with_those_who_have_waited_longest(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, {n: DELAY + timedelta(minutes=n) for n in range(1, 26)})
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    waiting.step(session)
    waiting.begin(session)
    sent()
    shard.execute("UPDATE account SET update_pending_since = NULL WHERE creditor_id > 20")
    sweep(waiting, session)
    assert sent() == list(range(20, 0, -1))


# -- while there are other chores -------------------------------------------------

OTHERS = [chore for chore in every_chore() if type(chore).__name__ != "SendAccountUpdate"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def take_one(wire: Wire, chores_queue: str) -> tuple[str, int] | None:
    """Take the first chore from the queue, if there is one; return its type and its creditor."""
    method, properties, body = wire.channel.basic_get(chores_queue, auto_ack=True)
    if method is None:
        return None
    return properties.type, json.loads(body)["creditor_id"]


def await_count(session: Session, count: int) -> None:
    """Wait until there are so many chores in the queue, and no more."""
    eventually(f"{count} chores", lambda: session.chores.waiting_count() == count)


def test_a_steady_trickle_of_other_chores_keeps_no_account_from_being_announced(
    shard: psycopg.Connection, postgres_url: str, broker_url: str, wire: Wire, chores_queue: str
) -> None:
    """One chore after the other is done, but the queue is never empty."""
    wire.send(*OTHERS, to=chores_queue)
    announced = []

    def do_one() -> int:
        taken = take_one(wire, chores_queue)
        if taken is None:
            return 0
        kind, creditor_id = taken
        if kind != "SendAccountUpdate":
            wire.send(OTHERS[0], to=chores_queue)
            return 0
        shard.execute(
            "UPDATE account SET update_pending_since = NULL WHERE creditor_id = %s", [creditor_id]
        )
        return creditor_id

    waiting = WaitingAccounts(EVERYTHING, timedelta(seconds=1))
    with running(make_scanner(postgres_url, broker_url, chores_queue, waiting)):
        for creditor_id in range(1, 6):
            add_accounts(shard, {"creditor_id": creditor_id, "update_pending_since": utc_now()})
            announced.append(eventually("an account is announced", do_one))
    assert announced == list(range(1, 6))


def test_accounts_that_come_later_are_announced_although_nobody_does_the_earlier_ones(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    add_waiting(shard, dict.fromkeys(range(1, 16), 2 * DELAY))
    sweep(waiting, session)
    add_waiting(shard, dict.fromkeys(range(16, 31), DELAY))
    sweep(waiting, session)
    assert sent() == list(range(1, 31))


def test_while_nobody_does_chores_none_is_sent_again(
    shard: psycopg.Connection, session: Session, wire: Wire, chores_queue: str
) -> None:
    wire.send(*OTHERS, to=chores_queue)
    add_waiting(shard, dict.fromkeys(range(1, 26), DELAY))
    clock = Clock()
    waiting = WaitingAccounts(EVERYTHING, DELAY, clock)
    for _ in range(10):
        sweep(waiting, session)
        waiting.begin(session)
        clock.now += 10 * LOST_SECONDS
        wire.send(OTHERS[0], to=chores_queue)
    await_count(session, len(OTHERS) + 10 + 25)


def test_a_chore_that_was_lost_is_sent_again_once_when_others_have_long_been_done(
    shard: psycopg.Connection, session: Session, wire: Wire, chores_queue: str
) -> None:
    wire.send(*OTHERS, to=chores_queue)
    add_waiting(shard, dict.fromkeys(range(1, 26), DELAY))
    clock = Clock()
    waiting = WaitingAccounts(EVERYTHING, DELAY, clock)
    count = len(OTHERS) - 1 + 25
    sweep(waiting, session)
    sweep(waiting, session)
    take_one(wire, chores_queue)
    await_count(session, count)
    clock.now += LOST_SECONDS - 1
    sweep(waiting, session)
    await_count(session, count)
    clock.now += 1
    for _ in range(3):
        sweep(waiting, session)
    await_count(session, count + 25)


def test_of_very_many_accounts_only_some_are_remembered_and_all_are_announced_once(
    shard: psycopg.Connection,
    session: Session,
    wire: Wire,
    chores_queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan_accounts, "SENT_MAX", 3 * PAGE)
    wire.send(*OTHERS, to=chores_queue)
    add_waiting(shard, {n: DELAY + timedelta(minutes=100 - n) for n in range(100)})
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    announced = []
    while not waiting.is_done:
        assert len(waiting._sent) <= 3 * PAGE
        sweep(waiting, session)
        if taken := take_one(wire, chores_queue):
            kind, creditor_id = taken
            if kind != "SendAccountUpdate":
                wire.send(OTHERS[0], to=chores_queue)
                continue
            announced.append(creditor_id)
            shard.execute(
                "UPDATE account SET update_pending_since = NULL WHERE creditor_id = %s",
                [creditor_id],
            )
    while taken := take_one(wire, chores_queue):
        announced += [taken[1]] if taken[0] == "SendAccountUpdate" else []
    assert announced == list(range(100))
