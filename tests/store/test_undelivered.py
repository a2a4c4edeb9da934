"""Messages set aside: whole, found by their destination, and gone when they were sent."""

from collections.abc import Collection, Iterable

import psycopg
import pytest

from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.protocol.routing import destination as name_of
from swpt_accounts.store import outbox, undelivered
from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect
from swpt_accounts.store.outbox import MESSAGE_COLUMNS, OutboxMessage
from swpt_accounts.store.transaction import Database
from tests import factories
from tests.store.explaining import nodes_of
from tests.store.outgoing import NOW, append, message

LANES = range(1000)
A, B = "to_creditors 00.00.0a", "to_creditors 00.00.0b"


def page(session: psycopg.Connection) -> list[OutboxMessage]:
    return outbox.take_page(session, LANES, count_max=1000, bytes_max=1_000_000)


def set_aside(
    session: psycopg.Connection,
    rows: Iterable[OutboxMessage],
    destination: str = A,
    *,
    is_tried: bool = False,
) -> None:
    ids = [row.id for row in rows]
    undelivered.set_aside(session, ids, destination, "no {'", NOW, is_tried=is_tried)


def take(
    session: psycopg.Connection,
    destination: str = A,
    *,
    lanes: Collection[int] = LANES,
    with_tried: bool = True,
    count_max: int = 1000,
    bytes_max: int = 1_000_000,
    taken_ids: Iterable[int] = (),
) -> list[OutboxMessage]:
    return undelivered.take(
        session,
        lanes,
        destination,
        with_tried=with_tried,
        count_max=count_max,
        bytes_max=bytes_max,
        taken_ids=taken_ids,
    )


def bodies(rows: list[OutboxMessage]) -> list[bytes]:
    return [row.message.body for row in rows]


def samples(session: psycopg.Connection, *names: str) -> list[bytes]:
    return bodies(undelivered.samples(session, LANES, names, bytes_max=1_000_000))


def destinations(session: psycopg.Connection, lanes: Collection[int] = LANES) -> set[str]:
    return undelivered.destinations(session, lanes, name_of)


def test_a_message_set_aside_leaves_the_outbox_whole(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(encode(event) for event in factories.every_event()))
    failed = page(session)
    set_aside(session, failed)
    assert page(session) == []
    kept = take(session)
    assert all(row.is_set_aside for row in kept)
    assert {row.id: row.message for row in kept} == {row.id: row.message for row in failed}
    columns = session.execute("SELECT id, reason, inserted_at FROM undelivered_message")
    assert set(columns) == {(row.id, "no {'", NOW) for row in failed}


def test_others_are_not_set_aside(database: Database, session: psycopg.Connection) -> None:
    append(database, message(body=b"1"), message(body=b"2"))
    failed, kept = page(session)
    set_aside(session, [failed])
    assert page(session) == [kept]


def test_what_is_gone_already_is_not_set_aside(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message())
    gone = page(session)
    outbox.delete(session, [row.id for row in gone])
    set_aside(session, gone)
    set_aside(session, [])
    assert take(session) == []


def add_to_outbox_again(session: psycopg.Connection, **changes: str) -> None:
    """Have what is set aside in the outbox, too, with the same ids, but for some changes."""
    columns = ["id", *MESSAGE_COLUMNS, "inserted_at"]
    values = [changes.get(column, column) for column in columns]
    session.execute(
        f"INSERT INTO outbox ({', '.join(columns)}) OVERRIDING SYSTEM VALUE"  # type: ignore[arg-type]
        f" SELECT {', '.join(values)} FROM undelivered_message"
    )


def test_an_id_that_was_set_aside_before_only_leaves_the_outbox(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message(body=b"1"), message(body=b"2"))
    first, second = page(session)
    set_aside(session, [first])
    add_to_outbox_again(session)
    set_aside(session, [first, second], is_tried=True)
    assert page(session) == []
    assert bodies(take(session)) == [b"1", b"2"]


@pytest.mark.parametrize("column", ["body", "routing_key", "message_type"])
def test_a_message_with_the_id_of_another_one_gets_a_new_id(
    database: Database, session: psycopg.Connection, column: str
) -> None:
    append(database, message(body=b"1"))
    other = page(session)
    set_aside(session, other)
    add_to_outbox_again(session, **{column: f"{column} || '2'"})
    [row] = page(session)
    renamed = undelivered.set_aside(session, [row.id], A, "", NOW, is_tried=False)
    assert page(session) == []
    assert renamed.keys() == {row.id}
    assert {kept.id: kept.message for kept in take(session)} == {
        row.id: other[0].message,
        renamed[row.id]: row.message,
    }
    undelivered.delete_late(session, [row])
    assert len(take(session)) == 2
    undelivered.delete_late(session, other)
    assert [kept.message for kept in take(session)] == [row.message]
    append(database, message())
    assert page(session)[0].id > renamed[row.id]


