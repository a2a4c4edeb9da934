"""Chores from the queue: done, dropped, or dead-lettered with a reason, but no endless loop."""

import logging
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from swpt_accounts.broker.dead_letter_stream import read_all
from swpt_accounts.ledger import batch
from swpt_accounts.ledger.chores import CapitalizeInterest
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.working_set import WorkingSet
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers import consume
from swpt_accounts.workers.chore_intake import ChoreIntake
from swpt_accounts.workers.ledger_batch import LedgerBatch
from tests import factories
from tests.factories import NOW, capitalize_interest, every_chore, send_account_update
from tests.simulation.reading import insert_account
from tests.workers.databases import REFUSED
from tests.workers.deliveries import deliveries, delivery, tags
from tests.workers.running import make_chores_consumption, running
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

POISONED_ID = 77
LONG_AGO = NOW - timedelta(days=30)


@pytest.fixture
def intake(postgres_url: str) -> Any:
    database = Database(postgres_url, application_name="tests: chores")
    yield ChoreIntake(LedgerBatch(database, Realm.parse("#"), Policy(), lambda: NOW))
    database.close()


def add_savers(shard: psycopg.Connection, *creditor_ids: int) -> None:
    """Open accounts to which 5 are due."""
    for n in creditor_ids:
        insert_account(shard, factories.account(creditor_id=n, interest=5.5))


def principals(shard: psycopg.Connection) -> dict[int, int]:
    rows = shard.execute("SELECT creditor_id, principal FROM account WHERE creditor_id <> 0")
    return dict(rows.fetchall())


def test_chores_of_a_batch_are_done_in_one_transaction(
    intake: ChoreIntake, shard: psycopg.Connection
) -> None:
    add_savers(shard, *range(1, 101))

    settled = intake.handle(deliveries(capitalize_interest(creditor_id=n) for n in range(1, 101)))

    assert tags(settled.accepted) == list(range(1, 101))
    assert settled.rejected == []
    assert principals(shard) == dict.fromkeys(range(1, 101), 5)
    root = "SELECT principal FROM account WHERE creditor_id = 0"
    assert shard.execute(root).fetchone() == (-500,)
    transactions = shard.execute("SELECT count(DISTINCT xmin::text) FROM account").fetchone()
    assert transactions == (1,)


def test_chores_that_come_late_or_again_or_for_nobody_do_nothing(
    intake: ChoreIntake, shard: psycopg.Connection
) -> None:
    add_savers(shard, 1)
    intake.handle(deliveries([capitalize_interest(creditor_id=1)] * 3))
    rows = shard.execute("SELECT * FROM account ORDER BY creditor_id").fetchall()

    chores = [capitalize_interest(creditor_id=1), capitalize_interest(creditor_id=2)]
    settled = intake.handle(deliveries([*chores, *every_chore()]))

    assert len(settled.accepted) == 2 + len(every_chore())
    assert shard.execute("SELECT * FROM account ORDER BY creditor_id").fetchall() == rows
    assert principals(shard) == {1: 5}


def test_chores_of_other_shards_are_dropped_and_the_others_done(
    postgres_url: str, shard: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "swpt_accounts")
    realm = Realm.parse("0.#")
    numbers = range(1, 41)
    ours = [n for n in numbers if realm.contains(factories.DEBTOR_ID, n)]
    assert 10 < len(ours) < 30
    add_savers(shard, *numbers)  # A shard that was split has them all.
    database = Database(postgres_url, application_name="tests: chores")
    intake = ChoreIntake(LedgerBatch(database, realm, Policy(), lambda: NOW))

    settled = intake.handle(deliveries(capitalize_interest(creditor_id=n) for n in numbers))
    for _ in range(3):
        intake.handle(deliveries(capitalize_interest(creditor_id=n) for n in numbers))
    database.close()

    assert tags(settled.accepted) == list(numbers)
    assert principals(shard) == {n: 5 if n in ours else 0 for n in numbers}
    assert caplog.messages == [
        f"{len(numbers) - len(ours)} chores belong to other shards, and are dropped"
    ]


