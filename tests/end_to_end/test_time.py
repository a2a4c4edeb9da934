"""What time alone brings about, at a running node whose intervals are short.

Nothing here knows when a scan comes by: tests wait for what it leads to.
"""

import json
import math
from collections.abc import Iterator

import pytest

from tests.end_to_end.growth import balance_at, whole_balance_at
from tests.end_to_end.nodes import Node
from tests.end_to_end.peers import Document, Peers, creditor, now
from tests.workers.wire import Received

ALICE, BOB, CAROL = creditor(1), creditor(2), creditor(3)
LARGE = 10**15
NEGLIGIBLE = 1000.0
SCHEDULED_FOR_DELETION = 1


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return {
        "APP_ACCOUNTS_SCAN_HOURS": "0.001",
        "APP_MIN_INTEREST_CAPITALIZATION_DAYS": "0",
        "APP_DELETION_ATTEMPTS_MIN_DAYS": "0",
    }


@pytest.fixture(scope="module", autouse=True)
def _program(node: Node) -> Iterator[None]:
    with node.running():
        yield


def reachable(node: Node, peers: Peers, creditor_id: int) -> int:
    """Return the status that the fetch API answers with."""
    return node.get(f"/accounts/{peers.debtor_id}/{creditor_id}/reachable")[0]


# -- interest ------------------------------------------------------------------


@pytest.mark.parametrize("rate", [10.0, -50.0])
def test_interest_on_a_large_balance_is_paid_to_the_unit(peers: Peers, rate: float) -> None:
    peers.open_currency(rate=rate)
    assert peers.open_account(ALICE)["interest_rate"] == rate
    peers.pay(0, ALICE, LARGE)
    since = peers.expect("AccountTransfer", ALICE, principal=LARGE)["committed_at"]

    payments = peers.await_documents("AccountTransfer", ALICE, 2, coordinator_type="interest")
    payments.sort(key=lambda payment: payment["transfer_number"])
    sides = ("0", str(ALICE)) if rate > 0 else (str(ALICE), "0")
    principal = LARGE
    for number, payment in enumerate(payments, start=2):
        expected = whole_balance_at(LARGE, rate, since, payment["committed_at"])
        assert payment["principal"] == expected
        assert payment["acquired_amount"] == expected - principal
        assert (payment["sender"], payment["recipient"]) == sides
        assert (payment["transfer_number"], payment["transfer_note"]) == (number, "")
        principal = expected


def test_paid_interest_is_announced_and_owed_by_the_root_account(peers: Peers) -> None:
    peers.open_currency(rate=10.0)
    peers.open_account(ALICE)
    peers.pay(0, ALICE, LARGE)
    since = peers.expect("AccountTransfer", ALICE, principal=LARGE)["committed_at"]

    def await_growth(creditor_id: int) -> Document:
        def find(_heard: list[Received]) -> Document | None:
            updates = peers.documents("AccountUpdate", creditor_id)
            return next((u for u in updates if abs(u["principal"]) > LARGE), None)

        found = peers.hear_until("an announcement of paid interest", find)
        assert found is not None
        return found

    update = await_growth(ALICE)
    balance = balance_at(LARGE, 10.0, since, update["last_change_ts"])
    assert update["principal"] == math.floor(balance)
    assert update["interest"] == pytest.approx(float(balance % 1), abs=1e-6)
    assert update["last_transfer_number"] > 1
    root = await_growth(0)
    assert root["principal"] == -whole_balance_at(LARGE, 10.0, since, root["last_change_ts"])
    assert root["interest"] == 0.0


def test_a_currency_that_changes_takes_its_accounts_with_it(peers: Peers) -> None:
    """Info changes whenever the debtor wants; the rate once, and then not again for days."""
    peers.open_currency()
    opened = peers.open_account(ALICE)
    assert (opened["interest_rate"], opened["debtor_info_iri"]) == (0.0, "")
    peers.pay(0, ALICE, LARGE)
    peers.expect("AccountTransfer", ALICE, principal=LARGE)

    reconfigure(peers, rate=10.0, iri="https://example.com/first", seqnum=2)
    [first] = peers.await_documents(
        "AccountUpdate", ALICE, interest_rate=10.0, debtor_info_iri="https://example.com/first"
    )[:1]
    since = first["last_interest_rate_change_ts"]
    assert first["principal"] == LARGE
    payment = peers.expect("AccountTransfer", ALICE, coordinator_type="interest")
    grown = whole_balance_at(LARGE, 10.0, since, payment["committed_at"])
    assert payment["principal"] == grown

    reconfigure(peers, rate=5.0, iri="https://example.com/second", seqnum=3)
    second = peers.await_documents(
        "AccountUpdate", ALICE, debtor_info_iri="https://example.com/second"
    )[0]
    assert (second["interest_rate"], second["last_interest_rate_change_ts"]) == (10.0, since)


