"""Accounts are loaded as they were saved, whatever has changed."""

from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.values import MAX_INT64, MIN_INT64, AccountKey
from swpt_accounts.store import accounts
from swpt_accounts.store.transaction import Conflict, Database, StoreDefect
from tests import factories
from tests.store import values

many = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def load(database: Database, *keys: AccountKey) -> dict[AccountKey, Account]:
    with database.transaction() as transaction:
        return {k: row.account for k, row in accounts.lock_and_load(transaction, keys).items()}


def create(database: Database, *created: Account) -> None:
    with database.transaction() as transaction:
        new = [msgspec.structs.replace(account, is_created=True) for account in created]
        accounts.save(transaction, sorted(new, key=lambda account: account.key), {})


def change(database: Database, changes: dict[AccountKey, dict[str, Any]]) -> None:
    """Load the accounts, change some fields of each, and save them."""
    with database.transaction() as transaction:
        locked = accounts.lock_and_load(transaction, changes)
        for key, fields in changes.items():
            for name, value in fields.items():
                setattr(locked[key].account, name, value)
        changed = [locked[key].account for key in sorted(locked)]
        accounts.save(transaction, changed, locked)


def save(database: Database, changed: list[Account], row_id: str | None = None) -> None:
    """Lock the accounts that exist and save all; into that row, if it is given."""
    with database.transaction() as transaction:
        locked = accounts.lock_and_load(transaction, [account.key for account in changed])
        if row_id is not None:
            locked = {k: msgspec.structs.replace(row, row_id=row_id) for k, row in locked.items()}
        accounts.save(transaction, changed, locked)


def same(observed: Account, expected: Account) -> bool:
    """Compare by what is written, in which 0.0 and -0.0 differ."""
    return repr(observed) == repr(expected)


@many
@given(account=values.accounts)
def test_a_new_account_is_loaded_as_it_was_saved(
    database: Database, session: psycopg.Connection, account: Account
) -> None:
    session.execute("DELETE FROM account")
    create(database, account)
    assert same(load(database, account.key)[account.key], account)


# What a field is changed to, from something else.
EXAMPLES: dict[str, Any] = {
    "last_change_seqnum": -(2**31),
    "last_change_ts": values.LATEST,
    "principal": -(2**63) + 1,
    "interest": 5e-324,
    "last_transfer_number": 2**63 - 1,
    "last_transfer_committed_at": values.EARLIEST,
    "last_transfer_id": 2**63 - 1,
    "total_locked_amount": 2**63 - 1,
    "pending_transfers_count": 2**31 - 1,
    "last_journal_number": 2**63 - 1,
    "is_overflown": True,
    "update_pending_since": values.LATEST,
    "last_update_sent_ts": values.EARLIEST,
    "interest_rate": 1e-9,
    "last_interest_rate_change_ts": values.LATEST,
    "previous_interest_rate": -50.0,
    "last_config_ts": values.LATEST,
    "last_config_seqnum": 2**31 - 1,
    "negligible_amount": 1.7976931348623157e308,
    "config_flags": -(2**31),
    "config_data": '{"a,\\":NULL}',
    "debtor_info_iri": "https://example.com/☕",
    "debtor_info_content_type": "text/plain",
    "debtor_info_sha256": bytes(range(32)),
    "is_deleted": True,
    "last_interest_capitalization_ts": values.LATEST,
    "last_deletion_attempt_ts": values.LATEST,
}


@pytest.mark.parametrize("field", values.ACCOUNT_FIELDS)
def test_a_change_of_one_field_is_saved_and_touches_nothing_else(
    database: Database, field: str
) -> None:
    account, neighbour = factories.account(), factories.recipient_account()
    assert getattr(account, field) != EXAMPLES[field]
    create(database, account, neighbour)
    change(database, {account.key: {field: EXAMPLES[field]}})
    setattr(account, field, EXAMPLES[field])
    loaded = load(database, account.key, neighbour.key)
    assert same(loaded[account.key], account)
    assert same(loaded[neighbour.key], neighbour)


@many
@given(data=st.data())
def test_any_changes_of_many_accounts_are_saved_together(
    database: Database, session: psycopg.Connection, data: st.DataObject
) -> None:
    unique = st.lists(values.accounts, min_size=1, max_size=4, unique_by=lambda a: a.key)
    existing = {account.key: account for account in data.draw(unique)}
    session.execute("DELETE FROM account")
    create(database, *existing.values())
    chosen = data.draw(st.sets(st.sampled_from(sorted(existing)), min_size=1))
    changes = {
        key: data.draw(st.fixed_dictionaries({}, optional=values.ACCOUNT_FIELDS)) for key in chosen
    }
    change(database, changes)
    for key, fields in changes.items():
        for name, value in fields.items():
            setattr(existing[key], name, value)
    loaded = load(database, *existing)
    assert loaded.keys() == existing.keys()
    for key, account in existing.items():
        assert same(loaded[key], account)


