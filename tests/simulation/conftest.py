"""Shards on a real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from swpt_accounts.protocol.sharding import Realm
from tests.simulation.postgres_shard import PostgresShard
from tests.simulation.world import POLICY


@pytest.fixture
def postgres_shards(make_shard: Callable[[], str]) -> Iterator[list[PostgresShard]]:
    """Two realms, each with a database of its own."""
    with ExitStack() as stack:
        shards = [PostgresShard(make_shard(), Realm.parse(key), POLICY) for key in ("0.#", "1.#")]
        for shard in shards:
            stack.callback(shard.close)
        yield shards
