"""The outbox: messages wait in order, and leave when they are confirmed or set aside."""

from datetime import UTC, datetime, timedelta

import psycopg

from swpt_accounts.protocol.outgoing import OutgoingMessage, encode
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.store import outbox
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.store.transaction import Database
from tests import factories
from tests.store.undone import undone

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LANES = range(1000)


def message(lane: int = 0, body: bytes = b"{}") -> OutgoingMessage:
    return OutgoingMessage(
        lane=lane,
        exchange="to_creditors",
        routing_key="00.00",
        mandatory=True,
        message_type="AccountUpdate",
        debtor_id=1,
        creditor_id=2,
        coordinator_type=None,
        coordinator_id=None,
        origin_creditor_id=2,
        body=body,
    )


def append(database: Database, *messages: OutgoingMessage) -> None:
    with database.transaction() as transaction:
        outbox.append(transaction, messages, NOW)


def page(session: psycopg.Connection) -> list[OutboxMessage]:
    return outbox.take_page(session, LANES, 1000)


def undelivered(session: psycopg.Connection, now: datetime) -> list[OutboxMessage]:
    return outbox.take_undelivered(session, LANES, 1000, now)


def bodies(messages: list[OutboxMessage]) -> list[bytes]:
    return [m.message.body for m in messages]


def test_messages_of_all_types_are_read_as_they_were_appended(
    database: Database, session: psycopg.Connection
) -> None:
    messages = [encode(event) for event in factories.every_event()]
    messages.append(message(body=bytes(range(256))))
    append(database, *messages)
    assert {m.message_type for m in messages} == set(MESSAGE_TYPES)
    assert [m.message for m in page(session)] == messages
    assert session.execute("SELECT DISTINCT inserted_at FROM outbox").fetchall() == [(NOW,)]


def test_a_page_holds_the_oldest_messages_of_some_lanes(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(lane=n % 3, body=b"%d" % n) for n in range(9)))
    assert bodies(outbox.take_page(session, [0, 2], 4)) == [b"0", b"2", b"3", b"5"]
    assert bodies(outbox.take_page(session, [1], 100)) == [b"1", b"4", b"7"]
    assert outbox.take_page(session, [7], 100) == []
    assert outbox.take_page(session, [], 100) == []


def test_what_was_taken_before_is_left_out_wherever_it_stands(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(body=b"%d" % n) for n in range(6)))
    taken = outbox.take_page(session, LANES, 6)
    some = [taken[n].id for n in (0, 2, 3, 5)]
    assert bodies(outbox.take_page(session, LANES, 6, some)) == [b"1", b"4"]
    assert bodies(outbox.take_page(session, LANES, 1, some)) == [b"1"]
    assert outbox.take_page(session, LANES, 6, [row.id for row in taken]) == []


def test_a_page_stays_until_it_is_deleted(database: Database, session: psycopg.Connection) -> None:
    append(database, message(body=b"1"), message(body=b"2"), message(body=b"3"))
    first = page(session)
    assert page(session) == first
    outbox.delete(session, [first[0], first[2]])
    assert page(session) == [first[1]]
    outbox.delete(session, first)
    outbox.delete(session, [])
    assert page(session) == []


def test_ids_are_never_given_again(database: Database, session: psycopg.Connection) -> None:
    append(database, message())
    [first] = page(session)
    outbox.delete(session, [first])
    append(database, message())
    assert page(session)[0].id > first.id


def test_a_commit_wakes_those_who_listen_and_a_rollback_does_not(
    database: Database, session: psycopg.Connection
) -> None:
    session.execute(f"LISTEN {outbox.CHANNEL}")
    session.execute("LISTEN checkpoint")
    with undone(database) as transaction:
        outbox.append(transaction, [message()], NOW)
    append(database)
    session.execute("NOTIFY checkpoint")
    append(database, message(), message())
    heard = [n.channel for n in session.notifies(timeout=60, stop_after=2)]
    assert heard == ["checkpoint", outbox.CHANNEL]
    assert len(page(session)) == 2


# -- what the broker would not take ----------------------------------------------


