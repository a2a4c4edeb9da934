"""The journal keeps entries exactly, each in the partition of its month."""

from datetime import datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.store import journal
from swpt_accounts.store.journal_months import add_journal_months
from swpt_accounts.store.transaction import Conflict, Database
from tests.store import values

entries = st.builds(
    JournalEntry,
    debtor_id=values.int64s,
    creditor_id=values.int64s,
    creation_date=values.dates,
    journal_number=st.integers(1, 2**63 - 1),
    applied_at=values.moments,
    committed_at=values.moments,
    amount=values.int64s.filter(bool),
    clipped_amount=values.int64s,
    principal=values.int64s,
    coordinator_type=st.text(values.storable_characters, min_size=1, max_size=30),
    other_creditor_id=values.int64s,
    transfer_id=values.int64s,
    change_id=st.one_of(st.none(), values.int64s),
    transfer_note_format=st.sampled_from(["", "-.Az09"]),
    transfer_note=st.one_of(st.sampled_from(values.TEXTS), st.just("ж" * 250)),
)


def append(database: Database, *appended: JournalEntry) -> None:
    with database.transaction() as transaction:
        journal.append(transaction, appended)


def entry(number: int, applied_at: datetime = values.MOMENTS[6]) -> JournalEntry:
    return JournalEntry(
        debtor_id=1,
        creditor_id=2,
        creation_date=applied_at.date(),
        journal_number=number,
        applied_at=applied_at,
        committed_at=applied_at,
        amount=-5,
        clipped_amount=0,
        principal=-5,
        coordinator_type="direct",
        other_creditor_id=3,
        transfer_id=4,
        change_id=None,
        transfer_note_format="",
        transfer_note="",
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(appended=st.lists(entries, max_size=4, unique_by=lambda e: e.journal_number))
def test_entries_are_kept_exactly(
    database: Database, session: psycopg.Connection, appended: list[JournalEntry]
) -> None:
    session.execute("DELETE FROM journal")
    append(database, *appended)
    rows = session.execute(f"SELECT {', '.join(journal.COLUMNS)} FROM journal")
    kept = sorted((JournalEntry(*row) for row in rows), key=lambda e: e.journal_number)
    assert kept == sorted(appended, key=lambda e: e.journal_number)


def test_an_entry_goes_to_the_month_when_it_was_applied(
    database: Database, session: psycopg.Connection
) -> None:
    month = datetime.fromisoformat("2024-02-15T00:00:00+00:00")
    add_journal_months(session, month)
    moments = {
        "2024-01-31T23:59:59.999999+00:00": "journal_default",
        "2024-02-01T00:00:00+00:00": "journal_2024_02",
        "2024-02-29T23:59:59.999999+00:00": "journal_2024_02",
        "2024-03-01T00:00:00+00:00": "journal_2024_03",
        "0001-01-01T00:00:00+00:00": "journal_default",
        "9999-12-31T23:59:59.999999+00:00": "journal_default",
    }
    append(database, *(entry(n, datetime.fromisoformat(m)) for n, m in enumerate(moments, 1)))
    places = session.execute("SELECT tableoid::regclass::text FROM journal ORDER BY journal_number")
    assert [place for (place,) in places] == list(moments.values())


def test_a_number_is_given_once(database: Database) -> None:
    append(database, entry(1), entry(2))
    with pytest.raises(Conflict):
        append(database, entry(3), entry(2))


def test_nothing_is_appended_for_nothing(database: Database, session: psycopg.Connection) -> None:
    append(database)
    assert session.execute("SELECT count(*) FROM journal").fetchone() == (0,)
