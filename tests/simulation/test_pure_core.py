"""The rules alone, played by Hypothesis on shards in memory, with the auditor watching."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import settings

from swpt_accounts.ledger.chores import PurgeAccount, TryToDeleteAccount
from swpt_accounts.ledger.commands import ConfigureAccount
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.machine import Machine
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.play import PLAY, SECONDS_MAX
from tests.simulation.rows import Shard
from tests.simulation.traffic import CREDITOR_IDS, DEBTOR_IDS
from tests.simulation.world import POLICY, World

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


def test_a_currency_that_is_purged_is_not_known_to_the_rest_of_the_batch() -> None:
    world = World([MemoryShard(Realm.parse("#"), POLICY)], lambda _: None)
    debtor_id, creditor_id = DEBTOR_IDS[0], CREDITOR_IDS[0]
    document = '{"type":"RootConfigData","rate":7.25}'
    world.send(
        ConfigureAccount(debtor_id, 0, 0.0, 1, document, world.now, 1),
        TryToDeleteAccount(debtor_id, 0),
    )
    world.apply(0, 10)
    world.pass_time(timedelta(days=110))
    world.send(
        PurgeAccount(debtor_id, 0),
        ConfigureAccount(debtor_id, creditor_id, 0.0, 0, "", world.now, 1),
    )
    world.apply(0, 10)
    assert world.auditor.books[debtor_id, creditor_id].interest_rate == 0.0
