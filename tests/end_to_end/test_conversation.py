"""A conversation with a running node, in which every message is looked at from all sides."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.programs import Program
from tests.end_to_end.nodes import Node
from tests.end_to_end.peers import Peers, creditor, now
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

ALICE, BOB, CAROL = creditor(1), creditor(2), creditor(3)


@pytest.fixture(scope="module", autouse=True)
def program(node: Node) -> Iterator[Program]:
    with node.running() as program:
        yield program


def unsigned(number: int) -> int:
    return number % 2**64


def seconds_ago(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def test_a_debtor_sets_up_a_currency(node: Node, peers: Peers) -> None:
    config_data = json.dumps(
        {"type": "RootConfigData", "rate": 2.5, "limit": 10**12, "unknown": "Ünïcode ☃"},
        ensure_ascii=False,
    )
    configured = peers.configure(
        0, config_data=config_data, negligible_amount=1e30, seqnum=-5, config_flags=-2
    )
    update = peers.expect("AccountUpdate", 0)
    peers.expect_nothing_more()

    today = {datetime.now(UTC).date(), (datetime.now(UTC) - timedelta(hours=1)).date()}
    assert update["creation_date"] in map(str, today)
    assert 0 <= seconds_ago(update["last_change_ts"]) < 60
    assert (
        update.items()
        >= {
            "account_id": "0",
            "last_change_seqnum": 1,
            "ts": update["last_change_ts"],
            "principal": 0,
            "interest": 0.0,
            "interest_rate": 0.0,
            "last_interest_rate_change_ts": "1970-01-01T00:00:00+00:00",
            "last_config_ts": configured["ts"],
            "last_config_seqnum": -5,
            "config_flags": -2,
            "config_data": config_data,
            "negligible_amount": 1e30,
            "last_transfer_number": 0,
            "last_transfer_committed_at": "1970-01-01T00:00:00+00:00",
            "demurrage_rate": -50.0,
            "commit_period": 7_776_000,
            "transfer_note_max_bytes": 500,
            "ttl": 604_800,
            "debtor_info_iri": "",
            "debtor_info_content_type": "",
            "debtor_info_sha256": "",
        }.items()
    )
    path = f"/accounts/{unsigned(peers.debtor_id)}/0"
    assert node.get(f"{path}/config") == (200, config_data)
    assert node.get(f"{path}/reachable") == (204, "")


def test_a_new_account_knows_its_currency_from_the_first_message_on(
    node: Node, peers: Peers
) -> None:
    info = {
        "type": "DebtorInfo",
        "iri": "https://example.com/currency",
        "contentType": "text/html",
        "sha256": "0123456789ABCDEF" * 4,
    }
    peers.open_currency(rate=7.25, info=info)
    update = peers.open_account(ALICE, negligible_amount=2.5)
    peers.expect_nothing_more()

    assert update["account_id"] == str(ALICE)
    assert update["interest_rate"] == 7.25
    assert 0 <= seconds_ago(update["last_interest_rate_change_ts"]) < 60
    assert update["debtor_info_iri"] == info["iri"]
    assert update["debtor_info_content_type"] == "text/html"
    assert update["debtor_info_sha256"] == info["sha256"]
    assert update["negligible_amount"] == 2.5
    path = f"/accounts/{unsigned(peers.debtor_id)}/{ALICE}"
    assert node.get(f"{path}/reachable") == (204, "")
    assert node.get(f"{path}/config") == (200, "")


def test_money_is_issued_and_paid_and_each_account_has_a_chain_of_transfers(peers: Peers) -> None:
    peers.open_currency()
    for creditor_id in (ALICE, BOB):
        peers.open_account(creditor_id)

    issued = peers.pay(0, ALICE, 1000, note="for you")
    first = peers.expect("AccountTransfer", ALICE)
    paid = peers.pay(ALICE, BOB, 300, note="Grüße ☃")
    second = peers.expect("AccountTransfer", ALICE)
    third = peers.expect("AccountTransfer", BOB)
    peers.pay(BOB, 0, 100)
    fourth = peers.expect("AccountTransfer", BOB)
    peers.expect_nothing_more()  # Nothing about the root account's own transfers, above all.

    assert (issued["coordinator_type"], issued["coordinator_id"]) == ("issuing", peers.debtor_id)
    assert issued["total_locked_amount"] == paid["total_locked_amount"] == 0
    assert (
        first.items()
        >= {
            "transfer_number": 1,
            "previous_transfer_number": 0,
            "coordinator_type": "issuing",
            "sender": "0",
            "recipient": str(ALICE),
            "acquired_amount": 1000,
            "principal": 1000,
            "transfer_note": "for you",
            "committed_at": issued["ts"],
        }.items()
    )
    assert (
        second.items()
        >= {
            "transfer_number": 2,
            "previous_transfer_number": 1,
            "coordinator_type": "direct",
            "sender": str(ALICE),
            "recipient": str(BOB),
            "acquired_amount": -300,
            "principal": 700,
            "transfer_note": "Grüße ☃",
            "committed_at": paid["ts"],
        }.items()
    )
    assert (
        third.items()
        >= {
            "transfer_number": 1,
            "previous_transfer_number": 0,
            "sender": str(ALICE),
            "recipient": str(BOB),
            "acquired_amount": 300,
            "principal": 300,
            "transfer_note": "Grüße ☃",
            "committed_at": paid["ts"],
        }.items()
    )
    assert (fourth["transfer_number"], fourth["principal"]) == (2, 200)
    assert fourth["recipient"] == "0"


def test_a_prepared_transfer_tells_what_was_asked_and_how_long_it_stays(peers: Peers) -> None:
    peers.open_currency()
    peers.open_account(ALICE)
    request = peers.prepare(
        0, ALICE, 10, max_locked_amount=25, max_commit_delay=3600, min_locked_amount=5
    )
    prepared = peers.expect("PreparedTransfer", 0)

    assert prepared["locked_amount"] == 25
    assert prepared["recipient"] == str(ALICE)
    assert prepared["demurrage_rate"] == -50.0
    assert prepared["final_interest_rate_ts"] == request["final_interest_rate_ts"]
    assert prepared["ts"] == prepared["prepared_at"]
    deadline = datetime.fromisoformat(request["ts"]) + timedelta(seconds=3600)
    assert datetime.fromisoformat(prepared["deadline"]) == deadline


def test_a_repeated_request_is_answered_with_the_same_prepared_transfer(peers: Peers) -> None:
    peers.open_currency()
    peers.open_account(ALICE)
    first_request = peers.prepare(0, ALICE, 10)
    first = peers.expect("PreparedTransfer", 0)
    peers.prepare(0, ALICE, 10, coordinator_request_id=first_request["coordinator_request_id"])
    second = peers.expect("PreparedTransfer", 0)

    assert {**second, "ts": first["ts"]} == first
    peers.finalize(second, 10)
    peers.expect("FinalizedTransfer", 0, status_code="OK", total_locked_amount=0)
    peers.expect("AccountTransfer", ALICE, acquired_amount=10, principal=10)
    peers.finalize(first, 10)
    peers.pay(0, ALICE, 1)
    peers.expect("AccountTransfer", ALICE, acquired_amount=1, principal=11)
    peers.expect_nothing_more()


def test_a_payment_without_funds_is_rejected_and_a_dismissed_one_moves_nothing(
    peers: Peers,
) -> None:
    peers.open_currency()
    for creditor_id in (ALICE, BOB):
        peers.open_account(creditor_id)
    peers.pay(0, ALICE, 100)
    peers.expect("AccountTransfer", ALICE)

    peers.prepare(ALICE, BOB, 60)
    prepared = peers.expect("PreparedTransfer", ALICE)
    request = peers.prepare(ALICE, BOB, 41)
    rejected = peers.expect("RejectedTransfer", ALICE)
    peers.finalize(prepared, 0)
    peers.expect("FinalizedTransfer", ALICE, status_code="OK", committed_amount=0)
    peers.pay(ALICE, BOB, 41)
    peers.expect("AccountTransfer", ALICE, acquired_amount=-41, principal=59)
    peers.expect("AccountTransfer", BOB, acquired_amount=41, principal=41)
    peers.expect_nothing_more()

    assert rejected["status_code"] == "INSUFFICIENT_AVAILABLE_AMOUNT"
    assert rejected["total_locked_amount"] == 60
    assert rejected["coordinator_request_id"] == request["coordinator_request_id"]


def test_more_than_the_lock_can_be_committed_as_long_as_there_is_enough(peers: Peers) -> None:
    peers.open_currency()
    for creditor_id in (ALICE, BOB):
        peers.open_account(creditor_id)
    peers.pay(0, ALICE, 100)
    peers.expect("AccountTransfer", ALICE)

    for amount, status_code, committed in [
        (101, "INSUFFICIENT_AVAILABLE_AMOUNT", 0),
        (100, "OK", 100),
    ]:
        peers.prepare(ALICE, BOB, 0)
        peers.finalize(peers.expect("PreparedTransfer", ALICE, locked_amount=0), amount)
        peers.expect(
            "FinalizedTransfer", ALICE, status_code=status_code, committed_amount=committed
        )
    peers.expect("AccountTransfer", ALICE, principal=0)
    peers.expect("AccountTransfer", BOB, principal=100)
    peers.expect_nothing_more()


def test_an_agent_makes_transfers_between_its_creditors(peers: Peers) -> None:
    coordinator_id = creditor(0)
    peers.open_currency()
    peers.open_account(ALICE)
    peers.pay(0, ALICE, 100)
    peers.expect("AccountTransfer", ALICE)
    agent = {"coordinator_type": "agent", "coordinator_id": coordinator_id}

    peers.prepare(ALICE, CAROL, 100, **agent)
    prepared = peers.expect("PreparedTransfer", ALICE, **agent)
    peers.finalize(prepared, 100, transfer_note="a=b", transfer_note_format="x1")
    peers.expect("FinalizedTransfer", ALICE, **agent, status_code="OK")
    peers.expect("AccountTransfer", ALICE, coordinator_type="agent", principal=0)
    received = peers.expect("AccountTransfer", CAROL, coordinator_type="agent", principal=100)
    opened = peers.expect("AccountUpdate", CAROL)  # Nobody has opened it before.
    peers.expect_nothing_more()

    assert (received["transfer_note"], received["transfer_note_format"]) == ("a=b", "x1")
    assert opened["last_config_ts"] == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("sender", "recipient", "status_code"),
    [
        (ALICE, CAROL, "RECIPIENT_IS_UNREACHABLE"),
        (ALICE, f"0{BOB}", "RECIPIENT_IS_UNREACHABLE"),
        (ALICE, f"+{BOB}", "RECIPIENT_IS_UNREACHABLE"),
        (ALICE, "", "RECIPIENT_IS_UNREACHABLE"),
        (ALICE, 2**64, "RECIPIENT_IS_UNREACHABLE"),
        (ALICE, ALICE, "RECIPIENT_SAME_AS_SENDER"),
        (CAROL, BOB, "SENDER_IS_UNREACHABLE"),
    ],
)
def test_transfers_from_or_to_nobody_are_rejected(
    peers: Peers, sender: int, recipient: int | str, status_code: str
) -> None:
    for creditor_id in (ALICE, BOB):
        peers.open_account(creditor_id)
    peers.prepare(sender, recipient, 0)
    peers.expect("RejectedTransfer", sender, status_code=status_code, total_locked_amount=0)
    peers.expect_nothing_more()


@pytest.mark.parametrize(
    ("creditor_id", "config_data"),
    [(ALICE, "{}"), (0, "not JSON"), (0, '{"type": "RootConfigData", "rate": 101.0}')],
)
def test_a_configuration_that_is_not_valid_is_rejected_and_repeated_word_for_word(
    node: Node, peers: Peers, creditor_id: int, config_data: str
) -> None:
    request = peers.configure(
        creditor_id, config_data=config_data, negligible_amount=1.5, config_flags=7, seqnum=3
    )
    rejected = peers.expect("RejectedConfig", creditor_id)
    peers.expect_nothing_more()

    assert rejected["rejection_code"] == "INVALID_CONFIGURATION"
    assert rejected["config_ts"] == request["ts"]
    assert (
        rejected.items()
        >= {
            "config_seqnum": 3,
            "config_flags": 7,
            "config_data": config_data,
            "negligible_amount": 1.5,
        }.items()
    )
    path = f"/accounts/{unsigned(peers.debtor_id)}/{creditor_id}/config"
    assert node.get(path) == (404, "")


def test_an_account_scheduled_for_deletion_takes_no_transfers_any_more(
    node: Node, peers: Peers
) -> None:
    peers.open_currency()
    for creditor_id in (ALICE, BOB):
        peers.open_account(creditor_id)
    peers.pay(0, ALICE, 10)
    peers.expect("AccountTransfer", ALICE)

    peers.configure(BOB, config_flags=1, negligible_amount=1e30, ts=now(), seqnum=2)
    update = peers.expect("AccountUpdate", BOB, config_flags=1, negligible_amount=1e30)
    peers.prepare(ALICE, BOB, 10)
    peers.expect("RejectedTransfer", ALICE, status_code="RECIPIENT_IS_UNREACHABLE")
    peers.expect_nothing_more()

    assert update["last_change_seqnum"] == 2
    assert node.get(f"/accounts/{unsigned(peers.debtor_id)}/{BOB}/reachable") == (404, "")


def test_an_older_configuration_is_ignored(peers: Peers) -> None:
    newer = peers.configure(ALICE, negligible_amount=2.0, seqnum=2)
    peers.expect("AccountUpdate", ALICE)
    peers.configure(ALICE, negligible_amount=1.0, seqnum=1, ts=newer["ts"])
    peers.configure(ALICE, negligible_amount=3.0, seqnum=3, ts=newer["ts"])
    peers.expect("AccountUpdate", ALICE, negligible_amount=3.0, last_config_seqnum=3)
    peers.expect_nothing_more()


def test_messages_that_make_no_sense_become_dead_letters_and_disturb_nobody(
    node: Node, peers: Peers
) -> None:
    peers.open_currency()
    senseless = {
        b"{": "ConfigureAccount",
        b"\x00\xff": "PrepareTransfer",
        b"[" * 5000: "FinalizeTransfer",
        b'{"type": "ConfigureAccount"}': "NobodyKnows",
    }
    for body, message_type in senseless.items():
        peers.send_raw(body, message_type, ALICE)
    peers.open_account(ALICE)

    wire = Wire(node.broker_url)
    try:
        letters = eventually(
            "all dead letters",
            lambda: found if len(found := wire.dead_letters(node.queue)) >= 4 else None,
        )
    finally:
        wire.close()
    assert letters is not None
    assert {letter.body: letter.properties.type for letter in letters} == senseless
    for letter in letters:
        assert letter.properties.headers is not None
        assert letter.properties.headers["dead-letter-reason"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/accounts/1/2/reachable", 404),
        ("GET", "/accounts/1/0/reachable", 204),
        ("GET", "/accounts/1/2/config", 404),
        ("GET", "/accounts/01/2/config", 404),
        ("GET", f"/accounts/{2**64}/0/reachable", 404),
        ("POST", "/accounts/1/0/reachable", 405),
        ("HEAD", "/accounts/healthz", 200),
    ],
)
def test_questions_over_http(node: Node, method: str, path: str, status: int) -> None:
    assert node.get(path, method)[0] == status
