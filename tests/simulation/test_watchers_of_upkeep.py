"""Whoever watches what time brings about does notice: each kind of mistake is made on purpose."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, get_args

import msgspec
import pytest

from swpt_accounts.ledger import chores
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import ConfigureAccount
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate, PreparedTransfer
from swpt_accounts.ledger.values import account_id
from swpt_accounts.protocol.sharding import Realm
from tests import factories
from tests.simulation.discrepancy import Discrepancy
from tests.simulation.memory_shard import MemoryShard
from tests.simulation.observer import check_tables
from tests.simulation.rows import Rows
from tests.simulation.story import (
    DOCUMENT,
    FACTS,
    NOW,
    Batches,
    Told,
    audit,
    observe,
    variants_of,
    variants_of_rows,
)
from tests.simulation.traffic import CREDITOR_IDS, DEBTOR_IDS, OUTSIDER_ID
from tests.simulation.world import POLICY, World

OTHER_DOCUMENT: Final = (
    '{"type":"RootConfigData","rate":7.25,"info":{"type":"DebtorInfo","iri":"x:y"}}'
)
DAY: Final = timedelta(days=1)
KEY: Final = (factories.DEBTOR_ID, factories.SENDER_ID)
REALMS: Final = {
    "the root account is here": Realm.parse("1.#"),
    "the root account is elsewhere": Realm.parse("1.0.1.#"),
}


class LongStory(Told):
    """An account follows its currency, is paid interest, and is forgotten in the end."""

    def __init__(self, realm: Realm) -> None:
        super().__init__(realm)
        self.give(factories.configure_account())
        if realm.contains(factories.DEBTOR_ID, 0):
            self.give(factories.configure_root_account(config_data=DOCUMENT))
        self.give(
            factories.change_interest_rate(ts=NOW),
            factories.update_debtor_info(ts=NOW),
            factories.pending_balance_change(
                creditor_id=factories.SENDER_ID, other_creditor_id=OUTSIDER_ID
            ),
        )
        self.give(
            factories.prepare_transfer(max_locked_amount=300, recipient="0"),
            factories.prepare_transfer(
                recipient=account_id(factories.STRANGER_ID), coordinator_request_id=2
            ),
        )
        transfers = [event for event in self.events if isinstance(event, PreparedTransfer)]
        self._pass(30 * DAY)
        self.give(
            chores.CapitalizeInterest(*KEY),
            chores.SendAccountUpdate(*KEY),
            *(chores.RemindOfTransfer(*KEY, transfer.transfer_id) for transfer in transfers[:1]),
        )
        self._pass(8 * DAY)
        self.give(chores.SendAccountUpdate(*KEY))
        config = {"ts": self.now, "config_flags": 1, "negligible_amount": 1e6}
        self.give(factories.configure_account(**config), chores.TryToDeleteAccount(*KEY))
        self.give(*(factories.finalize_transfer(t, committed_amount=0) for t in transfers))
        self._pass(14 * DAY)
        self.give(chores.TryToDeleteAccount(*KEY))
        self._pass(110 * DAY)
        self.give(chores.PurgeAccount(*KEY))
        self.give(factories.configure_account(ts=self.now))

    def _pass(self, period: timedelta) -> None:
        """Let time pass, so that something is due."""
        self.now += period


@pytest.fixture(params=REALMS)
def realm(request: pytest.FixtureRequest) -> Realm:
    return REALMS[request.param]


def test_a_long_story_without_mistakes_is_accepted(realm: Realm) -> None:
    story = LongStory(realm)
    audit(story.batches, story.shard.rows(), realm)
    observe(story.batches)
    check_tables([story.shard.rows()], story.sent)
    names = [type(event).__name__ for event in story.events]
    assert names.count("AccountPurge") == 1
    assert names.count("PreparedTransfer") == 3
    moved = [e.coordinator_type for e in story.events if isinstance(e, AccountTransfer)]
    assert moved == ["direct", "interest", "delete"]
    assert bool(story.sent) == (not realm.contains(factories.DEBTOR_ID, 0))


def test_the_auditor_notices_every_change_of_an_event(realm: Realm) -> None:
    story = LongStory(realm)
    for number, (commands, events, now) in enumerate(story.batches):
        for variant in variants_of(events):
            batches = [*story.batches]
            batches[number] = commands, variant, now
            with pytest.raises(Discrepancy):
                audit(batches, realm=realm)


@pytest.mark.parametrize("table", ["accounts", "journal"])
@pytest.mark.parametrize("end", range(7, 12))
def test_the_auditor_notices_every_change_of_a_row(realm: Realm, table: str, end: int) -> None:
    batches, rows = until(realm, end)
    audit(batches, rows, realm)
    for variant in variants_of_rows(getattr(rows, table)):
        with pytest.raises(Discrepancy):
            audit(batches, msgspec.structs.replace(rows, **{table: variant}), realm)


def until(realm: Realm, end: int) -> tuple[Batches, Rows]:
    """Return the first batches of the story, and the rows after them."""
    batches = LongStory(realm).batches[:end]
    shard = MemoryShard(realm, POLICY)
    for commands, _, now in batches:
        shard.apply(commands, FACTS, now)
    return batches, shard.rows()


class ForgetfulShard(MemoryShard):
    """Forgets some of what its scans find, or finds too much."""

    def __init__(self) -> None:
        super().__init__(Realm.parse("#"), POLICY)
        self.distort: Callable[[list[Chore]], list[Chore]] = list

    def scan(self, documents: Mapping[int, str | None], now: datetime) -> list[Chore]:
        """Scan, and distort what was found."""
        return self.distort(super().scan(documents, now))


@pytest.fixture(scope="module")
def world() -> World:
    """Return a world in which everything is due."""
    random = Random(1)
    world = World([ForgetfulShard()], lambda _: None)
    for debtor_id in DEBTOR_IDS:
        world.send(*world.traffic.endowment(random, debtor_id, world.now))
        world.send(ConfigureAccount(debtor_id, 0, 1e30, 0, DOCUMENT, world.now, 1))
    for key in [(DEBTOR_IDS[0], creditor_id) for creditor_id in CREDITOR_IDS]:
        world.send(ConfigureAccount(*key, 0.0, 0, "", world.now, 2))
        world.send(world.traffic.closing(random, key, world.now))
    world.apply(0, 1000)
    world.scan(0)
    for debtor_id in DEBTOR_IDS:
        world.send(ConfigureAccount(debtor_id, 0, 1e30, 0, OTHER_DOCUMENT, world.now, 3))
    world.apply(0, 1000)
    for _ in range(50):
        world.send(world.traffic.prepare(random, world.now))
    world.apply(0, 1000)
    key = min(key for key, b in world.auditor.books.items() if not (b.principal or b.prepared))
    world.send(world.traffic.closing(random, key, world.now), chores.TryToDeleteAccount(*key))
    world.apply(0, 1000)
    world.pass_time(200 * DAY)
    return world


def test_everything_is_due(world: World) -> None:
    found = {type(chore) for chore in world.auditor.due(Realm.parse("#"), {}, world.now)}
    assert found == set(get_args(Chore))


@pytest.mark.parametrize("kind", get_args(Chore))
def test_a_chore_that_is_forgotten_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[Chore]
) -> None:
    def forgetting(found: list[Chore]) -> list[Chore]:
        found.remove(next(chore for chore in found if isinstance(chore, kind)))
        return found

    monkeypatch.setattr(world.shards[0], "distort", forgetting)
    with pytest.raises(Discrepancy):
        world.scan(0)


@pytest.mark.parametrize("chore", factories.every_chore(), ids=lambda chore: type(chore).__name__)
def test_a_chore_that_is_not_due_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, chore: Chore
) -> None:
    monkeypatch.setattr(world.shards[0], "distort", lambda found: [*found, chore])
    with pytest.raises(Discrepancy):
        world.scan(0)


def drop_the_other_side(rows: Rows) -> None:
    rows.journal[:] = [e for e in rows.journal if e.creditor_id or e.coordinator_type != "interest"]


def alter(rows: Rows, number: int, **fields: Any) -> None:
    """Change an entry of the journal."""
    rows.journal[number] = msgspec.structs.replace(rows.journal[number], **fields)


TABLES: Final[dict[str, Callable[[Rows], object]]] = {
    "a purged account that has left something": lambda rows: rows.accounts.clear(),
    "a payment of nobody": drop_the_other_side,
    "a payment known by another number": lambda rows: alter(rows, 0, change_id=99),
}


@pytest.mark.parametrize("mistake", TABLES)
def test_the_observer_notices_in_the_tables(mistake: str) -> None:
    _, rows = until(REALMS["the root account is here"], 5)
    check_tables([rows], [])
    TABLES[mistake](rows)
    with pytest.raises(Discrepancy):
        check_tables([rows], [])


def change(batches: Batches, kind: type, index: int, **fields: Any) -> None:
    """Change an event of a type."""
    places = [(events, e) for _, events, _ in batches for e in events if isinstance(e, kind)]
    events, event = places[index]
    events[events.index(event)] = msgspec.structs.replace(event, **fields)


EVENTS: Final[dict[str, Callable[[Batches], object]]] = {
    "two reminders at once": lambda b: b[4][1].append(
        next(e for e in b[4][1] if isinstance(e, PreparedTransfer))
    ),
    "a reminder that nobody asked for": lambda b: b[5][1].append(
        next(e for e in b[4][1] if isinstance(e, PreparedTransfer))
    ),
    "a heartbeat that says something else": lambda b: change(b, AccountUpdate, 4, principal=1),
}


@pytest.mark.parametrize("mistake", EVENTS)
def test_the_observer_notices(mistake: str) -> None:
    batches = LongStory(REALMS["the root account is here"]).batches
    EVENTS[mistake](batches)
    with pytest.raises(Discrepancy):
        observe(batches)
