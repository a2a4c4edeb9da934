"""A message that has been applied may come again at any time, and changes nothing."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from random import Random
from typing import Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.chores import Chore, UpdateDebtorInfo
from swpt_accounts.ledger.commands import (
    ConfigureAccount,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.events import PreparedTransfer
from tests.simulation.expected_events import key_of
from tests.simulation.one_by_one import OneByOne, give, renamed_in_journal
from tests.simulation.play import AS_RECORDED
from tests.simulation.postgres_shard import PostgresShard
from tests.simulation.recording import BATCH_SIZE_MAX, Portion, cut, record
from tests.simulation.rows import Rows
from tests.simulation.world import Message

SIZES: Final = [1, 5, 30, BATCH_SIZE_MAX]


def choose(
    random: Random, one_by_one: OneByOne, commands: Sequence[Message], moments: Sequence[datetime]
) -> list[tuple[int, Message]]:
    """Return repetitions of some of the commands, each with the place where to put it."""
    chosen = []
    for index, command in enumerate(commands):
        places = range(index + 1, last_place(one_by_one, index, command, moments) + 1)
        if places and random.randrange(2):
            chosen.append((random.choice(places), command))
    return sorted(chosen, key=itemgetter(0))


def last_place(
    one_by_one: OneByOne, index: int, command: Message, moments: Sequence[datetime]
) -> int:
    """Return before which command a repetition must come; 0 when there is nothing to repeat.

    A request for a transfer that has come to its end is a new request; and one
    that was refused may be granted another time. And what time has made due, it
    will make due again.
    """
    end = len(one_by_one.tables)
    if isinstance(command, ConfigureAccount):
        account = one_by_one.tables[index].accounts.get((command.debtor_id, command.creditor_id))
        was_applied = account is not None and (
            (account.last_config_ts, account.last_config_seqnum) == (command.ts, command.seqnum)
        )
        return end if was_applied else 0
    if isinstance(command, PrepareTransfer):
        [answer] = one_by_one.events[index]
        if not isinstance(answer, PreparedTransfer):
            return 0
        without = (
            i for i in range(index, end) if key_of(answer) not in one_by_one.tables[i].transfers
        )
        return next(without, end)
    if isinstance(command, Chore):
        # What has been done is not due again at the same moment, unless it was undone meanwhile.
        is_final = one_by_one.events[index] and not isinstance(command, UpdateDebtorInfo)
        later = (i for i in range(index, end) if moments[i] != moments[index])
        return next(later, end) if is_final else 0
    has_effect = one_by_one.events[index] or isinstance(command, PendingBalanceChange)
    return end if has_effect else 0


def with_repetitions(
    batches: Sequence[Portion], chosen: Sequence[tuple[int, Message]]
) -> list[Portion]:
    """Return the batches with the repetitions put in."""
    left = deque(chosen)
    repeated = []
    place = 0
    for batch in batches:
        commands = []
        for command in batch.commands:
            commands.append(command)
            place += 1
            while left and left[0][0] == place:
                commands.append(left.popleft()[1])
        repeated.append(msgspec.structs.replace(batch, commands=commands))
    assert not left
    return repeated


def without_ids(rows: Rows, names: dict[int, int]) -> Rows:
    """Return the rows with change ids as they would be without the gaps that repetitions leave."""
    return msgspec.structs.replace(rows, journal=renamed_in_journal(rows, names))


@settings(AS_RECORDED, max_examples=6)
@given(random=st.randoms(use_true_random=True))
def check(shards: list[PostgresShard], random: Random) -> None:
    for recorded, shard in zip(record(random, rounds=6), shards, strict=True):
        one_by_one = OneByOne(shard.realm, recorded.portions)
        batches = [b for portion in recorded.portions for b in cut(random, portion, SIZES)]
        commands = [command for batch in batches for command in batch.commands]
        moments = [batch.now for batch in batches for _ in batch.commands]
        chosen = choose(random, one_by_one, commands, moments)
        shard.empty()
        names: dict[int, int] = {}
        outcomes = [(give(shard, batch), without_ids(shard.rows(), names))[1] for batch in batches]
        shard.empty()
        names = {}
        for batch, outcome in zip(with_repetitions(batches, chosen), outcomes, strict=True):
            give(shard, batch)
            assert without_ids(shard.rows(), names) == outcome


def test_repetitions_change_nothing(postgres_shards: list[PostgresShard]) -> None:
    check(postgres_shards)
