"""The outbox: messages wait in order, leave when they are confirmed, and wake who sends them."""

from collections.abc import Collection, Iterable

import psycopg
import pytest

from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.store import outbox
from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.store.transaction import Database, DatabaseUnavailable
from tests import factories
from tests.store.explaining import nodes_of
from tests.store.outgoing import NOW, append, message

LANES = range(1000)


def page(session: psycopg.Connection) -> list[OutboxMessage]:
    return take(session, LANES, 1000)


def take(
    session: psycopg.Connection,
    lanes: Collection[int],
    count_max: int,
    taken_ids: Iterable[int] = (),
    *,
    bytes_max: int = 1_000_000,
) -> list[OutboxMessage]:
    return outbox.take_page(
        session, lanes, count_max=count_max, bytes_max=bytes_max, taken_ids=taken_ids
    )


def delete(session: psycopg.Connection, rows: Iterable[OutboxMessage]) -> None:
    outbox.delete(session, [row.id for row in rows])


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
    assert bodies(take(session, [0, 2], 4)) == [b"0", b"2", b"3", b"5"]
    assert bodies(take(session, [1], 100)) == [b"1", b"4", b"7"]
    assert take(session, [7], 100) == []
    assert take(session, [], 100) == []


def test_what_was_taken_before_is_left_out_wherever_it_stands(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(body=b"%d" % n) for n in range(6)))
    taken = take(session, LANES, 6)
    some = [taken[n].id for n in (0, 2, 3, 5)]
    assert bodies(take(session, LANES, 6, some)) == [b"1", b"4"]
    assert bodies(take(session, LANES, 1, some)) == [b"1"]
    assert take(session, LANES, 6, [row.id for row in taken]) == []


def test_a_page_stays_until_it_is_deleted(database: Database, session: psycopg.Connection) -> None:
    append(database, message(body=b"1"), message(body=b"2"), message(body=b"3"))
    first = page(session)
    assert page(session) == first
    delete(session, [first[0], first[2]])
    assert page(session) == [first[1]]
    delete(session, first)
    delete(session, [])
    assert page(session) == []


def test_ids_are_never_given_again(database: Database, session: psycopg.Connection) -> None:
    append(database, message())
    [first] = page(session)
    delete(session, [first])
    append(database, message())
    assert page(session)[0].id > first.id


def test_a_page_ends_when_it_has_enough_bytes(
    database: Database, session: psycopg.Connection
) -> None:
    """The first message always comes, however long it is; long ones are compressed on disk."""
    sizes = (70_000, 10, 4096, 4097, 5, 70_000)
    messages = [message(body=b"x" * size) for size in sizes]
    append(database, *messages)
    rows = page(session)
    assert [row.message for row in rows] == messages
    assert take(session, LANES, 10, bytes_max=1) == rows[:3]
    assert take(session, LANES, 10, bytes_max=70_000) == rows[:3]
    assert take(session, LANES, 10, bytes_max=70_001) == rows[:5]
    assert take(session, LANES, 10, bytes_max=74_098) == rows
    assert take(session, LANES, 10, [rows[0].id], bytes_max=4097) == rows[1:5]
    assert take(session, LANES, 2, bytes_max=70_001) == rows[:2]


# -- waking those who send ----------------------------------------------------


def heard(session: psycopg.Connection) -> list[str]:
    """Return what a listener has been told until now."""
    session.execute("NOTIFY checkpoint")
    channels = []
    for notification in session.notifies(timeout=60):
        channels.append(notification.channel)
        if notification.channel == "checkpoint":
            break
    return channels


def test_only_who_sleeps_is_woken(
    database: Database, session: psycopg.Connection, folder_url: str
) -> None:
    session.execute("LISTEN checkpoint")
    with connect(folder_url, application_name="tests", autocommit=True) as flusher:
        outbox.listen(session)
        append(database, message())
        outbox.wake_flushers(database)
        assert heard(session) == ["checkpoint"]

        outbox.fall_asleep(flusher)
        append(database, message())
        assert heard(session) == ["checkpoint"]
        outbox.wake_flushers(database)
        assert heard(session) == [outbox.CHANNEL, "checkpoint"]

        outbox.wake_up(flusher)
        outbox.wake_flushers(database)
        assert heard(session) == ["checkpoint"]
    assert len(page(session)) == 2


def test_any_number_may_sleep_and_look_whether_others_do(
    database: Database, session: psycopg.Connection, folder_url: str
) -> None:
    session.execute("LISTEN checkpoint")
    outbox.listen(session)
    with (
        connect(folder_url, application_name="tests", autocommit=True) as one,
        connect(folder_url, application_name="tests", autocommit=True) as other,
    ):
        outbox.fall_asleep(one)
        outbox.fall_asleep(other)
        outbox.wake_up(one)
        outbox.wake_flushers(database)
        outbox.wake_flushers(database)
        assert heard(session) == [outbox.CHANNEL, outbox.CHANNEL, "checkpoint"]


def test_a_lost_database_is_told_to_whoever_wakes_others(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message())
    session.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    with pytest.raises(DatabaseUnavailable):
        outbox.wake_flushers(database)
    outbox.wake_flushers(database)


def test_a_page_is_found_by_one_walk_through_one_index(
    database: Database, session: psycopg.Connection, folder_url: str
) -> None:
    append(database, *(message(lane=n % 2, body=b"%d" % n) for n in range(3000)))
    with connect(
        folder_url, application_name="tests", autocommit=True, session_options=LOOK_UPS_ONLY
    ) as flusher:
        [(explained,)] = flusher.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {outbox._TAKE_PAGE}", ([0, 1], "{}", 100)
        )
    [scan] = [node for node in nodes_of(explained[0]["Plan"]) if "Index Name" in node]
    assert (scan["Index Name"], scan["Actual Rows"]) == ("outbox_pkey", 100)
    assert "Sort" not in {node["Node Type"] for node in nodes_of(explained[0]["Plan"])}
