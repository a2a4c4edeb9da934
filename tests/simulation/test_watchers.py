"""Whoever watches the simulation does notice: each kind of mistake is made on purpose."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from swpt_accounts.ledger.events import (
    AccountTransfer,
    AccountUpdate,
    FinalizedTransfer,
    PreparedTransfer,
    RejectedTransfer,
)
from swpt_accounts.ledger.values import account_id
from tests import factories
from tests.simulation.discrepancy import Discrepancy
from tests.simulation.observer import check_tables
from tests.simulation.rows import Rows
from tests.simulation.story import (
    NOW,
    Batches,
    Told,
    audit,
    observe,
    variants_of,
    variants_of_rows,
)
from tests.simulation.traffic import OUTSIDER_ID

SENDER: Final = (factories.DEBTOR_ID, factories.SENDER_ID)


class Story(Told):
    """Money comes from outside, is paid on, and some of it leaves for another shard."""

    def __init__(self) -> None:
        super().__init__()
        from_outside = {"creditor_id": factories.SENDER_ID, "other_creditor_id": OUTSIDER_ID}
        self.give(
            factories.configure_account(),
            factories.configure_account(creditor_id=factories.RECIPIENT_ID),
            factories.configure_account(config_data="not valid", seqnum=2),
            factories.pending_balance_change(**from_outside),
        )
        far_away = {"recipient": account_id(factories.STRANGER_ID), "coordinator_request_id": 2}
        self.give(
            factories.prepare_transfer(max_locked_amount=300),
            factories.prepare_transfer(max_locked_amount=100, **far_away),
            factories.prepare_transfer(coordinator_request_id=3, max_locked_amount=50),
            factories.prepare_transfer(coordinator_request_id=4, max_locked_amount=60),
            factories.prepare_transfer(
                coordinator_request_id=5, min_locked_amount=9**9, max_locked_amount=9**9
            ),
        )
        here, away, dismissed, *_ = [e for e in self.events if isinstance(e, PreparedTransfer)]
        self.give(factories.finalize_transfer(here))
        self.give(factories.finalize_transfer(away))
        self.give(factories.finalize_transfer(dismissed, committed_amount=0))
        self.give(factories.configure_account(seqnum=3))


def test_a_story_without_mistakes_is_accepted() -> None:
    story = Story()
    audit(story.batches, story.shard.rows())
    observe(story.batches)
    check_tables([story.shard.rows()], story.sent)
    assert {type(event).__name__ for event in story.events} == {
        "AccountTransfer",
        "AccountUpdate",
        "FinalizedTransfer",
        "PendingBalanceChange",
        "PreparedTransfer",
        "RejectedConfig",
        "RejectedTransfer",
    }


@pytest.mark.parametrize("number", range(len(Story().batches)))
def test_the_auditor_notices_every_change_of_an_event(number: int) -> None:
    story = Story()
    commands, events, now = story.batches[number]
    for variant in variants_of(events):
        story.batches[number] = commands, variant, now
        with pytest.raises(Discrepancy):
            audit(story.batches)


@pytest.mark.parametrize("table", ["accounts", "transfers", "changes", "journal"])
def test_the_auditor_notices_every_change_of_a_row(table: str) -> None:
    story = Story()
    rows = story.shard.rows()
    for variant in variants_of_rows(getattr(rows, table)):
        with pytest.raises(Discrepancy):
            audit(story.batches, msgspec.structs.replace(rows, **{table: variant}))


def drop(batches: Batches, kind: type, index: int = 0) -> None:
    """Lose an event of a type."""
    places = [(events, e) for _, events, _ in batches for e in events if isinstance(e, kind)]
    events, event = places[index]
    events.remove(event)


def change(batches: Batches, kind: type, index: int, **fields: Any) -> None:
    """Change an event of a type."""
    places = [(events, e) for _, events, _ in batches for e in events if isinstance(e, kind)]
    events, event = places[index]
    events[events.index(event)] = msgspec.structs.replace(event, **fields)


MISTAKES: Final[dict[str, Callable[[Batches], object]]] = {
    "no answer": lambda b: drop(b, RejectedTransfer),
    "two answers": lambda b: b[1][1].append(b[1][1][0]),
    "an answer nobody asked for": lambda b: change(b, PreparedTransfer, 0, coordinator_id=9),
    "a lost link": lambda b: drop(b, AccountTransfer),
    "a gap in the numbers": lambda b: change(b, AccountTransfer, -1, transfer_number=4),
    "a wrong predecessor": lambda b: change(b, AccountTransfer, -1, previous_transfer_number=0),
    "a wrong principal": lambda b: change(b, AccountTransfer, 1, principal=1),
    "wrong parties": lambda b: change(b, AccountTransfer, 0, recipient="1"),
    "an update out of order": lambda b: change(b, AccountUpdate, -1, last_change_seqnum=1),
    "an older update": lambda b: change(b, AccountUpdate, -1, last_change_ts=factories.NOW),
    "two ends": lambda b: b[-1][1].append(b[2][1][0]),
    "two ends at once": lambda b: b[2][1].append(b[2][1][0]),
    "an end that moves nothing": lambda b: change(b, FinalizedTransfer, 0, status_code="TIMEOUT"),
    "an end before the beginning": lambda b: change(b, FinalizedTransfer, 0, ts=factories.NOW),
    "an end that nobody asked for": lambda b: b[2][0].clear(),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_observer_notices(mistake: str) -> None:
    batches = Story().batches
    MISTAKES[mistake](batches)
    with pytest.raises(Discrepancy):
        observe(batches)


def alter_account(rows: Rows, **fields: Any) -> None:
    """Change the sender's account."""
    rows.accounts[SENDER] = msgspec.structs.replace(rows.accounts[SENDER], **fields)


def alter_entry(rows: Rows, index: int, **fields: Any) -> None:
    """Change an entry of the journal."""
    rows.journal[index] = msgspec.structs.replace(rows.journal[index], **fields)


TABLES: Final[dict[str, Callable[[Rows], object]]] = {
    "a lock without a transfer": lambda rows: rows.transfers.popitem(),
    "a total that is too low": lambda rows: alter_account(rows, total_locked_amount=1),
    "a count that is too high": lambda rows: alter_account(rows, pending_transfers_count=2),
    "transfers of nobody": lambda rows: rows.accounts.pop(SENDER),
    "a principal from nowhere": lambda rows: alter_account(rows, principal=10**6),
    "a lost entry": lambda rows: rows.journal.pop(1),
    "a lost last entry": lambda rows: rows.journal.pop(),
    "a number twice": lambda rows: alter_entry(rows, 1, journal_number=1),
    "a wrong running total": lambda rows: alter_entry(rows, 1, principal=5),
    "money that is clipped in secret": lambda rows: alter_entry(rows, 0, clipped_amount=1),
    "a change forgotten after it was applied": lambda rows: alter_entry(rows, 0, transfer_id=7),
    "a change applied by nobody": lambda rows: rows.changes.update(
        {(factories.DEBTOR_ID, factories.SENDER_ID, 1): NOW}
    ),
}


@pytest.mark.parametrize("mistake", TABLES)
def test_the_observer_notices_in_the_tables(mistake: str) -> None:
    story = Story()
    rows = story.shard.rows()
    TABLES[mistake](rows)
    with pytest.raises(Discrepancy):
        check_tables([rows], story.sent)


def test_the_observer_notices_a_change_that_gets_lost_on_its_way() -> None:
    story = Story()
    with pytest.raises(Discrepancy):
        check_tables([story.shard.rows()], [])
