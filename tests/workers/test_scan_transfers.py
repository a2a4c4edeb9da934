"""Which prepared transfers a scan finds worth a reminder."""

from datetime import timedelta

import psycopg
import pytest

from swpt_accounts.ledger.chores import RemindOfTransfer
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import transfers
from swpt_accounts.store.transaction import Transaction
from swpt_accounts.workers.scan_transfers import AllTransfers
from tests.factories import DEBTOR_ID, NOW, prepared_transfer
from tests.workers.conftest import MakeSession

REMINDER_INTERVAL = Policy().reminder_interval
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def rows(shard: psycopg.Connection) -> AllTransfers:
    """Transfers of many senders, prepared longer and longer ago, some of them reminded of."""
    prepared = [
        prepared_transfer(
            creditor_id=n,
            transfer_id=n,
            prepared_at=NOW - REMINDER_INTERVAL + MICROSECOND * (20 - n),
            last_reminder_ts={30: NOW, 31: NOW - REMINDER_INTERVAL}.get(n),
        )
        for n in range(1, 41)
    ]
    with shard.transaction(), shard.cursor() as cursor:
        transfers.insert(Transaction(cursor), prepared)
    return AllTransfers(Realm.parse("#"), Policy())


def test_coordinators_that_have_heard_nothing_for_long_are_to_be_reminded(
    rows: AllTransfers, make_session: MakeSession
) -> None:
    look = rows.look(make_session(), (), 100)

    assert look.rows_count == 40
    assert look.last_key == (DEBTOR_ID, 40, 40)
    assert look.chores == [RemindOfTransfer(DEBTOR_ID, n, n) for n in range(20, 41) if n != 30]


def test_a_page_begins_behind_the_last_row_of_the_one_before(
    rows: AllTransfers, make_session: MakeSession
) -> None:
    look = rows.look(make_session(), (DEBTOR_ID, 22, 22), 5)
    assert (look.rows_count, look.last_key) == (5, (DEBTOR_ID, 27, 27))
    assert [c.creditor_id for c in look.chores] == [23, 24, 25, 26, 27]
    look = rows.look(make_session(), (DEBTOR_ID, 40, 40), 5)
    assert (look.rows_count, look.last_key, list(look.chores)) == (0, (), [])


def test_nobody_is_reminded_of_transfers_from_accounts_of_other_shards(
    rows: AllTransfers, make_session: MakeSession
) -> None:
    assert rows.look(make_session(), (), 100).chores
    half = Realm.parse("1.#")
    look = AllTransfers(half, Policy()).look(make_session(), (), 100)
    assert look.rows_count == 40
    ours = [n for n in range(20, 41) if n != 30 and half.contains(DEBTOR_ID, n)]
    assert [c.creditor_id for c in look.chores] == ours
