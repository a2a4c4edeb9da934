"""The rules alone, played by Hypothesis on shards in memory, with the auditor watching."""

from collections.abc import Sequence

import pytest
from hypothesis import settings

from swpt_accounts.protocol.sharding import Realm
from tests.simulation.machine import Machine
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.play import PLAY, SECONDS_MAX
from tests.simulation.rows import Shard
from tests.simulation.world import POLICY

pytestmark = pytest.mark.timeout(SECONDS_MAX)


class OneShard(Machine):
    """Everything in one realm."""

    def make_shards(self) -> Sequence[Shard]:
        return [MemoryShard(Realm.parse("#"), POLICY)]


class TwoShards(Machine):
    """Two realms, and money that travels between them."""

    def make_shards(self) -> Sequence[Shard]:
        return [MemoryShard(Realm.parse(key), POLICY) for key in ("0.#", "1.#")]


TestOneShard = OneShard.TestCase
TestOneShard.settings = settings(PLAY, max_examples=30, stateful_step_count=40)
TestTwoShards = TwoShards.TestCase
TestTwoShards.settings = settings(PLAY, max_examples=60, stateful_step_count=50)
