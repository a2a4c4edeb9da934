"""What a scan finds due on accounts."""

import json
from collections.abc import Collection
from datetime import timedelta

import psycopg
import pytest

from swpt_accounts.ledger.chores import (
    CapitalizeInterest,
    ChangeInterestRate,
    PurgeAccount,
    SendAccountUpdate,
    TryToDeleteAccount,
    UpdateDebtorInfo,
)
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.workers.scan_accounts import AllAccounts
from swpt_accounts.workers.scanner import Session
from tests import factories
from tests.factories import NOW
from tests.workers.conftest import MakeSession
from tests.workers.running import NobodyAnswers
from tests.workers.scanning import add_accounts

HALF = Realm.parse("0.#")
EVERYTHING = Realm.parse("#")
RATE = json.dumps({"type": "RootConfigData", "rate": 7.0})
LOCAL, FOREIGN = (
    [d for d in range(1, 200) if HALF.contains(d, 0) == is_local] for is_local in (True, False)
)


def creditor_of(debtor_id: int) -> int:
    """A creditor whose account in the currency is in the half."""
    return next(n for n in range(1, 1000) if HALF.contains(debtor_id, n))


class Asked:
    """Other shards, that know these currencies, and remember what they were asked."""

    def __init__(self, documents: dict[int, str | None]) -> None:
        self.documents = documents
        self.questions: list[set[int]] = []

    def __call__(self, recipients: Collection[AccountKey], debtor_ids: Collection[int]) -> Facts:
        assert not recipients
        self.questions.append(set(debtor_ids))
        known = {d: self.documents[d] for d in debtor_ids if d in self.documents}
        return Facts(reachable={}, root_config_data=known)


@pytest.fixture
def session(make_session: MakeSession) -> Session:
    return make_session()


def test_a_page_of_accounts_comes_to_what_is_due_on_each_of_them(
    shard: psycopg.Connection, session: Session
) -> None:
    long_ago = NOW - timedelta(days=400)
    add_accounts(
        shard,
        {"creditor_id": 0, "config_data": RATE},
        {"creditor_id": 1, "interest_rate": 7.0},
        {"creditor_id": 2, "interest_rate": 7.0, "interest": 5.5},
        {"creditor_id": 3, "interest_rate": 7.0, "config_flags": 1},
        {"creditor_id": 4, "interest_rate": 7.0, "update_pending_since": NOW - timedelta(hours=1)},
        {"creditor_id": 5, "is_deleted": True, "last_change_ts": long_ago},
        {"creditor_id": 6},
    )
    shard.execute("UPDATE account SET creation_date = %s", [long_ago])
    rows = AllAccounts(EVERYTHING, Policy(), NobodyAnswers().gather)

    look = rows.look(session, (), 100)

    key = factories.DEBTOR_ID
    assert look.rows_count == 7
    assert look.last_key == (key, 6)
    assert set(look.chores) == {
        CapitalizeInterest(key, 2),
        TryToDeleteAccount(key, 3),
        SendAccountUpdate(key, 4),
        PurgeAccount(key, 5),
        ChangeInterestRate(key, 6, 7.0, NOW),
    }


def test_an_account_whose_opening_was_cut_short_gets_its_rate_and_its_debtor_info(
    shard: psycopg.Connection, session: Session
) -> None:
    document = {
        "type": "RootConfigData",
        "rate": 7.0,
        "info": {"type": "DebtorInfo", "iri": "https://example.com/"},
    }
    add_accounts(shard, {"creditor_id": 0, "config_data": json.dumps(document)}, {"creditor_id": 9})
    look = AllAccounts(EVERYTHING, Policy(), NobodyAnswers().gather).look(session, (), 100)
    assert look.chores == [
        ChangeInterestRate(factories.DEBTOR_ID, 9, 7.0, NOW),
        UpdateDebtorInfo(factories.DEBTOR_ID, 9, "https://example.com/", "", "", NOW),
    ]


def test_other_shards_are_asked_once_in_a_page_and_only_about_their_currencies(
    shard: psycopg.Connection, session: Session
) -> None:
    chosen = [*LOCAL[:5], *FOREIGN[:5]]
    add_accounts(
        shard,
        *({"debtor_id": d, "creditor_id": 0, "config_data": RATE} for d in LOCAL[:5]),
        *({"debtor_id": d, "creditor_id": creditor_of(d)} for d in chosen),
    )
    others = Asked(dict.fromkeys(FOREIGN, RATE))
    rows = AllAccounts(HALF, Policy(), others)

    look = rows.look(session, (), 100)

    assert others.questions == [set(FOREIGN[:5])]
    assert {(c.debtor_id, type(c)) for c in look.chores} == {
        (d, ChangeInterestRate) for d in chosen
    }


