"""A batch of deliveries becomes rows and messages in one transaction, or nothing at all."""

import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest

from swpt_accounts.ledger import batch
from swpt_accounts.ledger.commands import PrepareTransfer
from swpt_accounts.ledger.working_set import WorkingSet
from swpt_accounts.store import outbox
from swpt_accounts.workers.intake import MessageIntake
from tests.factories import (
    SENDER_ID,
    configure_account,
    configure_root_account,
    finalize_transfer,
    pending_balance_change,
    prepare_transfer,
    prepared_transfer,
)
from tests.workers.conftest import MakeIntake
from tests.workers.databases import REFUSED
from tests.workers.deliveries import deliveries, delivery, tags

POISONED_ID = SENDER_ID + 77

SPOILT: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({"body": b"{"}, "the body is not a ConfigureAccount"),
    "not UTF-8": ({"body": b'{"type":"\xff"}'}, "the body is not"),
    "an array": ({"body": b"[]"}, "the body is not a ConfigureAccount"),
    "nested deeply": ({"body": b'{"more":' + b"[" * 10_000}, "nested too deeply"),
    "too long": ({"body": b" " * 40_000}, "the body has 40000 bytes"),
    "another content type": ({"content_type": "text/json"}, "the content type is 'text/json'"),
    "no content type": ({"content_type": None}, "the content type is None"),
    "an unknown type": ({"message_type": "CreateAccount"}, "the message type is 'CreateAccount'"),
    "no type": ({"message_type": None}, "the message type is None"),
    "another type than its body": (
        {"message_type": "PrepareTransfer"},
        "sent as a PrepareTransfer",
    ),
}
"""By what is wrong: how the delivery differs from a good one, and what the reason must say."""


def spoilt_deliveries(first_tag: int) -> list[Any]:
    return [
        delivery(tag, configure_account(creditor_id=tag), **fields)
        for tag, (fields, _) in enumerate(SPOILT.values(), first_tag)
    ]


def one_row(shard: psycopg.Connection, query: Any, *parameters: Any) -> tuple[Any, ...]:
    row = shard.execute(query, parameters).fetchone()
    assert row is not None
    return row


def creditor_ids(shard: psycopg.Connection) -> list[int]:
    return [row[0] for row in shard.execute("SELECT creditor_id FROM account ORDER BY 1")]


def outbox_count(shard: psycopg.Connection) -> int:
    return int(one_row(shard, "SELECT count(*) FROM outbox")[0])


def bodies(shard: psycopg.Connection, message_type: str) -> list[dict[str, Any]]:
    rows = shard.execute(
        "SELECT body FROM outbox WHERE message_type = %s ORDER BY id", [message_type]
    )
    return [json.loads(row[0]) for row in rows]


# -- malformed deliveries ------------------------------------------------


