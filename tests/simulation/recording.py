"""Recorded traffic: what one shard was given, to be given to other shards in other portions."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

import msgspec

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.outgoing import OutgoingMessage
from swpt_accounts.protocol.sharding import Realm
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.traffic import DEBTOR_IDS
from tests.simulation.world import POLICY, Message, World

BATCH_SIZE_MAX: Final = 200


class Portion(msgspec.Struct):
    """Commands that may be applied in one batch, or in several, at the same moment.

    Nothing among them is a consequence of something else among them. Before
    them, other processes of the shard have written the accounts in `written`.
    """

    commands: list[Message]
    facts: Facts
    now: datetime
    written: list[Account]


class RecordingShard(MemoryShard):
    """Notes everything that it is given."""

    def __init__(self, realm: Realm, policy: Policy) -> None:
        super().__init__(realm, policy)
        self.portions: list[Portion] = []
        self._written: list[Account] = []

    def apply(
        self, commands: Sequence[Message], facts: Facts, now: datetime
    ) -> list[OutgoingMessage]:
        """Apply a batch, and note it."""
        self.portions.append(Portion(list(commands), facts, now, self._written))
        self._written = []
        return super().apply(commands, facts, now)

    def put_account(self, account: Account) -> None:
        """Write an account, and note it."""
        self._written.append(msgspec.structs.replace(account))
        super().put_account(account)


def record(random: Random, rounds: int) -> list[RecordingShard]:
    """Play for some rounds with two realms, and return their shards."""
    shards = [RecordingShard(Realm.parse(key), POLICY) for key in ("0.#", "1.#")]
    world = World(shards, lambda _: None)
    for debtor_id in DEBTOR_IDS:
        world.send(*world.traffic.opening(random, debtor_id, world.now))
        world.send(*world.traffic.endowment(random, debtor_id, world.now))
    for _ in range(rounds):
        for _ in range(random.choice((5, 50, 2 * BATCH_SIZE_MAX))):
            world.send(world.traffic.any_command(random, world.now))
        world.deliver(random, random.randrange(10))
        world.repeat(random, random.randrange(10))
        for index in range(len(shards)):
            world.scan(index)
            world.apply(index, BATCH_SIZE_MAX)
        _interfere(random, world)
    return shards


def _interfere(random: Random, world: World) -> None:
    """Let time pass, and somebody do something."""
    seconds = random.choice((0, 1, 86400, 10**7, -3600))
    world.pass_time(timedelta(seconds=seconds, microseconds=random.randrange(10**6)))
    key = random.choice(sorted(world.auditor.books))
    match random.randrange(3):
        case 0:
            world.seize(key)
        case 1:
            world.send(world.traffic.closing(random, key, world.now))
        case 2:
            world.age(key, random.randrange(1, 4))


def cut(random: Random, portion: Portion, sizes: Sequence[int]) -> list[Portion]:
    """Cut a portion into batches of random sizes."""
    batches = []
    commands, written = portion.commands, portion.written
    while commands:
        size = random.choice(sizes)
        batches.append(Portion(commands[:size], portion.facts, portion.now, written))
        commands, written = commands[size:], []
    return batches
