"""Whether commands are applied one by one, or in batches of any size, the outcome is the same.

Two columns depend on the batches. `account.update_pending_since` is set by a
change that no AccountUpdate has told of, and one AccountUpdate at the end of a
batch tells of everything in the batch; so the column is predicted, and as
later announcements depend on it, each batch is compared for itself.
`change_id` comes from a sequence, in which larger batches leave other gaps; so
change ids are compared by their order. Every other column of every table must
be the same, and so must the events: AccountUpdates are those that the accounts
deserve at the end of the batch, one for each account that would have got any,
and all other events follow in the same order.
"""

from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.one_by_one import Comparison, give
from tests.simulation.play import AS_RECORDED
from tests.simulation.postgres_shard import PostgresShard
from tests.simulation.recording import BATCH_SIZE_MAX, cut, record

SIZES: Final = {
    "one by one": [1],
    "in small batches": range(1, 10),
    "in batches of all sizes": [1, 2, *range(1, BATCH_SIZE_MAX + 1, 10)],
    "in the largest batches": [BATCH_SIZE_MAX],
}


@pytest.mark.parametrize("manner", SIZES)
def test_the_outcome_does_not_depend_on_the_batches(
    postgres_shards: list[PostgresShard], manner: str
) -> None:
    @settings(AS_RECORDED, max_examples=1 if manner == "one by one" else 5)
    @given(random=st.randoms(use_true_random=True))
    def compare(random: Random) -> None:
        for recorded, shard in zip(record(random, rounds=6), postgres_shards, strict=True):
            shard.empty()
            comparison = Comparison(shard.realm)
            for portion in recorded.portions:
                for batch in cut(random, portion, SIZES[manner]):
                    comparison.check(batch, give(shard, batch), shard.rows())

    compare()