def test_accounts_that_do_not_exist_are_absent(database: Database) -> None:
    account = factories.account()
    create(database, account)
    assert load(database, account.key, (1, 2)).keys() == {account.key}
    assert load(database) == {}


def test_an_account_is_loaded_as_neither_new_nor_changed(database: Database) -> None:
    account = factories.account()
    create(database, account)
    loaded = load(database, account.key)[account.key]
    assert (loaded.is_created, loaded.is_changed, loaded.is_update_due) == (False, False, False)


def test_an_account_is_created_once(database: Database) -> None:
    account = factories.account(principal=1)
    create(database, account)
    with pytest.raises(Conflict):
        create(database, factories.account(principal=2))
    assert same(load(database, account.key)[account.key], account)


def test_accounts_are_saved_together_or_not_at_all(database: Database) -> None:
    account = factories.account()
    create(database, account)
    changed = msgspec.structs.replace(account, principal=9, config_data="9")
    new = factories.account(is_created=True)
    with pytest.raises(Conflict):
        save(database, [changed, new])
    assert same(load(database, account.key)[account.key], account)


@pytest.mark.parametrize("config_data", ["", "9"])
@pytest.mark.parametrize("row_id", ["another's", "(0,9999)", "(4294967294,1)"])
def test_an_account_is_written_to_its_own_row_or_not_at_all(
    database: Database, row_id: str, config_data: str
) -> None:
    account, other = factories.account(creditor_id=1), factories.account(creditor_id=2)
    create(database, account, other)
    if row_id == "another's":
        with database.transaction() as transaction:
            row_id = accounts.lock_and_load(transaction, [other.key])[other.key].row_id
    changed = msgspec.structs.replace(account, principal=9, config_data=config_data)
    with pytest.raises(StoreDefect):
        save(database, [changed], row_id)
    observed = load(database, account.key, other.key)
    assert same(observed[account.key], account)
    assert same(observed[other.key], other)


@pytest.mark.parametrize(
    ("fields", "is_reachable"),
    [
        ({}, True),
        ({"is_deleted": True}, False),
        ({"config_flags": 1}, False),
        ({"config_flags": -1}, False),
        ({"config_flags": -2}, True),
        ({"config_flags": 2**31 - 2}, True),
    ],
)
def test_a_recipient_is_reachable_when_the_core_would_say_so(
    database: Database, fields: dict[str, Any], is_reachable: bool
) -> None:
    account = factories.account(**fields)
    create(database, account)
    with database.transaction() as transaction:
        read = accounts.read_reachable(transaction, {account.key, (1, 2)})
    assert read == {account.key: is_reachable, (1, 2): False}
    assert account.accepts_transfers == is_reachable


def test_root_accounts_are_read_for_their_configuration(database: Database) -> None:
    create(
        database,
        factories.root_account(debtor_id=1, config_data="one"),
        factories.root_account(debtor_id=2, config_data="", is_deleted=True),
        factories.account(debtor_id=3, config_data="not a root account"),
    )
    with database.transaction() as transaction:
        read = accounts.read_root_config_data(transaction, {1, 2, 3, 4})
        nothing = (
            accounts.read_reachable(transaction, []),
            accounts.read_root_config_data(transaction, []),
        )
    assert read == {1: "one", 2: "", 3: None, 4: None}
    assert nothing == ({}, {})


# -- purged accounts -----------------------------------------------------------


def test_purged_accounts_are_removed_and_no_others(database: Database) -> None:
    keys = [(d, c) for d in (MIN_INT64, -1, 0, MAX_INT64) for c in (MIN_INT64, 0, 1, MAX_INT64)]
    create(database, *(factories.account(debtor_id=d, creditor_id=c) for d, c in keys))
    purged = [keys[9], keys[0], keys[15], (5, 5)]

    with database.transaction() as transaction:
        accounts.delete(transaction, purged)
        accounts.delete(transaction, [])

    assert load(database, *keys).keys() == set(keys) - set(purged)


def test_an_account_can_be_opened_again_in_the_batch_that_purges_it(database: Database) -> None:
    create(database, factories.account(principal=1, is_deleted=True))
    again = factories.account(principal=2, is_created=True)
    with database.transaction() as transaction:
        accounts.delete(transaction, [again.key])
        accounts.save(transaction, [again], {})
    assert load(database, again.key)[again.key].principal == 2


# -- accounts that wait to be announced ------------------------------------------


def test_each_account_waits_since_a_moment_of_its_own_or_not_at_all(database: Database) -> None:
    """The moments of a batch are written together, those that are missing included."""
    moments = [None, factories.NOW, None, values.EARLIEST, values.LATEST, None]
    for shift in range(len(moments)):
        shifted = moments[shift:] + moments[:shift]
        keys = [(1, n) for n in range(len(moments))]
        if not shift:
            create(database, *(factories.account(debtor_id=d, creditor_id=c) for d, c in keys))
        waits = dict(zip(keys, shifted, strict=True))
        change(database, {key: {"update_pending_since": wait} for key, wait in waits.items()})
        found = load(database, *keys)
        assert {key: account.update_pending_since for key, account in found.items()} == waits
