"""The rules by which Hypothesis plays the world, whatever its shards are made of."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Final

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from swpt_accounts.ledger.values import AccountKey
from tests.simulation.rows import Shard
from tests.simulation.traffic import DEBTOR_IDS
from tests.simulation.world import World

BATCH_SIZE_MAX: Final = 200

# Single commands can be made simpler when a play has failed; of a burst, only the length can.
randoms = st.randoms(use_true_random=False)
bursts = st.randoms(use_true_random=True)
sizes = st.one_of(st.integers(1, 10), st.integers(1, BATCH_SIZE_MAX))
periods = st.one_of(
    st.timedeltas(timedelta(microseconds=1), timedelta(seconds=1)),
    st.timedeltas(timedelta(seconds=1), timedelta(days=1)),
    st.timedeltas(timedelta(days=1), timedelta(days=400)),
    st.timedeltas(timedelta(days=-40), timedelta(seconds=-1)),
)


class Machine(RuleBasedStateMachine):
    """One play. What happens is noted line by line, so that a failure tells its own story."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.make_shards(), note)

    def make_shards(self) -> Sequence[Shard]:
        """Return the empty shards to play with."""
        raise NotImplementedError

    @initialize(random=bursts)
    def open_currencies(self, random: Random) -> None:
        """Let each debtor and all creditors have an account, and most creditors some money."""
        world = self.world
        for debtor_id in DEBTOR_IDS:
            world.send(*world.traffic.opening(random, debtor_id, world.now))
            world.send(*world.traffic.endowment(random, debtor_id, world.now))
        for index in range(len(world.shards)):
            world.apply(index, BATCH_SIZE_MAX)

    @rule(random=randoms)
    def configure(self, random: Random) -> None:
        self.world.send(self.world.traffic.configure(random, self.world.now))

    @rule(random=randoms)
    def prepare(self, random: Random) -> None:
        self.world.send(self.world.traffic.prepare(random, self.world.now))

    @precondition(lambda self: self.world.traffic.announced)
    @rule(random=randoms)
    def finalize(self, random: Random) -> None:
        self.world.send(self.world.traffic.finalize(random, self.world.now))

    @rule(random=randoms)
    def receive_from_outside(self, random: Random) -> None:
        self.world.send(self.world.traffic.outside_change(random, self.world.now))

    @rule(random=bursts, count=sizes)
    def receive_a_burst(self, random: Random, count: int) -> None:
        world = self.world
        world.send(*(world.traffic.any_command(random, world.now) for _ in range(count)))

    @precondition(lambda self: self.world.sent)
    @rule(random=bursts, count=st.integers(1, 20))
    def deliver(self, random: Random, count: int) -> None:
        self.world.deliver(random, count)

    @precondition(lambda self: self.world.handled)
    @rule(random=bursts, count=st.integers(1, 20))
    def repeat(self, random: Random, count: int) -> None:
        self.world.repeat(random, count)

    @precondition(lambda self: any(self.world.queues))
    @rule(random=bursts)
    def reorder(self, random: Random) -> None:
        random.shuffle(max(self.world.queues, key=len))

    @precondition(lambda self: any(self.world.queues))
    @rule(size=sizes, is_acknowledged=st.sampled_from((True, True, True, False)))
    def apply(self, size: int, is_acknowledged: bool) -> None:
        self.world.apply(self.busiest_shard(), size, is_acknowledged=is_acknowledged)

    @rule(random=bursts, count=sizes)
    def work(self, random: Random, count: int) -> None:
        """Let the shards be busy for a while, with batches of all sizes."""
        world = self.world
        world.send(*(world.traffic.any_command(random, world.now) for _ in range(count)))
        world.deliver(random, random.randrange(5))
        while any(world.queues):
            world.apply(self.busiest_shard(), random.choice((1, 2, 10, 50, BATCH_SIZE_MAX)))

    @precondition(lambda self: any(self.world.queues))
    @rule(size=sizes)
    def crash(self, size: int) -> None:
        self.world.crash(self.busiest_shard(), size)

    @rule(period=periods)
    def pass_time(self, period: timedelta) -> None:
        self.world.pass_time(period)

    @rule()
    def lose_or_find_other_shards(self) -> None:
        self.world.others_answer = not self.world.others_answer

    @rule(data=st.data())
    def scan(self, data: st.DataObject) -> None:
        self.world.scan(data.draw(st.integers(0, len(self.world.shards) - 1)))

    @rule(random=bursts, periods=st.lists(periods, min_size=1, max_size=4))
    def take_care(self, random: Random, periods: list[timedelta]) -> None:
        """Let time pass, and after each period, look what it has made due, and do it."""
        world = self.world
        for period in periods:
            world.pass_time(period)
            for index in range(len(world.shards)):
                world.scan(index)
            world.repeat(random, random.randrange(5))
            while any(world.queues):
                world.apply(self.busiest_shard(), random.choice((1, 10, BATCH_SIZE_MAX)))

    @rule(data=st.data(), random=randoms)
    def give_up(self, data: st.DataObject, random: Random) -> None:
        """Let an owner wish that the account were deleted."""
        world = self.world
        world.send(world.traffic.closing(random, data.draw(self.accounts()), world.now))

    @rule(random=randoms)
    def hint(self, random: Random) -> None:
        """Ask for something that need not be due."""
        self.world.send(self.world.traffic.chore(random, self.world.now))

    @rule(data=st.data())
    def seize(self, data: st.DataObject) -> None:
        self.world.seize(data.draw(self.accounts()))

    @rule(data=st.data(), steps=st.integers(1, 3))
    def age(self, data: st.DataObject, steps: int) -> None:
        self.world.age(data.draw(self.accounts()), steps)

    def accounts(self) -> st.SearchStrategy[AccountKey]:
        return st.sampled_from(sorted(self.world.auditor.books))

    def busiest_shard(self) -> int:
        lengths = [len(queue) for queue in self.world.queues]
        return lengths.index(max(lengths))

    def teardown(self) -> None:
        self.world.settle()
