"""The same plays through a real PostgreSQL, in batches as the consumers apply them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from swpt_accounts.protocol.sharding import Realm
from tests.simulation.machine import Machine
from tests.simulation.play import PLAY
from tests.simulation.postgres_shard import PostgresShard
from tests.simulation.world import POLICY


@pytest.fixture
def shards(make_shard: Callable[[], str]) -> Iterator[list[PostgresShard]]:
    """Two realms, each with a database of its own."""
    with ExitStack() as stack:
        made = [PostgresShard(make_shard(), Realm.parse(key), POLICY) for key in ("0.#", "1.#")]
        for shard in made:
            stack.callback(shard.close)
        yield made


def test_the_tables_hold_what_the_auditor_has_in_the_books(shards: list[PostgresShard]) -> None:
    class TwoDatabases(Machine):
        def make_shards(self) -> Sequence[PostgresShard]:
            for shard in shards:
                shard.empty()
            return shards

    run_state_machine_as_test(
        TwoDatabases, settings=settings(PLAY, max_examples=25, stateful_step_count=40)
    )
