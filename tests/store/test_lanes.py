"""Flushers share the outbox's lanes: fairly, completely, and never the same one twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from threading import Barrier, Lock

import psycopg
import pytest

from swpt_accounts.store import lanes
from swpt_accounts.store.connection import connect
from swpt_accounts.store.lanes import Lanes
from tests.workers.waiting import eventually

GROUP = range(8, 16)
OTHER_GROUP = range(32, 40)
HELD = """
    SELECT objid::int FROM pg_locks
    WHERE locktype = 'advisory' AND classid = %s AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Flusher:
    """A connection of its own, and the lanes that it holds."""

    def __init__(self, url: str, *groups: range) -> None:
        self.connection = connect(url, application_name="flusher", autocommit=True)
        self.lanes = Lanes(self.connection, groups or (GROUP,))

    @property
    def held(self) -> list[int]:
        return self.lanes.held

    def rebalance(self) -> None:
        self.lanes.rebalance()

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def join(folder_url: str, session: psycopg.Connection) -> Iterator[Callable[..., Flusher]]:
    """Call it for one more flusher."""
    with ExitStack() as stack:

        def make(*groups: range) -> Flusher:
            flusher = Flusher(folder_url, *groups)
            stack.callback(flusher.close)
            return flusher

        yield make
    eventually("the lanes are free again", lambda: not locked(session))


def locked(session: psycopg.Connection) -> list[int]:
    """Return what is held according to the server."""
    return sorted(lane for (lane,) in session.execute(HELD, (lanes._LANE_LOCKS,)))


def share_out(flushers: list[Flusher]) -> list[list[int]]:
    """Let everybody give up what is too much, and take what is free."""
    for flusher in flushers * 2:
        flusher.rebalance()
        taken = Counter(lane for f in flushers for lane in f.held)
        assert max(taken.values(), default=0) <= 1, "a lane is held twice"
    return [flusher.held for flusher in flushers]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 20])
def test_everybody_gets_a_fair_share_and_no_lane_is_left(
    join: Callable[..., Flusher], session: psycopg.Connection, count: int
) -> None:
    shares = share_out([join() for _ in range(count)])
    assert sorted(lane for share in shares for lane in share) == list(GROUP)
    assert max(map(len, shares)) == -(-len(GROUP) // count)
    assert locked(session) == list(GROUP)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_who_comes_later_gets_a_share_too(join: Callable[..., Flusher], count: int) -> None:
    flushers = []
    for _ in range(count):
        flushers.append(join())
        shares = share_out(flushers)
        assert sorted(lane for share in shares for lane in share) == list(GROUP)
        assert max(map(len, shares)) == -(-len(GROUP) // len(flushers))


@pytest.mark.parametrize(("count", "leaving"), [(2, 1), (3, 1), (3, 2), (20, 19), (20, 12)])
def test_those_who_stay_take_over_from_those_who_die(
    join: Callable[..., Flusher], session: psycopg.Connection, count: int, leaving: int
) -> None:
    flushers = [join() for _ in range(count)]
    share_out(flushers)
    for flusher in flushers[:leaving]:
        process = flusher.connection.info.backend_pid
        session.execute("SELECT pg_terminate_backend(%s, 60000)", (process,))
    staying = flushers[leaving:]
    shares = share_out(staying)
    assert sorted(lane for share in shares for lane in share) == list(GROUP)
    assert max(map(len, shares)) == -(-len(GROUP) // len(staying))


def test_a_connection_that_is_closed_leaves_its_lanes_to_the_others(
    join: Callable[..., Flusher],
) -> None:
    leaving, staying = join(), join()
    share_out([leaving, staying])
    leaving.close()

    def has_everything() -> bool:
        staying.rebalance()
        return sorted(staying.held) == list(GROUP)

    eventually("the other one has all lanes", has_everything)


def test_groups_are_shared_each_by_those_who_want_it(join: Callable[..., Flusher]) -> None:
    both, one, other = join(GROUP, OTHER_GROUP), join(GROUP), join(OTHER_GROUP)
    shares = share_out([both, one, other])
    assert sorted(lane for share in shares for lane in share) == [*GROUP, *OTHER_GROUP]
    assert [sum(lane in GROUP for lane in share) for share in shares] == [4, 4, 0]
    assert [sum(lane in OTHER_GROUP for lane in share) for share in shares] == [4, 0, 4]


def test_what_is_under_way_is_finished_once_however_many_groups_are_given_up(
    join: Callable[..., Flusher], session: psycopg.Connection
) -> None:
    first = join(GROUP, OTHER_GROUP)
    first.rebalance()
    join(GROUP, OTHER_GROUP)
    locked_while_finishing: list[list[int]] = []
    first.lanes.rebalance(lambda: locked_while_finishing.append(locked(session)))
    assert locked_while_finishing == [[*GROUP, *OTHER_GROUP]]
    assert locked(session) == sorted(first.held) == [*GROUP[:4], *OTHER_GROUP[:4]]


def test_a_share_is_kept_as_long_as_it_is_fair(join: Callable[..., Flusher]) -> None:
    flushers = [join() for _ in range(3)]
    shares = share_out(flushers)
    assert [flusher.held for flusher in flushers] == shares
    assert share_out(flushers) == shares


def test_flushers_of_another_database_do_not_count(
    join: Callable[..., Flusher], postgres_url: str
) -> None:
    elsewhere = Flusher(postgres_url)
    try:
        elsewhere.rebalance()
        here = join()
        here.rebalance()
        assert sorted(here.held) == sorted(elsewhere.held) == list(GROUP)
    finally:
        elsewhere.close()


def test_no_lane_is_ever_held_twice_while_flushers_come_and_go(folder_url: str) -> None:
    """Each thread notes what it holds as long as it may send: from one rebalancing to the next."""
    count, rounds = 6, 60
    owners: dict[int, int] = {}
    lock = Lock()
    barrier = Barrier(count)

    def disown(number: int) -> None:
        with lock:
            for lane in [lane for lane, owner in owners.items() if owner == number]:
                del owners[lane]

    def own(number: int, held: list[int]) -> None:
        with lock:
            for lane in held:
                assert owners.setdefault(lane, number) == number, "a lane is held twice"

    def flush(number: int) -> None:
        random = Random(number)
        flusher = Flusher(folder_url)
        barrier.wait(60)
        for _ in range(rounds):
            if random.randrange(5) == 0:
                disown(number)
                flusher.close()
                flusher = Flusher(folder_url)
            disown(number)
            flusher.rebalance()
            own(number, flusher.held)
        disown(number)
        flusher.close()

    with ThreadPoolExecutor(count) as executor:
        list(executor.map(flush, range(count)))
