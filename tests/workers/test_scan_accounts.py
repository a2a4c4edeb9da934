"""What a scan finds due on accounts, and in which order it has waiting ones announced."""

import json
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

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
from swpt_accounts.store import accounts
from swpt_accounts.store.transaction import Transaction
from swpt_accounts.workers import scan_accounts
from swpt_accounts.workers.scan_accounts import AllAccounts, WaitingAccounts
from swpt_accounts.workers.scanner import Session
from tests import factories
from tests.factories import NOW
from tests.workers.conftest import MakeSession
from tests.workers.running import nobody_answers
from tests.workers.wire import Wire

HALF = Realm.parse("0.#")
EVERYTHING = Realm.parse("#")
RATE = json.dumps({"type": "RootConfigData", "rate": 7.0})
LOCAL, FOREIGN = (
    [d for d in range(1, 200) if HALF.contains(d, 0) == is_local] for is_local in (True, False)
)


def creditor_of(debtor_id: int) -> int:
    """A creditor whose account in the currency is in the half."""
    return next(n for n in range(1, 1000) if HALF.contains(debtor_id, n))


def add_accounts(shard: psycopg.Connection, *rows: dict[str, Any]) -> None:
    announced = {"is_created": True, "last_update_sent_ts": NOW}
    made = [factories.account(**{**announced, **row}) for row in rows]
    with shard.transaction(), shard.cursor() as cursor:
        accounts.save(Transaction(cursor), sorted(made, key=lambda a: a.key), {})


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


# -- all accounts -------------------------------------------------------------


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
    rows = AllAccounts(EVERYTHING, Policy(), nobody_answers)

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
    look = AllAccounts(EVERYTHING, Policy(), nobody_answers).look(session, (), 100)
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