def test_malformed_deliveries_are_rejected_with_their_reasons_and_the_others_applied(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    good = [delivery(tag, configure_account(creditor_id=tag)) for tag in range(1, 11)]
    spoilt = spoilt_deliveries(first_tag=101)
    mixed = [d for pair in zip(good, spoilt, strict=True) for d in pair]

    settled = intake.handle(mixed)

    assert settled.accepted == good
    assert [rejected for rejected, _ in settled.rejected] == spoilt
    for (_, reason), (what, (_, words)) in zip(settled.rejected, SPOILT.items(), strict=True):
        assert words in reason, what
    assert creditor_ids(shard) == tags(good)


def test_a_batch_of_nothing_but_malformed_deliveries_leaves_the_database_alone(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    settled = intake.handle(spoilt_deliveries(first_tag=1))

    assert len(settled.rejected) == len(SPOILT)
    assert settled.accepted == []
    assert creditor_ids(shard) == []


# -- messages that can be read, but not applied ---------------------------


def refuse_account(shard: psycopg.Connection, creditor_id: int) -> None:
    """See to it that the database takes no row for the account."""
    shard.execute(
        f"ALTER TABLE account ADD CONSTRAINT {REFUSED} CHECK (creditor_id <> {creditor_id})"
    )


def refuse_account_at_commit(shard: psycopg.Connection, creditor_id: int) -> None:
    """See to it that a transaction fails at its very end, when it has inserted the account."""
    shard.execute(
        f"""
        CREATE FUNCTION refuse_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'refused at the end' USING ERRCODE = 'check_violation';
        END $$;
        CREATE CONSTRAINT TRIGGER refuse_at_commit AFTER INSERT ON account
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.creditor_id = {creditor_id})
        EXECUTE FUNCTION refuse_at_commit();
        """
    )


@pytest.mark.parametrize("refuse", [refuse_account, refuse_account_at_commit])
@pytest.mark.parametrize("place", [0, 1, 77, 199])
def test_a_message_that_the_database_refuses_is_found_by_halving(
    intake: MessageIntake,
    shard: psycopg.Connection,
    refuse: Callable[[psycopg.Connection, int], None],
    place: int,
) -> None:
    refuse(shard, POISONED_ID)
    commands = [configure_account(creditor_id=1000 + n) for n in range(200)]
    commands[place] = configure_account(creditor_id=POISONED_ID)
    batch_of_200 = deliveries(commands)

    settled = intake.handle(batch_of_200)

    [(rejected, reason)] = settled.rejected
    assert rejected is batch_of_200[place]
    assert reason.startswith("it could not be applied: CheckViolation: ")
    assert tags(settled.accepted) == [d.tag for d in batch_of_200 if d is not rejected]
    assert creditor_ids(shard) == sorted(c.creditor_id for c in commands if c != commands[place])
    updates = [update["creditor_id"] for update in bodies(shard, "AccountUpdate")]
    assert sorted(updates) == creditor_ids(shard)
    [transactions_count] = one_row(shard, "SELECT count(DISTINCT xmin::text) FROM account")
    assert transactions_count <= 8  # The binary logarithm of 200, rounded up.


def test_several_poisonous_messages_are_found_one_by_one(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    refuse_account(shard, POISONED_ID)
    refuse_account_at_commit(shard, POISONED_ID + 1)
    good = [configure_account(creditor_id=1000 + n) for n in range(30)]
    poison = [configure_account(creditor_id=POISONED_ID + n % 2) for n in range(3)]
    mixed = deliveries([*poison[:1], *good[:13], *poison[1:2], *good[13:], *poison[2:]])

    settled = intake.handle(mixed)

    assert [rejected.tag for rejected, _ in settled.rejected] == [1, 15, 33]
    assert creditor_ids(shard) == sorted(c.creditor_id for c in good)


def test_a_message_on_which_a_rule_fails_is_found_and_the_others_are_applied_once(
    intake: MessageIntake, shard: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = batch._RULES[PrepareTransfer]

    def fail_on_77(command: PrepareTransfer, working_set: WorkingSet, *rest: Any) -> None:
        rule(command, working_set, *rest)
        if command.coordinator_request_id == 77:
            raise ZeroDivisionError("a defect")

    intake.handle(deliveries([configure_account(), configure_account(creditor_id=SENDER_ID + 1)]))
    monkeypatch.setitem(batch._RULES, PrepareTransfer, fail_on_77)

    settled = intake.handle(
        deliveries(prepare_transfer(coordinator_request_id=n) for n in range(1, 201))
    )

    assert settled.rejected == []
    assert len(settled.accepted) == 200
    assert one_row(shard, "SELECT kind, reason FROM parked_message") == (
        "failed",
        "it could not be applied: ZeroDivisionError: a defect",
    )
    assert one_row(shard, "SELECT count(*), min(transfer_id) FROM prepared_transfer")[0] == 199
    assert one_row(
        shard, "SELECT pending_transfers_count FROM account WHERE creditor_id = %s", SENDER_ID
    ) == (199,)
    prepared = [p["coordinator_request_id"] for p in bodies(shard, "PreparedTransfer")]
    assert prepared == [n for n in range(1, 201) if n != 77]


def test_commands_for_one_account_keep_their_order_when_the_batch_is_halved(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    refuse_account(shard, POISONED_ID)
    commands = [configure_account(seqnum=n, negligible_amount=float(n)) for n in range(1, 100)]
    commands.insert(50, configure_account(creditor_id=POISONED_ID))

    intake.handle(deliveries(commands))

    assert one_row(shard, "SELECT last_config_seqnum, negligible_amount FROM account") == (99, 99.0)


def test_a_batch_wakes_who_sleeps_and_one_that_was_rolled_back_does_not(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    refuse_account_at_commit(shard, POISONED_ID)
    outbox.listen(shard)
    outbox.fall_asleep(shard)

    settled = intake.handle(deliveries([configure_account(creditor_id=POISONED_ID)]))
    assert len(settled.rejected) == 1
    assert outbox_count(shard) == 0

    # Were there a notification of the first batch, it would come before this one.
    intake.handle(deliveries([configure_account()]))
    committed = shard.execute("SELECT pg_notify('outbox', 'the end')")
    assert committed.fetchall()
    payloads = []
    for notification in shard.notifies(timeout=30):
        payloads.append(notification.payload)
        if notification.payload == "the end":
            break
    assert payloads == ["", "the end"]


# -- what the whole batch is for ------------------------------------------


def test_a_repeated_batch_changes_nothing_and_answers_the_same(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    configured = deliveries(
        [configure_root_account(), configure_account(), configure_account(creditor_id=5)]
    )
    credited = deliveries([pending_balance_change(creditor_id=SENDER_ID)])
    prepared = deliveries([prepare_transfer(recipient="5", max_locked_amount=400)])
    for one_batch in (configured, credited, prepared):
        assert intake.handle(one_batch).accepted == one_batch
    rows = shard.execute("SELECT * FROM account ORDER BY creditor_id").fetchall()
    before = outbox_count(shard)

    settled = intake.handle([*configured, *credited, *prepared])

    assert len(settled.accepted) == 5
    assert shard.execute("SELECT * FROM account ORDER BY creditor_id").fetchall() == rows
    assert outbox_count(shard) == before + 1
    first, second = bodies(shard, "PreparedTransfer")
    assert first == second


def test_two_processes_that_create_the_same_accounts_at_once_both_succeed(
    make_intake: MakeIntake, shard: psycopg.Connection
) -> None:
    commands = [
        pending_balance_change(creditor_id=1000 + n, change_id=n, principal_delta=1)
        for n in range(100)
    ]
    settled: list[int] = []
    together = threading.Barrier(2, timeout=30)

    def handle(intake: MessageIntake, shift: int) -> None:
        for start in range(0, 100, 20):
            together.wait()
            shifted = [
                pending_balance_change(
                    creditor_id=c.creditor_id, change_id=c.change_id + shift, principal_delta=1
                )
                for c in commands[start : start + 20]
            ]
            settled.append(len(intake.handle(deliveries(shifted)).accepted))

    threads = [threading.Thread(target=handle, args=(make_intake(), 1000 * n)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert settled == 10 * [20]
    assert one_row(shard, "SELECT count(*), min(principal), max(principal) FROM account") == (
        100,
        2,
        2,
    )


def test_a_finalize_transfer_with_a_wrong_coordinator_does_not_block_the_right_one(
    intake: MessageIntake, shard: psycopg.Connection
) -> None:
    intake.handle(deliveries([configure_account(), configure_account(creditor_id=5)]))
    intake.handle(deliveries([pending_balance_change(creditor_id=SENDER_ID)]))
    intake.handle(deliveries([prepare_transfer(recipient="5", max_locked_amount=400)]))
    [transfer_id] = one_row(shard, "SELECT transfer_id FROM prepared_transfer")
    right = finalize_transfer(prepared_transfer(transfer_id=transfer_id, locked_amount=400))
    wrong = msgspec.structs.replace(right, coordinator_request_id=999)

    settled = intake.handle(deliveries([wrong, right, wrong]))

    assert len(settled.accepted) == 3
    [finalized] = bodies(shard, "FinalizedTransfer")
    assert (finalized["status_code"], finalized["committed_amount"]) == ("OK", 400)
