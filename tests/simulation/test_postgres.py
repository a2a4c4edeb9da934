"""The same plays through a real PostgreSQL, in batches as the consumers apply them."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Machine
from tests.simulation.play import PLAY, SECONDS_MAX
from tests.simulation.postgres_shard import PostgresShard

pytestmark = pytest.mark.timeout(SECONDS_MAX)


def test_the_tables_hold_what_the_auditor_has_in_the_books(
    postgres_shards: list[PostgresShard],
) -> None:
    class TwoDatabases(Machine):
        def make_shards(self) -> Sequence[PostgresShard]:
            for shard in postgres_shards:
                shard.empty()
            return postgres_shards

    run_state_machine_as_test(
        TwoDatabases, settings=settings(PLAY, max_examples=25, stateful_step_count=40)
    )