def reconfigure(peers: Peers, *, rate: float, iri: str, seqnum: int) -> None:
    document = {
        "type": "RootConfigData",
        "rate": rate,
        "info": {"type": "DebtorInfo", "iri": iri},
    }
    peers.configure(0, config_data=json.dumps(document), negligible_amount=1e30, seqnum=seqnum)


# -- the end of accounts -----------------------------------------------------------


def close(peers: Peers, creditor_id: int) -> Document:
    """Schedule an account for deletion, and wait until it is confirmed."""
    configured = peers.configure(
        creditor_id,
        negligible_amount=NEGLIGIBLE,
        config_flags=SCHEDULED_FOR_DELETION,
        seqnum=2,
    )
    peers.await_documents("AccountUpdate", creditor_id, last_config_ts=configured["ts"])
    return configured


def await_deletion(peers: Peers, creditor_id: int, remainder: int, count: int = 1) -> Document:
    """Wait until the remainder is written off for the nth time, and the empty account announced."""
    written_off = peers.await_documents(
        "AccountTransfer", creditor_id, count, coordinator_type="delete"
    )
    last = max(written_off, key=lambda transfer: transfer["transfer_number"])
    assert last["acquired_amount"] == -remainder
    assert (last["sender"], last["recipient"]) == (str(creditor_id), "0")
    assert (last["principal"], last["transfer_note"]) == (0, "")
    return peers.await_documents(
        "AccountUpdate", creditor_id, last_transfer_number=last["transfer_number"]
    )[0]


@pytest.fixture
def deleted(peers: Peers) -> Document:
    """Bob's account, deleted with a remainder of 900, as it was announced; Alice has 100,000."""
    peers.open_currency(rate=10.0)
    for creditor_id, amount in ((ALICE, 100_000), (BOB, 900)):
        peers.open_account(creditor_id)
        peers.pay(0, creditor_id, amount)
        peers.expect("AccountTransfer", creditor_id)
    close(peers, BOB)
    return await_deletion(peers, BOB, 900)


def test_a_deleted_account_is_empty_and_as_good_as_none(
    node: Node, peers: Peers, deleted: Document
) -> None:
    assert (deleted["principal"], deleted["interest"]) == (0, 0.0)
    assert deleted["config_flags"] == SCHEDULED_FOR_DELETION
    assert reachable(node, peers, BOB) == 404
    peers.await_documents("AccountUpdate", 0, principal=-100_000)
    peers.prepare(BOB, ALICE, 0)
    peers.expect("RejectedTransfer", BOB, status_code="SENDER_IS_UNREACHABLE")
    peers.prepare(ALICE, BOB, 1)
    peers.expect("RejectedTransfer", ALICE, status_code="RECIPIENT_IS_UNREACHABLE")


def test_an_account_that_holds_too_much_or_has_plans_is_not_deleted(peers: Peers) -> None:
    peers.open_currency()
    for creditor_id, amount in ((ALICE, 1001), (BOB, 900), (CAROL, 1)):
        peers.open_account(creditor_id)
        peers.pay(0, creditor_id, amount)
        peers.expect("AccountTransfer", creditor_id)
    peers.prepare(BOB, ALICE, 500)
    prepared = peers.expect("PreparedTransfer", BOB)
    for creditor_id in (ALICE, BOB, CAROL):
        close(peers, creditor_id)
    await_deletion(peers, CAROL, 1)

    # The same pass has come by the others before, since their keys are lower ones.
    peers.finalize(prepared, 500)
    peers.expect("FinalizedTransfer", BOB, status_code="OK")
    await_deletion(peers, BOB, 400)
    peers.await_documents("AccountUpdate", ALICE, principal=1501)
    peers.pay(ALICE, 0, 1500)
    await_deletion(peers, ALICE, 1)
    peers.await_documents("AccountUpdate", 0, principal=0, last_config_seqnum=1)


