"""Prepared transfers: inserted, found by key and by coordinator, deleted."""

from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.store import transfers
from swpt_accounts.store.transaction import Conflict, Database
from tests import factories
from tests.store import values

kinds = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=30)
prepared_transfers = st.builds(
    PreparedTransfer,
    debtor_id=values.int64s,
    creditor_id=values.int64s,
    transfer_id=values.int64s,
    coordinator_type=st.one_of(st.sampled_from(["direct", "agent", "NULL", '{"']), kinds),
    coordinator_id=values.int64s,
    coordinator_request_id=values.int64s,
    locked_amount=values.counts,
    recipient_creditor_id=values.int64s,
    prepared_at=values.moments,
    final_interest_rate_ts=values.moments,
    demurrage_rate=st.floats(-100.0, -0.0),
    deadline=values.moments,
    last_reminder_ts=st.one_of(st.none(), values.moments),
)


def insert(database: Database, *prepared: PreparedTransfer) -> None:
    with database.transaction() as transaction:
        transfers.insert(transaction, prepared)


def load(database: Database, *keys: tuple[int, int, int]) -> list[PreparedTransfer]:
    with database.transaction() as transaction:
        return transfers.lock_and_load(transaction, keys)


def find(database: Database, *keys: Any) -> list[PreparedTransfer]:
    with database.transaction() as transaction:
        return transfers.read_by_coordinator(transaction, keys)


def transfer(**fields: Any) -> PreparedTransfer:
    return factories.prepared_transfer(**fields)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prepared=st.lists(
        prepared_transfers,
        min_size=1,
        max_size=4,
        unique_by=(lambda t: t.key, lambda t: t.coordinator_key),
    )
)
def test_transfers_are_loaded_as_they_were_inserted(
    database: Database, session: psycopg.Connection, prepared: list[PreparedTransfer]
) -> None:
    session.execute("DELETE FROM prepared_transfer")
    insert(database, *prepared)
    in_order = sorted(prepared, key=lambda t: t.key)
    assert load(database, *(t.key for t in prepared)) == in_order
    found = find(database, *(t.coordinator_key for t in prepared))
    assert sorted(found, key=lambda t: t.key) == in_order


def test_only_what_exists_is_loaded(database: Database) -> None:
    one, other = transfer(transfer_id=1), transfer(transfer_id=2, coordinator_request_id=2)
    insert(database, one, other)
    d, c, _ = one.key
    assert load(database, (d, c, 2), (d, c, 3), (d, c + 1, 1), (d + 1, c, 1)) == [other]
    assert load(database) == []
    assert find(database) == []


@pytest.mark.parametrize(
    "difference",
    [
        {"debtor_id": 1},
        {"creditor_id": 1, "coordinator_id": factories.SENDER_ID},
        {"coordinator_type": "direcT"},
        {"coordinator_id": 1},
        {"coordinator_request_id": 2},
    ],
)
def test_a_coordinator_finds_only_its_own_transfers(
    database: Database, difference: dict[str, Any]
) -> None:
    own = transfer()
    other = transfer(**({"transfer_id": 78} | difference))
    insert(database, own, other)
    assert find(database, own.coordinator_key) == [own]
    assert find(database, other.coordinator_key) == [other]


@pytest.mark.parametrize("same", [{"transfer_id": 78}, {"coordinator_request_id": 2}])
def test_a_request_leads_to_one_transfer_and_an_id_is_given_once(
    database: Database, same: dict[str, Any]
) -> None:
    insert(database, transfer())
    with pytest.raises(Conflict):
        insert(database, transfer(**same))


def test_finalized_transfers_are_deleted_and_no_others(database: Database) -> None:
    kept, one, other = (transfer(transfer_id=n, coordinator_request_id=n) for n in (1, 2, 3))
    insert(database, kept, one, other)
    with database.transaction() as transaction:
        transfers.delete(transaction, [other.key, one.key])
        transfers.delete(transaction, [])
    assert load(database, kept.key, one.key, other.key) == [kept]


def test_a_request_can_be_made_again_in_the_batch_that_ends_its_transfer(
    database: Database,
) -> None:
    old, new = transfer(transfer_id=1), transfer(transfer_id=2)
    insert(database, old)
    with database.transaction() as transaction:
        transfers.delete(transaction, [old.key])
        transfers.insert(transaction, [new])
    assert find(database, new.coordinator_key) == [new]


def test_reminders_are_noted_on_their_transfers_and_on_no_others(database: Database) -> None:
    untouched, first, second = (
        transfer(transfer_id=n, coordinator_request_id=n) for n in (1, 2, 3)
    )
    insert(database, untouched, first, second)
    earlier, later = factories.NOW, factories.NOW + timedelta(days=7)

    for moments in ((earlier, earlier), (earlier, later), (later, None)):
        reminded = [
            msgspec.structs.replace(t, last_reminder_ts=moment)
            for t, moment in zip((first, second), moments, strict=True)
        ]
        with database.transaction() as transaction:
            transfers.note_reminders(transaction, reminded[::-1])
            transfers.note_reminders(transaction, [])
        assert load(database, untouched.key, first.key, second.key) == [untouched, *reminded]


def test_a_reminder_of_a_transfer_that_has_ended_is_not_noted(database: Database) -> None:
    with database.transaction() as transaction:
        transfers.note_reminders(transaction, [transfer(last_reminder_ts=factories.NOW)])
    assert load(database, transfer().key) == []
