"""Rows that somebody keeps locked: who needs them waits, and nobody else does."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.connection import connect
from swpt_accounts.store.transaction import Database, DatabaseUnavailable
from swpt_accounts.workers.chore_intake import ChoreIntake
from swpt_accounts.workers.held_rows import HeldRows
from swpt_accounts.workers.intake import MessageIntake
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.settled import Settled
from tests.factories import (
    DEBTOR_ID,
    SENDER_ID,
    configure_account,
    finalize_transfer,
    pending_balance_change,
    prepare_transfer,
    prepared_transfer,
    send_account_update,
)
from tests.workers.conftest import MakeIntake, a_fixed_clock
from tests.workers.deliveries import deliveries, delivery, tags

HELD = 2001
FREE = 2002

LOCK_ACCOUNT = f"SELECT FROM account WHERE creditor_id = {HELD} FOR UPDATE"


@pytest.fixture
def somebody(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A session that has forgotten to end its transaction."""
    with connect(postgres_url, application_name="forgotten") as session:
        session.execute("SET idle_in_transaction_session_timeout = 0")
        session.commit()
        yield session


@pytest.fixture
def accounts(intake: MessageIntake) -> None:
    intake.handle(deliveries(configure_account(creditor_id=n) for n in (SENDER_ID, HELD, FREE)))
    intake.handle(deliveries([pending_balance_change(creditor_id=SENDER_ID)]))


def credited(creditor_id: int, change_id: int) -> Any:
    return pending_balance_change(creditor_id=creditor_id, change_id=change_id, principal_delta=1)


def principals(shard: psycopg.Connection) -> dict[int, int]:
    return dict(shard.execute("SELECT creditor_id, principal FROM account").fetchall())


def waiting_creditors(shard: psycopg.Connection) -> list[int]:
    rows = shard.execute("SELECT creditor_id FROM waiting_message WHERE reason LIKE '%lock%'")
    return sorted(row[0] for row in rows)


