"""Which registered balance changes a scan forgets."""

from datetime import datetime, timedelta

import psycopg
import pytest

from swpt_accounts.store.connection import connect
from swpt_accounts.workers.scan_changes import AllChanges
from swpt_accounts.workers.walk import Walk
from tests.factories import NOW
from tests.workers.conftest import MakeSession

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def remembered(shard: psycopg.Connection) -> psycopg.Connection:
    """A hundred changes, each committed a microsecond later than the one before."""
    shard.execute(
        "INSERT INTO registered_balance_change"
        " (debtor_id, other_creditor_id, change_id, committed_at)"
        " SELECT 1, n %% 3, n, %s + n * interval '1 microsecond' FROM generate_series(-50, 49) n",
        [NOW],
    )
    return shard


def change_ids(session: psycopg.Connection) -> list[int]:
    rows = session.execute("SELECT change_id FROM registered_balance_change ORDER BY 1")
    return [row[0] for row in rows]


@pytest.mark.parametrize("threshold", [NOW - 51 * MICROSECOND, NOW, NOW + MICROSECOND * 50])
def test_what_was_committed_before_the_threshold_is_forgotten_in_one_pass(
    remembered: psycopg.Connection, make_session: MakeSession, threshold: datetime
) -> None:
    walk = Walk("scan_registered_balance_changes", AllChanges(threshold), timedelta(days=7))
    walk.begin(make_session())
    while not walk.is_done:
        walk.step(make_session())
    kept = [n for n in range(-50, 50) if NOW + n * MICROSECOND >= threshold]
    assert change_ids(remembered) == kept


def test_a_page_tells_how_many_were_seen_and_how_many_are_gone(
    remembered: psycopg.Connection, make_session: MakeSession
) -> None:
    look = AllChanges(NOW).look(make_session(), (), 60)
    assert (look.rows_count, look.last_key[:2], list(look.chores)) == (60, (1, 0), [])
    assert look.removed_count == 100 - len(change_ids(remembered))
    assert 0 < look.removed_count < 60


def test_a_change_that_somebody_holds_is_left_for_the_next_pass(
    remembered: psycopg.Connection, postgres_url: str, make_session: MakeSession
) -> None:
    rows = AllChanges(NOW)
    session = make_session()
    session.statements.execute("SET lock_timeout = '10s'", ())
    with connect(postgres_url, application_name="tests: forgotten") as other:
        other.execute(
            "SELECT FROM registered_balance_change WHERE change_id = -10 FOR UPDATE"
        ).fetchall()
        assert rows.look(session, (), 200).removed_count == 49
        assert change_ids(remembered) == [-10, *range(50)]
    assert rows.look(session, (), 200).removed_count == 1