def test_destinations_are_listed_as_long_as_there_is_something_for_them(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(lane=n % 3) for n in range(9)))
    rows = page(session)
    set_aside(session, rows[:6], A)
    set_aside(session, rows[6:8], B)
    assert destinations(session) == {A, B}
    assert destinations(session, [2]) == {A}
    assert destinations(session, []) == set()
    assert undelivered.counts(session, LANES, [A, B]) == {A: 6, B: 2}
    assert undelivered.counts(session, [1], [A, B]) == {A: 2, B: 1}
    undelivered.delete(session, [row.id for row in rows[:6]])
    undelivered.delete(session, [])
    assert destinations(session) == {B}


def test_what_the_version_before_has_set_aside_gets_its_destination(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, message(routing_key="00.00.0a.01"), message(routing_key="00.00.0b.01"))
    set_aside(session, page(session), "none")
    session.execute("UPDATE undelivered_message SET destination = NULL")
    assert destinations(session) == {A, B}
    assert len(take(session, A)) == len(take(session, B)) == 1


def test_however_many_the_version_before_has_set_aside_they_all_get_their_destinations(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(routing_key=f"00.00.0a.{n % 50:02x}") for n in range(2500)))
    set_aside(session, outbox.take_page(session, LANES, count_max=2500, bytes_max=10**9), "none")
    session.execute("UPDATE undelivered_message SET destination = NULL")
    assert destinations(session) == {A}
    assert undelivered.counts(session, LANES, [A]) == {A: 2500}


def test_the_destination_of_each_lane_is_read_in_order_and_in_pages(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(lane=n % 2, body=b"%d" % n) for n in range(6)))
    rows = page(session)
    set_aside(session, rows[3:])
    set_aside(session, rows[:3])
    assert bodies(take(session, lanes=[0])) == [b"0", b"2", b"4"]
    assert bodies(take(session, lanes=[1], count_max=2)) == [b"1", b"3"]
    assert bodies(take(session, lanes=[1], taken_ids=[rows[1].id])) == [b"3", b"5"]
    assert len(take(session, count_max=5)) == 5
    assert take(session, B) == []


def test_what_was_tried_in_vain_comes_last_or_not_at_all(
    database: Database, session: psycopg.Connection
) -> None:
    append(database, *(message(body=b"%d" % n) for n in range(4)))
    rows = page(session)
    set_aside(session, rows[:2], is_tried=True)
    set_aside(session, rows[2:])
    undelivered.note_failure(session, [rows[0].id], A, "still not", NOW)
    assert bodies(take(session)) == [b"2", b"3", b"1", b"0"]
    assert bodies(take(session, with_tried=False)) == [b"2", b"3"]
    assert samples(session, A, B) == [b"2", b"1"]
    undelivered.note_failure(session, [rows[n].id for n in (1, 2, 3)], A, "no", NOW)
    assert samples(session, A) == [b"2"]


def test_long_messages_are_read_one_by_one(database: Database, session: psycopg.Connection) -> None:
    messages = [message(body=b"%d" % n * 9_000) for n in range(3)]
    append(database, *messages)
    set_aside(session, page(session))
    assert [row.message for row in take(session)] == messages
    assert [row.message for row in take(session, bytes_max=9_000)] == messages[:1]
    assert samples(session, A) == [messages[0].body]


@pytest.mark.parametrize("statement", ["destinations", "take", "samples"])
def test_a_few_rows_are_found_among_many_by_few_look_ups(
    database: Database, session: psycopg.Connection, folder_url: str, statement: str
) -> None:
    append(database, *(message(lane=n % 2, body=b"%d" % n) for n in range(3000)))
    set_aside(session, outbox.take_page(session, LANES, count_max=2990, bytes_max=10**9), A)
    set_aside(session, page(session), B)
    run = {
        "destinations": (undelivered._DESTINATIONS, ([0, 1],)),
        "take": (undelivered._TAKE, ([0, 1], B, 9, "{}", 10, 10)),
        "samples": (undelivered._SAMPLES, ([A, B], [0, 1])),
    }[statement]
    with connect(
        folder_url, application_name="tests", autocommit=True, session_options=LOOK_UPS_ONLY
    ) as flusher:
        [(explained,)] = flusher.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {run[0]}", run[1])
    scans = [n for n in nodes_of(explained[0]["Plan"]) if n.get("Relation Name")]
    assert {scan["Index Name"] for scan in scans} == {"undelivered_message_destination_idx"}
    assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans) < 50
    assert not any(scan.get("Rows Removed by Filter") for scan in scans)