@pytest.mark.parametrize("answer", [None, "", "no JSON", '{"type": "Something"}'])
@pytest.mark.parametrize("is_local", [True, False])
def test_a_currency_that_is_not_known_changes_nothing(
    shard: psycopg.Connection, session: Session, answer: str | None, is_local: bool
) -> None:
    debtor_id = (LOCAL if is_local else FOREIGN)[0]
    add_accounts(shard, {"debtor_id": debtor_id, "creditor_id": creditor_of(debtor_id)})
    if is_local and answer is not None:
        row = {"debtor_id": debtor_id, "creditor_id": 0, "config_data": answer}
        add_accounts(shard, row)
    rows = AllAccounts(HALF, Policy(), Asked({debtor_id: answer}))
    assert [c for c in rows.look(session, (), 100).chores if c.creditor_id] == []


def test_what_needs_no_answer_is_found_while_a_shard_gives_none(
    shard: psycopg.Connection, session: Session
) -> None:
    silent, talking = FOREIGN[:2]
    for d in (silent, talking):
        for n in [n for n in range(1, 100) if HALF.contains(d, n)][:3]:
            add_accounts(shard, {"debtor_id": d, "creditor_id": n, "interest": 5.5})
    others = Asked({talking: RATE})
    rows = AllAccounts(HALF, Policy(), others)

    look = rows.look(session, (), 100)

    assert look.rows_count == 6
    kinds = {(c.debtor_id, type(c)) for c in look.chores}
    assert kinds == {
        (silent, CapitalizeInterest),
        (talking, CapitalizeInterest),
        (talking, ChangeInterestRate),
    }

    others.documents[silent] = RATE
    chores = rows.look(session, (), 100).chores
    assert (silent, ChangeInterestRate) in {(c.debtor_id, type(c)) for c in chores}


def test_accounts_of_other_shards_are_seen_but_nothing_is_due_on_them(
    shard: psycopg.Connection, session: Session
) -> None:
    """After a split, a shard may have them for a while."""
    debtor_id = LOCAL[0]
    add_accounts(
        shard,
        *({"debtor_id": debtor_id, "creditor_id": n, "interest": 5.5} for n in range(1, 41)),
    )
    others = Asked({})

    look = AllAccounts(HALF, Policy(), others).look(session, (), 100)

    assert look.rows_count == 40
    due = {c.creditor_id for c in look.chores}
    assert due == {n for n in range(1, 41) if HALF.contains(debtor_id, n)}
    assert others.questions == []


def test_deleted_and_root_accounts_need_no_currency(
    shard: psycopg.Connection, session: Session
) -> None:
    deleted, root = FOREIGN[:2]
    add_accounts(
        shard,
        {"debtor_id": deleted, "creditor_id": creditor_of(deleted), "is_deleted": True},
        {"debtor_id": root, "creditor_id": 0},
    )
    others = Asked({})
    assert AllAccounts(EVERYTHING, Policy(), others).look(session, (), 100).chores == []
    assert AllAccounts(HALF, Policy(), others).look(session, (), 100).chores == []
    assert others.questions == []


def test_no_account_is_so_extreme_that_a_scan_stops_at_it(
    shard: psycopg.Connection, session: Session
) -> None:
    """It would stop there again after each restart."""
    add_accounts(
        shard,
        *(
            {
                "debtor_id": debtor_id,
                "creditor_id": creditor_id,
                "principal": principal,
                "interest": interest,
                "interest_rate": rate,
                "negligible_amount": 1.7976931348623157e308,
                "last_change_ts": moment,
                "last_update_sent_ts": moment,
                "last_interest_rate_change_ts": moment,
                "last_interest_capitalization_ts": moment,
                "last_deletion_attempt_ts": moment,
                "update_pending_since": moment,
                "config_flags": flags,
            }
            for creditor_id, (debtor_id, principal, interest, rate, moment, flags) in enumerate(
                (
                    (d, p, i, r, m, f)
                    for d in (-(2**63), 2**63 - 1)
                    for p in (-(2**63) + 1, 0, 2**63 - 1)
                    for i in (-1e24, 0.0, 5e-324, 1e24)
                    for r in (-50.0, 100.0)
                    for m in (
                        NOW.replace(year=1),
                        NOW.replace(year=1970, month=1, day=1),
                        NOW,
                        NOW.replace(year=9999, month=12, day=31),
                    )
                    for f in (-(2**31), 1, 2**31 - 1)
                ),
                1,
            )
        ),
    )
    rows = AllAccounts(EVERYTHING, Policy(), NobodyAnswers().gather)
    look = rows.look(session, (), 1000)
    assert look.rows_count == 2 * 3 * 4 * 2 * 4 * 3
    assert look.chores
