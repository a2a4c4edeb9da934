"""A batch finds its rows by their keys, whatever PostgreSQL knows or believes about the tables."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from swpt_accounts.store import accounts, transfers
from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect
from swpt_accounts.store.transaction import Database
from tests import factories
from tests.store.explaining import Explaining, nodes_of

D, BUSY = factories.DEBTOR_ID, 1
TRANSFERS_COUNT = 3000
BATCH = range(1, 101)
PRIMARY_KEY, REQUEST_KEY = "prepared_transfer_pkey", "prepared_transfer_request_key"

TRANSFER_KEYS = [(D, BUSY, n) for n in BATCH]
COORDINATOR_KEYS = [(D, BUSY, "direct", BUSY, n) for n in BATCH]
TRANSFERS = [
    factories.prepared_transfer(creditor_id=BUSY, transfer_id=n, last_reminder_ts=factories.NOW)
    for n in BATCH
]
ACCOUNTS = [factories.account(creditor_id=n) for n in BATCH]


def save_accounts(explaining: Explaining, **changes: Any) -> None:
    """Only the last statement is explained."""
    locked = accounts.lock_and_load(explaining.unexplained, [a.key for a in ACCOUNTS])
    changed = [msgspec.structs.replace(row.account, **changes) for row in locked.values()]
    accounts.save(explaining, changed, locked)


# What is done, and the index in which rows are looked up.
STATEMENTS: dict[str, tuple[Callable[[Explaining], object], str | None]] = {
    "transfers, locked": (lambda t: transfers.lock_and_load(t, TRANSFER_KEYS), PRIMARY_KEY),
    "transfers, deleted": (lambda t: transfers.delete(t, TRANSFER_KEYS), PRIMARY_KEY),
    "transfers, by coordinator": (
        lambda t: transfers.read_by_coordinator(t, COORDINATOR_KEYS),
        REQUEST_KEY,
    ),
    "transfers, reminded of": (
        lambda t: transfers.note_reminders(t, TRANSFERS),
        PRIMARY_KEY,
    ),
    "accounts, locked": (
        lambda t: accounts.lock_and_load(t, [a.key for a in ACCOUNTS]),
        "account_pkey",
    ),
    "accounts, reachable": (
        lambda t: accounts.read_reachable(t, [a.key for a in ACCOUNTS]),
        "account_pkey",
    ),
    "accounts, written": (save_accounts, None),
    "accounts, reconfigured": (lambda t: save_accounts(t, config_data="{}"), None),
    "accounts, deleted": (
        lambda t: accounts.delete(t, [a.key for a in ACCOUNTS]),
        "account_pkey",
    ),
    "root accounts": (
        lambda t: accounts.read_root_config_data(t, range(D, D + len(BATCH))),
        "account_pkey",
    ),
}


@pytest.fixture
def explained(
    database: Database, folder_url: str, request: pytest.FixtureRequest
) -> Iterator[psycopg.Connection]:
    """A session like a batch's, when one account has many transfers, and there are many accounts.

    The parameter tells what PostgreSQL was told about the tables, and when.
    """
    with connect(
        folder_url, application_name="tests", autocommit=True, session_options=LOOK_UPS_ONLY
    ) as session:
        if request.param == "analyzed while empty":
            session.execute("ANALYZE account, prepared_transfer")
        with database.transaction() as transaction:
            prepared = [
                factories.prepared_transfer(
                    creditor_id=BUSY, transfer_id=n, coordinator_id=BUSY, coordinator_request_id=n
                )
                for n in range(TRANSFERS_COUNT)
            ]
            transfers.insert(transaction, prepared)
            new = [factories.account(creditor_id=n) for n in range(TRANSFERS_COUNT)]
            created = [msgspec.structs.replace(account, is_created=True) for account in new]
            accounts.save(transaction, created, {})
        if request.param == "analyzed when full":
            session.execute("ANALYZE account, prepared_transfer")
        yield session


@pytest.mark.parametrize(
    "explained", ["never analyzed", "analyzed while empty", "analyzed when full"], indirect=True
)
@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_row_costs_one_look_up_in_the_right_index(
    explained: psycopg.Connection, statement: str, plan_cache_mode: str
) -> None:
    run, index_name = STATEMENTS[statement]
    explaining = Explaining(explained)
    with explained.transaction(force_rollback=True):
        explained.execute(f"SET LOCAL plan_cache_mode = {plan_cache_mode}")  # type: ignore[arg-type]
        run(explaining)

    [plan] = explaining.plans
    scans = [node for node in nodes_of(plan) if "Scan" in node["Node Type"]]
    tables = [scan for scan in scans if "Relation Name" in scan]
    indexes = [scan["Index Name"] for scan in tables if scan["Node Type"] != "Tid Scan"]
    assert indexes == ([index_name] if index_name else []), _shown(scans)
    for scan in tables:
        assert scan["Actual Loops"] == len(BATCH), _shown(scans)
        assert scan.get("Rows Removed by Filter", 0) == 0, _shown(scans)


def _shown(nodes: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("Node Type", "Relation Name", "Index Name", "Actual Loops", "Rows Removed by Filter")
    return [tuple(node.get(name) for name in names) for node in nodes]