def test_a_message_set_aside_leaves_the_outbox_whole(
    database: Database, session: psycopg.Connection
) -> None:
    messages = [encode(event) for event in factories.every_event()]
    append(database, *messages)
    failed = page(session)
    outbox.set_aside(session, [(m, f"reason {m.id}") for m in failed], NOW)
    assert page(session) == []
    set_aside = undelivered(session, NOW + timedelta(seconds=5))
    assert sorted(m.id for m in set_aside) == [m.id for m in failed]
    assert {m.id: m.message for m in set_aside} == {m.id: m.message for m in failed}
    assert {m.attempts_count for m in set_aside} == {1}
    reasons = session.execute("SELECT id, reason, inserted_at FROM undelivered_message")
    assert set(reasons) == {(m.id, f"reason {m.id}", NOW) for m in failed}


def test_others_are_not_set_aside(database: Database, session: psycopg.Connection) -> None:
    append(database, message(body=b"1"), message(body=b"2"))
    failed, kept = page(session)
    outbox.set_aside(session, [(failed, "no")], NOW)
    assert page(session) == [kept]


def test_what_is_gone_already_is_not_set_aside(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message())
    gone = page(session)
    outbox.delete(session, gone)
    outbox.set_aside(session, [(m, "no") for m in gone], NOW)
    outbox.set_aside(session, [], NOW)
    assert undelivered(session, NOW + timedelta(days=1)) == []


def test_attempts_become_rarer_up_to_one_in_five_minutes(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message())
    [failed] = page(session)
    now, pauses = NOW, []
    for attempt in range(1, 15):
        outbox.set_aside(session, [(failed, f"attempt {attempt}")], now)
        [(next_attempt_at, reason)] = session.execute(
            "SELECT next_attempt_at, reason FROM undelivered_message"
        ).fetchall()
        assert reason == f"attempt {attempt}"
        assert undelivered(session, next_attempt_at - timedelta(microseconds=1)) == []
        [failed] = undelivered(session, next_attempt_at)
        assert failed.attempts_count == attempt
        pauses.append((next_attempt_at - now).total_seconds())
        now = next_attempt_at
    assert pauses == [5, 10, 20, 40, 80, 160, *[300] * 8]


def test_those_that_wait_the_longest_are_tried_first(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(lane=n % 2, body=b"%d" % n) for n in range(6)))
    for late, failed in zip((3, 1, 5, 0, 4, 2), page(session), strict=True):
        outbox.set_aside(session, [(failed, "no")], NOW + timedelta(seconds=late))
    later = NOW + timedelta(seconds=9)
    assert bodies(outbox.take_undelivered(session, LANES, 3, later)) == [b"3", b"1", b"5"]
    assert bodies(outbox.take_undelivered(session, [0], 10, later)) == [b"0", b"4"]
    assert outbox.take_undelivered(session, [], 10, later) == []


def test_only_what_was_sent_at_last_is_deleted(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(body=b"%d" % n) for n in range(4)))
    one, other, *_ = page(session)
    outbox.set_aside(session, [(one, "no"), (other, "no")], NOW)
    later = NOW + timedelta(seconds=5)
    sent = [m for m in undelivered(session, later) if m.id == one.id]
    outbox.delete(session, [*sent, *page(session)[:1]])
    assert bodies(page(session)) == [b"3"]
    assert bodies(undelivered(session, later)) == [b"1"]


def test_new_and_repeated_failures_are_set_aside_together(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message(body=b"old"))
    outbox.set_aside(session, [(m, "no") for m in page(session)], NOW)
    later = NOW + timedelta(seconds=5)
    [old] = undelivered(session, later)
    append(database, message(body=b"new"))
    [new] = page(session)
    outbox.set_aside(session, [(new, "new {'"), (old, 'old "\\')], later)
    counts = session.execute(
        "SELECT reason, attempts_count, next_attempt_at FROM undelivered_message ORDER BY id"
    )
    assert counts.fetchall() == [
        ('old "\\', 2, later + timedelta(seconds=10)),
        ("new {'", 1, later + timedelta(seconds=5)),
    ]