def test_a_shard_that_gives_no_answer_is_asked_again_only_later(
    shard: psycopg.Connection, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the rest of what is due on the account is found as ever."""
    silent, talking = FOREIGN[:2]
    for d in (silent, talking):
        for n in [n for n in range(1, 100) if HALF.contains(d, n)][:3]:
            add_accounts(shard, {"debtor_id": d, "creditor_id": n, "interest": 5.5})
    others = Asked({talking: RATE})
    rows = AllAccounts(HALF, Policy(), others)

    looks = [rows.look(session, (), 4), rows.look(session, (), 100)]

    assert others.questions == [{silent, talking}, {talking}]
    assert looks[-1].rows_count == 6
    kinds = {(c.debtor_id, type(c)) for c in looks[-1].chores}
    assert kinds == {
        (silent, CapitalizeInterest),
        (talking, CapitalizeInterest),
        (talking, ChangeInterestRate),
    }

    monkeypatch.setattr(scan_accounts, "UNANSWERED_SECONDS", 0.0)  # It is later already.
    rows = AllAccounts(HALF, Policy(), others)
    rows.look(session, (), 100)
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
    rows = AllAccounts(EVERYTHING, Policy(), nobody_answers)
    look = rows.look(session, (), 1000)
    assert look.rows_count == 2 * 3 * 4 * 2 * 4 * 3
    assert look.chores


# -- waiting accounts ---------------------------------------------------------

DELAY = timedelta(hours=1)
PAGE = 10

Sent = Callable[[], list[int]]


@pytest.fixture
def sent(wire: Wire, chores_queue: str) -> Sent:
    """Call it to take from the queue what has been sent: the creditors of announced accounts."""

    def take() -> list[int]:
        taker = Wire(wire.url)
        taker.consume(chores_queue)
        received = taker.catch_up()
        taker.close()
        assert {r.properties.type for r in received} <= {"SendAccountUpdate"}
        return [r.document["creditor_id"] for r in received]

    return take


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_accounts, "WAITING_PAGE_SIZE", PAGE)


def add_waiting(shard: psycopg.Connection, waits: dict[int, timedelta | None]) -> None:
    """Add accounts, by their creditors, that have waited for so long."""
    add_accounts(
        shard,
        *(
            {"creditor_id": n, "update_pending_since": None if wait is None else NOW - wait}
            for n, wait in waits.items()
        ),
    )


def sweep(waiting: WaitingAccounts, session: Session) -> list[float]:
    """Let it take steps until it has found all; return the pauses."""
    pauses = [waiting.step(session)]
    while waiting._position != scan_accounts._BEFORE_ALL:
        pauses.append(waiting.step(session))
    return pauses


def test_accounts_that_have_waited_long_enough_are_announced_the_longest_first(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    microsecond = timedelta(microseconds=1)
    add_waiting(
        shard,
        {
            **{n: DELAY + timedelta(minutes=n) for n in range(1, 26)},
            100: DELAY,
            101: DELAY - microsecond,
            102: -DELAY,
            103: None,
        },
    )
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    waiting.begin(session)
    assert not waiting.is_done

    pauses = sweep(waiting, session)

    assert sent() == [*range(25, 0, -1), 100]
    assert len(pauses) == 3
    assert waiting.is_done


def test_many_accounts_that_have_begun_to_wait_at_one_moment_are_all_found_once(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, dict.fromkeys(range(-20, 15), DELAY))
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    sweep(waiting, session)
    assert sent() == list(range(-20, 15))


def test_no_account_is_sent_again_while_chores_wait_in_the_queue(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, dict.fromkeys(range(1, 16), DELAY))
    waiting = WaitingAccounts(EVERYTHING, DELAY)

    for _ in range(5):
        sweep(waiting, session)

    assert sent() == list(range(1, 16))
    # The chores are gone, without having been done.
    sweep(waiting, session)
    assert sent() == list(range(1, 16))


def test_accounts_that_begin_to_wait_are_found_although_nothing_was_sent_before(
    shard: psycopg.Connection, session: Session, make_session: MakeSession, sent: Sent
) -> None:
    add_waiting(shard, {1: timedelta(0)})
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    sweep(waiting, session)
    assert waiting.is_done
    assert sent() == []

    sweep(waiting, make_session(NOW + DELAY - timedelta(microseconds=1)))
    assert sent() == []
    sweep(waiting, make_session(NOW + DELAY))
    assert sent() == [1]


def test_accounts_of_other_shards_are_not_announced(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, dict.fromkeys(range(1, 41), DELAY))
    sweep(WaitingAccounts(HALF, DELAY), session)
    assert sent() == [n for n in range(1, 41) if HALF.contains(factories.DEBTOR_ID, n)]


def test_accounts_that_are_late_are_announced_without_a_pause_and_others_evenly(
    shard: psycopg.Connection, make_session: MakeSession
) -> None:
    add_waiting(shard, dict.fromkeys(range(1, 26), timedelta(0)))
    microsecond = timedelta(microseconds=1)
    for late, pause in (
        (timedelta(0), PAGE / scan_accounts.WAITING_PACE),
        (DELAY, PAGE / scan_accounts.WAITING_PACE),
        (DELAY + microsecond, 0.0),
        (timedelta(days=100), 0.0),
    ):
        pauses = sweep(WaitingAccounts(EVERYTHING, DELAY), make_session(NOW + DELAY + late))
        assert pauses[:-1] == [pause, pause]
        assert pauses[-1] == scan_accounts.LOOK_SECONDS_MAX


@pytest.mark.parametrize(
    ("delay", "pause"), [(0, 0.2), (1, 0.2), (10, 0.5), (100, 5), (3600, 10), (86400, 10)]
)
def test_the_shorter_the_delay_the_more_often_it_looks(
    session: Session, delay: float, pause: float
) -> None:
    waiting = WaitingAccounts(EVERYTHING, timedelta(seconds=delay))
    assert waiting.step(session) == pause


def test_after_a_restart_it_begins_with_those_who_have_waited_longest(
    shard: psycopg.Connection, session: Session, sent: Sent
) -> None:
    add_waiting(shard, {n: DELAY + timedelta(minutes=n) for n in range(1, 26)})
    waiting = WaitingAccounts(EVERYTHING, DELAY)
    waiting.step(session)
    waiting.begin(session)
    sent()
    shard.execute("UPDATE account SET update_pending_since = NULL WHERE creditor_id > 20")
    sweep(waiting, session)
    assert sent() == list(range(20, 0, -1))