SPOILT: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({"body": b"{"}, "the body is not a CapitalizeInterest"),
    "not UTF-8": ({"body": b'{"type":"\xff"}'}, "the body is not"),
    "nested deeply": ({"body": b'{"more":' + b"[" * 10_000}, "nested too deeply"),
    "too long": ({"body": b" " * 40_000}, "the body has 40000 bytes"),
    "another content type": ({"content_type": "text/json"}, "the content type is 'text/json'"),
    "no content type": ({"content_type": None}, "the content type is None"),
    "an unknown type": ({"message_type": "Cleanup"}, "the message type is 'Cleanup'"),
    "a message of the protocol": (
        {
            "message_type": "ConfigureAccount",
            "body": factories.as_json(factories.configure_account()),
        },
        "the message type is 'ConfigureAccount'",
    ),
    "no type": ({"message_type": None}, "the message type is None"),
    "another type than its body": (
        {"message_type": "PurgeAccount"},
        "sent as a PurgeAccount",
    ),
    "an infinite rate": (
        {
            "message_type": "ChangeInterestRate",
            "body": b'{"type":"ChangeInterestRate","debtor_id":1,"creditor_id":2,'
            b'"interest_rate":1e999,"ts":"2026-01-02T03:04:05Z"}',
        },
        "ChangeInterestRate",
    ),
    "a NUL character": (
        {
            "message_type": "UpdateDebtorInfo",
            "body": factories.as_json(factories.update_debtor_info(), debtor_info_iri="\0"),
        },
        "NUL",
    ),
    "a hash that is none": (
        {
            "message_type": "UpdateDebtorInfo",
            "body": factories.as_json(factories.update_debtor_info(), debtor_info_sha256="00"),
        },
        "debtor_info_sha256",
    ),
    "an id of 65 bits": (
        {"body": factories.as_json(capitalize_interest(), debtor_id=2**63)},
        "debtor_id",
    ),
}
"""By what is wrong: how the delivery differs from a good one, and what the reason must say."""


def test_malformed_chores_are_rejected_with_their_reasons_and_the_others_done(
    intake: ChoreIntake, shard: psycopg.Connection
) -> None:
    count = len(SPOILT)
    add_savers(shard, *range(1, count + 1))
    good = [delivery(n, capitalize_interest(creditor_id=n)) for n in range(1, count + 1)]
    spoilt = [
        delivery(tag, capitalize_interest(), **fields)
        for tag, (fields, _) in enumerate(SPOILT.values(), 101)
    ]

    settled = intake.handle([d for pair in zip(good, spoilt, strict=True) for d in pair])

    assert settled.accepted == good
    assert [rejected for rejected, _ in settled.rejected] == spoilt
    for (_, reason), (what, (_, words)) in zip(settled.rejected, SPOILT.items(), strict=True):
        assert words in reason, what
    assert principals(shard) == dict.fromkeys(range(1, count + 1), 5)


def test_a_chore_that_the_database_refuses_is_found_and_the_others_are_done_once(
    intake: ChoreIntake, shard: psycopg.Connection
) -> None:
    add_savers(shard, *range(1, 101))
    shard.execute(
        f"ALTER TABLE account ADD CONSTRAINT {REFUSED}"
        f" CHECK (creditor_id <> {POISONED_ID} OR principal = 0)"
    )

    settled = intake.handle(deliveries(capitalize_interest(creditor_id=n) for n in range(1, 101)))

    [(rejected, reason)] = settled.rejected
    assert rejected.tag == POISONED_ID
    assert reason.startswith("it could not be applied: CheckViolation: ")
    expected = {n: 0 if n == POISONED_ID else 5 for n in range(1, 101)}
    assert principals(shard) == expected
    root = "SELECT principal FROM account WHERE creditor_id = 0"
    assert shard.execute(root).fetchone() == (-5 * 99,)