def pay_as_an_agent(peers: Peers, amount: int) -> None:
    """Have the creditors' agent pay an account that nobody else can reach any more."""
    peers.prepare(ALICE, BOB, amount, coordinator_type="agent", coordinator_id=creditor(0))
    prepared = peers.expect("PreparedTransfer", ALICE)
    peers.finalize(prepared, amount)
    peers.expect("FinalizedTransfer", ALICE, status_code="OK")


def pay_from_another_shard(peers: Peers, amount: int) -> None:
    peers.change_balance(BOB, amount)


LATE_PAYMENTS = {"an agent": pay_as_an_agent, "another shard": pay_from_another_shard}


@pytest.mark.parametrize("payer", LATE_PAYMENTS)
def test_a_late_payment_brings_a_deleted_account_back(
    peers: Peers, deleted: Document, payer: str
) -> None:
    LATE_PAYMENTS[payer](peers, 5000)
    number = deleted["last_transfer_number"] + 1
    [arrived] = peers.await_documents("AccountTransfer", BOB, transfer_number=number)
    assert (arrived["acquired_amount"], arrived["principal"]) == (5000, 5000)
    assert arrived["previous_transfer_number"] == number - 1
    assert arrived["creation_date"] == deleted["creation_date"]
    update = peers.await_documents("AccountUpdate", BOB, principal=5000)[0]
    for name in ("last_config_ts", "config_flags", "interest_rate", "creation_date"):
        assert update[name] == deleted[name]

    # It can be emptied, and then ends once more.
    peers.pay(BOB, 0, 4100)
    await_deletion(peers, BOB, 900, count=2)


def test_a_newer_configuration_brings_a_deleted_account_back(
    node: Node, peers: Peers, deleted: Document
) -> None:
    peers.configure(BOB, ts=deleted["last_config_ts"], seqnum=deleted["last_config_seqnum"])
    configured = peers.configure(BOB, ts=now(), seqnum=3)
    update = peers.await_documents("AccountUpdate", BOB, last_config_ts=configured["ts"])[0]
    assert update["config_flags"] == 0
    for name in ("creation_date", "interest_rate", "last_transfer_number", "principal"):
        assert update[name] == deleted[name]
    assert reachable(node, peers, BOB) == 204
    peers.pay(ALICE, BOB, 7)
    number = deleted["last_transfer_number"] + 1
    peers.await_documents("AccountTransfer", BOB, principal=7, transfer_number=number)


# -- chores that nobody can do -----------------------------------------------------


def test_poison_chores_are_put_aside_with_their_reasons_and_stop_nothing(
    node: Node, peers: Peers
) -> None:
    queue = f"{node.queue}_chores"
    ours = {"debtor_id": peers.debtor_id, "creditor_id": ALICE}
    capitalize = {"type": "CapitalizeInterest", **ours}
    rate_change = {"type": "ChangeInterestRate", **ours, "interest_rate": 1.0, "ts": now()}
    poison = {
        "JSON": ("CapitalizeInterest", b"\x00{", "application/json"),
        "content type": ("CapitalizeInterest", as_json(capitalize), "text/plain"),
        "message type": ("ConfigureAccount", as_json(capitalize), "application/json"),
        "creditor_id": (
            "CapitalizeInterest",
            as_json({**capitalize, "creditor_id": 2**63}),
            "application/json",
        ),
        "interest_rate": (
            "ChangeInterestRate",
            as_json({**rate_change, "interest_rate": "1"}),
            "application/json",
        ),
    }
    for message_type, body, content_type in poison.values():
        peers.send_chore(queue, message_type, body, content_type)
    # There is no such account, which is no mistake.
    peers.send_chore(queue, "CapitalizeInterest", as_json(capitalize))

    peers.open_currency(rate=10.0)
    peers.open_account(ALICE)
    peers.pay(0, ALICE, LARGE)
    peers.await_documents("AccountTransfer", ALICE, coordinator_type="interest")

    letters = peers.dead_letters(queue)
    reasons_given = {
        (letter.properties.type, letter.body): letter.properties.headers["dead-letter-reason"]
        for letter in letters
    }
    assert len(letters) == len(poison)
    for word, (message_type, body, _) in poison.items():
        assert word in reasons_given[message_type, body]


def as_json(document: Document) -> bytes:
    return json.dumps(document).encode()