@pytest.mark.usefixtures("accounts")
def test_who_needs_a_locked_account_waits_and_the_others_are_served(
    make_intake: MakeIntake,
    shard: psycopg.Connection,
    somebody: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited_in_vain = []
    split_blocked = HeldRows.split_blocked

    def note(self: HeldRows, received: Any) -> Any:
        waited_in_vain.append(len(received))
        return split_blocked(self, received)

    monkeypatch.setattr(HeldRows, "split_blocked", note)
    intake = make_intake(takes_waiting=True)
    somebody.execute(LOCK_ACCOUNT)

    first = intake.handle(deliveries([credited(HELD, 11), credited(FREE, 12), credited(HELD, 13)]))
    second = intake.handle(deliveries([credited(FREE, 14), credited(HELD, 15)]))

    assert tags(first.accepted) == [1, 2, 3]
    assert tags(second.accepted) == [1, 2]
    assert (principals(shard)[HELD], principals(shard)[FREE]) == (0, 2)
    assert waiting_creditors(shard) == [HELD, HELD, HELD]
    assert waited_in_vain == [3], "the second batch should have known"
    [line] = [record.getMessage() for record in caplog.records]
    assert f"server process {somebody.info.backend_pid} (forgotten" in line
    assert f"for account ({DEBTOR_ID}, {HELD})" in line

    somebody.rollback()
    shard.execute("UPDATE waiting_message SET next_attempt_at = '1970-01-01'")
    make_due(intake)
    intake.handle([])
    assert principals(shard)[HELD] == 3
    assert waiting_creditors(shard) == []


def make_due(intake: MessageIntake) -> None:
    assert intake._waiting_room is not None
    intake._waiting_room._next_look = 0.0


@pytest.mark.usefixtures("accounts")
def test_a_transfer_waits_for_its_locked_recipient_but_not_those_of_the_same_sender(
    intake: MessageIntake, shard: psycopg.Connection, somebody: psycopg.Connection
) -> None:
    intake.handle(
        deliveries(
            prepare_transfer(
                recipient=str(recipient), coordinator_request_id=recipient, max_locked_amount=100
            )
            for recipient in (HELD, FREE)
        )
    )
    prepared = shard.execute("SELECT transfer_id, recipient_creditor_id FROM prepared_transfer")
    finalizing = deliveries(
        finalize_transfer(
            prepared_transfer(
                transfer_id=transfer_id, coordinator_request_id=recipient, locked_amount=100
            )
        )
        for transfer_id, recipient in prepared.fetchall()
    )
    before = principals(shard)[SENDER_ID]
    somebody.execute(LOCK_ACCOUNT)

    settled = intake.handle(finalizing)

    assert tags(settled.accepted) == [1, 2]
    assert principals(shard) == {SENDER_ID: before - 100, HELD: 0, FREE: 100}
    assert waiting_creditors(shard) == [SENDER_ID]


@pytest.mark.usefixtures("accounts")
def test_a_transfer_waits_for_its_own_locked_row(
    intake: MessageIntake, shard: psycopg.Connection, somebody: psycopg.Connection
) -> None:
    intake.handle(deliveries([prepare_transfer(recipient=str(FREE), max_locked_amount=100)]))
    [(transfer_id,)] = shard.execute("SELECT transfer_id FROM prepared_transfer").fetchall()
    finalizing = finalize_transfer(prepared_transfer(transfer_id=transfer_id, locked_amount=100))
    somebody.execute("SELECT FROM prepared_transfer FOR UPDATE")

    intake.handle(deliveries([finalizing, credited(FREE, 77)]))

    assert principals(shard)[FREE] == 1
    assert waiting_creditors(shard) == [SENDER_ID]


def test_what_only_an_uncommitted_row_stands_in_the_way_of_waits_alone(
    intake: MessageIntake, shard: psycopg.Connection, somebody: psycopg.Connection
) -> None:
    """A row that is not committed cannot be seen, so that it is found by halving."""
    somebody.execute(
        "INSERT INTO registered_balance_change VALUES (%s, %s, 11, now())",
        (DEBTOR_ID, credited(HELD, 11).other_creditor_id),
    )

    settled = intake.handle(deliveries([credited(HELD, 11), credited(FREE, 12)]))

    assert tags(settled.accepted) == [1, 2]
    assert principals(shard) == {FREE: 1}
    rows = shard.execute("SELECT creditor_id, reason FROM waiting_message").fetchall()
    assert rows == [(HELD, "other transactions keep getting in its way")]


def test_locks_that_cannot_be_found_are_not_waited_for_without_end(
    intake: MessageIntake, shard: psycopg.Connection, somebody: psycopg.Connection
) -> None:
    """Each attempt waits for a second, and a batch of many would be halved for minutes."""
    somebody.cursor().executemany(
        "INSERT INTO registered_balance_change VALUES (%s, %s, %s, now())",
        [(DEBTOR_ID, credited(HELD, n).other_creditor_id, n) for n in range(200)],
    )
    batch = deliveries(credited(1000 + n, n) for n in range(200))
    settled = Settled()

    with pytest.raises(DatabaseUnavailable, match="locks that cannot be found"):
        intake.handle(batch, settled)

    tried_count = len(settled.accepted)
    assert tried_count < 10
    somebody.rollback()
    assert tags(intake.handle(batch, settled).accepted) == tags(batch)
    assert settled.rejected == []
    assert len(shard.execute("SELECT FROM waiting_message").fetchall()) == tried_count


def test_a_table_that_is_locked_meanwhile_stops_all_and_fails_nobody(
    intake: MessageIntake, shard: psycopg.Connection, somebody: psycopg.Connection
) -> None:
    intake.handle(deliveries([configure_account(creditor_id=HELD)]))
    somebody.execute(LOCK_ACCOUNT)
    somebody.execute("LOCK TABLE waiting_message IN SHARE MODE")

    with pytest.raises(DatabaseUnavailable, match="whole tables are locked by server process"):
        intake.handle(deliveries([credited(HELD, 1), credited(FREE, 2)]))

    somebody.rollback()
    assert principals(shard) == {HELD: 0}


@pytest.mark.parametrize(
    ("table", "mode"),
    [
        ("account", "ACCESS EXCLUSIVE"),
        ("account", "SHARE ROW EXCLUSIVE"),
        ("outbox", "SHARE"),
        ("journal", "SHARE"),
    ],
)
def test_a_locked_table_is_the_servers_trouble_and_nobody_is_blamed(
    intake: MessageIntake,
    shard: psycopg.Connection,
    somebody: psycopg.Connection,
    table: str,
    mode: str,
) -> None:
    somebody.execute(f"LOCK TABLE {table} IN {mode} MODE")
    who = rf"whole tables are locked by server process {somebody.info.backend_pid} \(forgotten"

    with pytest.raises(DatabaseUnavailable, match=who):
        intake.handle(deliveries([credited(FREE, 1)]))

    somebody.rollback()
    assert shard.execute("SELECT FROM waiting_message").fetchall() == []


@pytest.mark.usefixtures("accounts")
def test_a_chore_for_a_locked_account_is_left_to_the_next_scan(
    postgres_url: str, shard: psycopg.Connection, somebody: psycopg.Connection
) -> None:
    own = Database(postgres_url, application_name="tests: chores")
    shard.execute("UPDATE account SET update_pending_since = '1970-01-01'")
    shard.execute("DELETE FROM outbox")
    somebody.execute(LOCK_ACCOUNT)

    settled = ChoreIntake(LedgerBatch(own, Realm.parse("#"), Policy(), a_fixed_clock)).handle(
        [delivery(n, send_account_update(creditor_id=n)) for n in (HELD, FREE)]
    )

    own.close()
    assert tags(settled.accepted) == [HELD, FREE]
    assert shard.execute("SELECT creditor_id FROM outbox").fetchall() == [(FREE,)]