def test_while_the_clocks_differ_no_chore_is_done_and_none_is_to_blame(
    postgres_url: str, shard: psycopg.Connection
) -> None:
    add_savers(shard, 1, 2, 3)
    database = Database(postgres_url, application_name="tests: chores")
    batch_of_a_late_clock = LedgerBatch(
        database,
        Realm.parse("#"),
        Policy(),
        lambda: utc_now() + timedelta(seconds=62),
        timedelta(minutes=1),
    )
    with pytest.raises(TimeUncertain):
        ChoreIntake(batch_of_a_late_clock).handle(
            deliveries(capitalize_interest(creditor_id=n) for n in (1, 2, 3))
        )
    database.close()
    assert principals(shard) == {1: 0, 2: 0, 3: 0}


# -- with a queue -----------------------------------------------------------


def test_chores_that_can_never_be_done_end_as_dead_letters_and_do_not_come_again(
    postgres_url: str,
    broker_url: str,
    shard: psycopg.Connection,
    wire: Wire,
    chores_queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consume, "WAIT_SECONDS", 0.01)
    rule = batch._RULES[CapitalizeInterest]
    attempts_count = 0

    def fail_on_77(chore: CapitalizeInterest, working_set: WorkingSet, *rest: Any) -> None:
        nonlocal attempts_count
        if chore.creditor_id == POISONED_ID:
            attempts_count += 1
            raise ZeroDivisionError("a defect")
        rule(chore, working_set, *rest)

    monkeypatch.setitem(batch._RULES, CapitalizeInterest, fail_on_77)
    add_savers(shard, *range(1, 101))
    wire.publish(b"{", "CapitalizeInterest", exchange="", routing_key=chores_queue)
    for n in range(1, 101):
        body = factories.as_json(capitalize_interest(creditor_id=n))
        wire.publish(body, "CapitalizeInterest", exchange="", routing_key=chores_queue)
    wire.publish(b"{}", "Cleanup", exchange="", routing_key=chores_queue)
    wire.flush()

    def is_done() -> bool:
        return sum(principals(shard).values()) == 5 * 99 and not wire.ready_count(chores_queue)

    with running(make_chores_consumption(postgres_url, broker_url, chores_queue)):
        eventually("all others are done", is_done)
    eventually("no consumers", lambda: not wire.consumers_count(chores_queue))

    assert wire.ready_count(chores_queue) == 0
    letters = read_all(broker_url, chores_queue)
    reasons = sorted(letter.reason or "" for letter in letters)
    assert len(reasons) == 3
    assert reasons[0] == "it could not be applied: ZeroDivisionError: a defect"
    assert "the body is not a CapitalizeInterest" in reasons[1]
    assert "the message type is 'Cleanup'" in reasons[2]
    assert attempts_count <= 20  # Halved until it stands alone, but never tried again.


def test_chores_wait_in_the_queue_while_the_clock_is_wrong_and_are_done_when_it_is_right(
    postgres_url: str,
    broker_url: str,
    shard: psycopg.Connection,
    wire: Wire,
    chores_queue: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consume, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(consume, "CLOCK_PAUSE_SECONDS", 0.01)
    error = timedelta(days=3652)
    insert_account(shard, factories.account(update_pending_since=LONG_AGO))
    body = factories.as_json(send_account_update())
    wire.publish(body, "SendAccountUpdate", exchange="", routing_key=chores_queue)
    wire.flush()

    def is_announced() -> bool:
        return bool(shard.execute("SELECT FROM outbox").fetchall())

    with running(
        make_chores_consumption(
            postgres_url, broker_url, chores_queue, clock=lambda: utc_now() + error
        )
    ):
        eventually("it says so", lambda: "is applied: " in caplog.text)
        assert not is_announced()
        error = timedelta(0)
        eventually("it is announced", is_announced)
    assert wire.dead_letters(chores_queue) == []
