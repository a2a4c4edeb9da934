"""Parked messages: a second copy joins the first, except among dead letters."""

from collections.abc import Callable

import msgspec
import psycopg
import pytest

from swpt_accounts.store import parked
from swpt_accounts.store.parked import Kind, Parked
from swpt_accounts.store.transaction import Database, DatabaseUnavailable
from swpt_accounts.store.usable import require_usable
from tests.factories import NOW

MISROUTED = Parked(Kind.MISROUTED, "why", 1, -2, "PrepareTransfer", b"s" * 32, b"{}")
LETTER = Parked(Kind.DEAD_LETTER, "why", None, None, None, b"s" * 32, b"\xff", "q.XQ", b"\0\0")


def park(database: Database, *messages: Parked) -> None:
    with database.transaction() as transaction:
        parked.insert(transaction, messages, NOW)


def everything(database: Database) -> list[Parked]:
    with database.transaction() as transaction:
        return [message.message for message in parked.read_page(transaction, 0, 100)]


@pytest.mark.usefixtures("session")
def test_a_second_copy_joins_the_first_but_every_dead_letter_is_kept(database: Database) -> None:
    other = msgspec.structs.replace(MISROUTED, kind=Kind.CAME_BACK)
    park(database, MISROUTED, LETTER, other)
    park(database, LETTER, MISROUTED)

    assert everything(database) == [MISROUTED, LETTER, other, LETTER]
    with database.transaction() as transaction:
        assert parked.count_by_kind(transaction) == {
            Kind.MISROUTED: 1,
            Kind.DEAD_LETTER: 2,
            Kind.CAME_BACK: 1,
        }
        assert parked.exists(transaction, Kind.CAME_BACK)
        assert not parked.exists(transaction, Kind.FAILED)


@pytest.mark.usefixtures("session")
def test_messages_are_listed_page_by_page_and_by_kind(database: Database) -> None:
    park(database, *(msgspec.structs.replace(LETTER, reason=str(n)) for n in range(5)), MISROUTED)

    with database.transaction() as transaction:
        first = parked.read_page(transaction, 0, 3)
        second = parked.read_page(transaction, first[-1].id, 3)
        letters = parked.read_kind(transaction, Kind.DEAD_LETTER, 2)
    assert [m.message.reason for m in first + second] == ["0", "1", "2", "3", "4", "why"]
    assert [m.message.reason for m in letters] == ["0", "1"]
    assert {m.parked_at for m in first} == {NOW}


@pytest.mark.usefixtures("session")
def test_what_one_process_takes_the_other_does_not(
    make_client: Callable[[str], Database],
) -> None:
    one, two = make_client("one"), make_client("two")
    park(one, *(msgspec.structs.replace(MISROUTED, creditor_id=n) for n in range(4)))

    with one.transaction() as first, two.transaction() as second:
        mine = parked.take_kind(first, Kind.MISROUTED, 2)
        others = parked.take_kind(second, Kind.MISROUTED, 4)
        parked.delete(first, [m.id for m in mine])

    assert [m.message.creditor_id for m in mine] == [0, 1]
    assert [m.message.creditor_id for m in others] == [2, 3]
    assert [m.creditor_id for m in everything(one)] == [2, 3]


def test_a_database_that_cannot_be_written_to_is_not_usable(
    make_database: Callable[[], str], database: Database, session: psycopg.Connection
) -> None:
    with database.transaction() as transaction:
        require_usable(transaction)
    assert everything(database) == []

    with database.transaction() as transaction:
        transaction.execute("SET TRANSACTION READ ONLY", ())
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            require_usable(transaction)

    empty = Database(make_database(), application_name="tests")
    with (
        pytest.raises(DatabaseUnavailable, match="tables of this version"),
        empty.transaction() as transaction,
    ):
        require_usable(transaction)
    empty.close()
