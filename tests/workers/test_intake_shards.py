"""What belongs to other shards, or has to be asked of them."""

import json
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.values import AccountKey, account_id
from swpt_accounts.protocol.outgoing import FORWARDED_HEADER
from swpt_accounts.protocol.sharding import Realm, sharding_hash
from swpt_accounts.store.transaction import Database
from swpt_accounts.web.fetch_client import FetchClient
from swpt_accounts.workers import operator_orders, waiting_room
from tests.factories import (
    DEBTOR_ID,
    NOW,
    configure_account,
    configure_root_account,
    finalize_transfer,
    pending_balance_change,
    prepare_transfer,
    prepared_transfer,
)
from tests.workers.conftest import MakeIntake, a_fixed_clock
from tests.workers.deliveries import deliveries, delivery, tags
from tests.workers.running import NobodyAnswers
from tests.workers.sibling import sibling
from tests.workers.waiting import eventually

OURS = "0.#"
REALM = Realm.parse(OURS)

ROOT_CONFIG = json.dumps(
    {
        "type": "RootConfigData",
        "rate": 4.5,
        "info": {"type": "DebtorInfo", "iri": "https://example.com/x"},
    }
)

MakeClient = Callable[[str], FetchClient]


def creditors_of(realm_contains: bool, count: int) -> list[int]:
    """Ids of creditors whose accounts with the debtor are in our realm, or are not."""
    found = (n for n in range(1000, 10_000) if REALM.contains(DEBTOR_ID, n) == realm_contains)
    return [next(found) for _ in range(count)]


LOCAL = creditors_of(realm_contains=True, count=10)
FOREIGN = creditors_of(realm_contains=False, count=10)


def currency(*, is_local: bool) -> int:
    """The id of a debtor whose root account is in our realm, or is not."""
    return next(n for n in range(1, 1000) if REALM.contains(n, 0) == is_local)


def creditor_of(debtor_id: int) -> int:
    """The id of a creditor whose account with the debtor is in our realm."""
    return next(n for n in range(1000, 10_000) if REALM.contains(debtor_id, n))


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Call it with a URL, for a client that asks there."""
    clients: list[FetchClient] = []

    def make(url: str) -> FetchClient:
        clients.append(FetchClient(url, timeout_seconds=30.0, connections_max=10, cache_size=100))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def closed_port_url() -> Iterator[str]:
    """A URL where nobody listens, and nobody else will as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def database(postgres_url: str) -> Iterator[Database]:
    """A session of an operator's own."""
    own = Database(postgres_url, application_name="tests: operator")
    yield own
    own.close()


def accounts(shard: psycopg.Connection) -> dict[int, tuple[int, int]]:
    """By creditor: principal and number of prepared transfers."""
    rows = shard.execute("SELECT creditor_id, principal, pending_transfers_count FROM account")
    return {row[0]: row[1:] for row in rows}


def messages(shard: psycopg.Connection, message_type: str) -> list[dict[str, Any]]:
    rows = shard.execute(
        "SELECT body FROM outbox WHERE message_type = %s ORDER BY id", [message_type]
    )
    return [json.loads(row[0]) for row in rows]


def parked(shard: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Kind, message type, and creditor of the parked messages."""
    return shard.execute(
        "SELECT kind, message_type, creditor_id FROM parked_message ORDER BY id"
    ).fetchall()


def waiting(shard: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Reason, attempts, and the hash of the account waited for, of the waiting messages."""
    return shard.execute(
        "SELECT reason, attempts_count, awaited_hash FROM waiting_message ORDER BY body"
    ).fetchall()


def test_messages_of_another_realm_are_written_down_and_never_applied(
    make_intake: MakeIntake, shard: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    intake = make_intake(routing_key=OURS)
    stray = [
        configure_account(creditor_id=FOREIGN[0]),
        prepare_transfer(creditor_id=FOREIGN[0], recipient=account_id(LOCAL[0])),
        finalize_transfer(prepared_transfer(creditor_id=FOREIGN[0])),
        pending_balance_change(creditor_id=FOREIGN[0]),
    ]
    ours = [configure_account(creditor_id=creditor_id) for creditor_id in LOCAL]
    mixed = deliveries([ours[0], *stray[:2], *ours[1:], *stray[2:]])

    settled = intake.handle(mixed)
    again = intake.handle(mixed)

    assert settled.rejected == []
    assert tags(settled.accepted) == tags(again.accepted) == list(range(1, 15))
    assert sorted(accounts(shard)) == sorted(LOCAL)
    assert shard.execute("SELECT count(*) FROM registered_balance_change").fetchone() == (0,)
    assert parked(shard) == [("misrouted", type(command).__name__, FOREIGN[0]) for command in stray]
    [line] = [record.getMessage() for record in caplog.records]
    assert "messages of other shards than 0.# are in the queue" in line
    assert f"a ConfigureAccount for account ({DEBTOR_ID}, {FOREIGN[0]})" in line


def test_messages_of_another_realm_are_sent_on_once_with_a_mark(
    make_intake: MakeIntake, shard: psycopg.Connection
) -> None:
    stray = pending_balance_change(creditor_id=FOREIGN[0])
    make_intake(routing_key=OURS).handle(deliveries([stray]))

    make_intake(routing_key=OURS, takes_waiting=True).handle([])

    [body] = [json.dumps(m) for m in messages(shard, "PendingBalanceChange")]
    [(exchange, key, is_forwarded, origin)] = shard.execute(
        "SELECT exchange, routing_key, is_forwarded, origin_creditor_id FROM outbox"
    ).fetchall()
    assert json.loads(body) == json.loads(deliveries([stray])[0].body)
    assert (exchange, is_forwarded, origin) == ("accounts_in", True, FOREIGN[0])
    assert key.startswith("1.")
    assert parked(shard) == []


def test_one_that_comes_back_stops_all_sending_until_an_operator_has_seen_to_it(
    make_intake: MakeIntake,
    postgres_url: str,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    marked = encode_properties(
        "application/json", "ConfigureAccount", "x", {FORWARDED_HEADER: True}
    )
    stray = [configure_account(creditor_id=creditor_id) for creditor_id in FOREIGN[:3]]
    make_intake(routing_key=OURS).handle(
        [delivery(1, stray[0], encoded_properties=marked), *deliveries(stray[1:])]
    )
    assert "came back" in caplog.text

    intake = make_intake(routing_key=OURS, takes_waiting=True)
    intake.handle([])

    assert [kind for kind, _, _ in parked(shard)] == ["came_back", "misrouted", "misrouted"]
    assert messages(shard, "ConfigureAccount") == []

    [(number,)] = shard.execute("SELECT id FROM parked_message WHERE kind = 'came_back'").fetchall()
    with database(postgres_url) as own:
        assert operator_orders.send(own, REALM, [number, 0], a_fixed_clock) == {
            number: operator_orders.SENT_ON,
            0: operator_orders.MISSING,
        }

    def sent_count() -> int:
        intake.handle([])
        return len(messages(shard, "ConfigureAccount"))

    eventually("all are sent on", lambda: sent_count() == 3)
    assert parked(shard) == []


def test_what_an_operator_sends_is_applied_here_if_it_is_ours(
    make_intake: MakeIntake, postgres_url: str, shard: psycopg.Connection
) -> None:
    stray = [configure_account(creditor_id=creditor_id) for creditor_id in FOREIGN[:2]]
    make_intake(routing_key=OURS).handle(deliveries(stray))
    numbers = [row[0] for row in shard.execute("SELECT id FROM parked_message ORDER BY id")]

    with database(postgres_url) as own:
        outcomes = operator_orders.send(own, Realm.parse("#"), numbers[:1], a_fixed_clock)
        dropped = operator_orders.drop(own, numbers)

    assert outcomes == {numbers[0]: operator_orders.APPLIED_HERE}
    assert dropped == {numbers[0]: operator_orders.MISSING, numbers[1]: operator_orders.DROPPED}
    make_intake(routing_key="#", takes_waiting=True).handle([])
    assert sorted(accounts(shard)) == [FOREIGN[0]]
    assert waiting(shard) == parked(shard) == []


def test_transfers_wait_while_their_recipients_shard_gives_no_answer(
    make_intake: MakeIntake,
    make_client: MakeClient,
    closed_port_url: str,
    shard: psycopg.Connection,
) -> None:
    intake = make_intake(routing_key=OURS, answers=make_client(closed_port_url))
    sender, recipient = LOCAL[:2]
    intake.handle(deliveries(configure_account(creditor_id=n) for n in (sender, recipient)))
    shard.execute("DELETE FROM waiting_message")
    batch = deliveries(
        [
            prepare_transfer(creditor_id=sender, recipient=account_id(FOREIGN[0])),
            prepare_transfer(
                creditor_id=sender,
                coordinator_request_id=2,
                recipient=account_id(recipient),
            ),
            prepare_transfer(
                creditor_id=sender, coordinator_request_id=3, recipient=account_id(FOREIGN[1])
            ),
            prepare_transfer(creditor_id=sender, coordinator_request_id=4, recipient="0"),
            prepare_transfer(creditor_id=sender, coordinator_request_id=5, recipient="05"),
        ]
    )

    settled = intake.handle(batch)
    intake.handle([batch[0], batch[2]])  # Second copies join the first ones.

    assert tags(settled.accepted) == [1, 2, 3, 4, 5]
    assert settled.rejected == []
    prepared = [m["coordinator_request_id"] for m in messages(shard, "PreparedTransfer")]
    assert prepared == [2, 4]
    [rejected] = messages(shard, "RejectedTransfer")
    assert rejected["coordinator_request_id"] == 5
    assert rejected["status_code"] == "RECIPIENT_IS_UNREACHABLE"
    hashes = {sharding_hash(DEBTOR_ID, creditor_id) for creditor_id in FOREIGN[:2]}
    assert {row[2] for row in waiting(shard)} == hashes
    assert {row[:2] for row in waiting(shard)} == {
        ("the shard of the recipient gives no answer", 1)
    }


@pytest.mark.parametrize("redelivered", [True, False])
def test_a_second_copy_of_a_transfer_that_waits_is_not_applied(
    make_intake: MakeIntake, shard: psycopg.Connection, redelivered: bool
) -> None:
    """Else the request would have two results: the process that wrote the first one has died."""
    sender = LOCAL[0]
    request = prepare_transfer(creditor_id=sender, recipient=account_id(FOREIGN[0]))
    first = make_intake(routing_key=OURS)
    first.handle(deliveries([configure_account(creditor_id=sender)]))
    shard.execute("DELETE FROM waiting_message")
    first.handle(deliveries([request]))
    assert len(waiting(shard)) == 1
    other = prepare_transfer(creditor_id=sender, coordinator_request_id=77, recipient="0")

    intake = make_intake(routing_key=OURS, answers=EverybodyIsReachable(), takes_waiting=True)
    intake._waiting_room._next_look += 1000.0  # Another process is going to take it.
    settled = intake.handle(
        [delivery(1, request, redelivered=redelivered), delivery(2, other, redelivered=True)]
    )

    assert tags(settled.accepted) == [1, 2]
    assert [m["coordinator_request_id"] for m in messages(shard, "PreparedTransfer")] == [77]
    assert len(waiting(shard)) == 1


class EverybodyIsReachable(NobodyAnswers):
    def known(self, recipients: Collection[AccountKey], _debtors: Collection[int]) -> Facts:
        return Facts(reachable=dict.fromkeys(recipients, True))


def test_transfers_go_on_as_soon_as_their_recipients_shard_answers(
    make_intake: MakeIntake, make_client: MakeClient, shard: psycopg.Connection
) -> None:
    sender, open_, closed, silent = LOCAL[0], *FOREIGN[:3]
    answers = {
        f"/accounts/{DEBTOR_ID}/{open_}/reachable": (204, b""),
        f"/accounts/{DEBTOR_ID}/{closed}/reachable": (404, b""),
    }
    with sibling(answers) as (url, _asked):
        first = make_intake(routing_key=OURS, answers=make_client(url))
        first.handle(deliveries([configure_account(creditor_id=sender)]))
        first.handle(
            deliveries(
                prepare_transfer(
                    creditor_id=sender, coordinator_request_id=n, recipient=account_id(recipient)
                )
                for n, recipient in enumerate([open_, closed, silent])
            )
        )
        prepared = [m["recipient"] for m in messages(shard, "PreparedTransfer")]
        assert prepared == [account_id(open_)]
        answers[f"/accounts/{DEBTOR_ID}/{silent}/reachable"] = (204, b"")
        # Another process knows nothing of the silence.
        make_intake(routing_key=OURS, answers=make_client(url), takes_waiting=True).handle([])

    prepared = [m["recipient"] for m in messages(shard, "PreparedTransfer")]
    assert prepared == [account_id(open_), account_id(silent)]
    [rejected] = messages(shard, "RejectedTransfer")
    assert rejected["status_code"] == "RECIPIENT_IS_UNREACHABLE"
    assert [row for row in waiting(shard) if "recipient" in row[0]] == []


def test_one_that_is_tried_in_vain_again_pauses_longer_each_time(
    make_intake: MakeIntake,
    make_client: MakeClient,
    closed_port_url: str,
    shard: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [NOW]
    monkeypatch.setattr(waiting_room, "LOOK_SECONDS", 0.0)
    sender = LOCAL[0]
    make_intake(routing_key=OURS).handle(deliveries([configure_account(creditor_id=sender)]))
    shard.execute("DELETE FROM waiting_message")
    request = prepare_transfer(creditor_id=sender, recipient=account_id(FOREIGN[0]))
    intake = make_intake(
        routing_key=OURS,
        answers=make_client(closed_port_url),
        takes_waiting=True,
        clock=lambda: now[0],
    )
    pauses = []
    for attempt in range(1, 14):
        intake.handle(deliveries([request]) if attempt == 1 else [])
        [(attempts_count, next_attempt_at)] = shard.execute(
            "SELECT attempts_count, next_attempt_at FROM waiting_message"
        ).fetchall()
        assert attempts_count == attempt
        pauses.append((next_attempt_at - now[0]).total_seconds())
        now[0] = next_attempt_at

    assert pauses == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_an_account_is_opened_while_its_currency_is_silent_and_gets_its_rate_with_the_answer(
    make_intake: MakeIntake,
    make_client: MakeClient,
    closed_port_url: str,
    shard: psycopg.Connection,
) -> None:
    debtor_id = currency(is_local=False)
    creditor_id = creditor_of(debtor_id)
    opening = deliveries([configure_account(debtor_id=debtor_id, creditor_id=creditor_id)])

    settled = make_intake(routing_key=OURS, answers=make_client(closed_port_url)).handle(opening)

    assert tags(settled.accepted) == [1]
    [update] = messages(shard, "AccountUpdate")
    assert update["interest_rate"] == 0.0
    assert [row[0] for row in waiting(shard)] == [
        "the shard of the currency's root account gives no answer"
    ]

    with sibling({f"/accounts/{debtor_id}/0/config": (200, ROOT_CONFIG.encode())}) as (url, _):
        make_intake(routing_key=OURS, answers=make_client(url), takes_waiting=True).handle([])

    assert waiting(shard) == []
    _, update = messages(shard, "AccountUpdate")
    assert (update["interest_rate"], update["debtor_info_iri"]) == (4.5, "https://example.com/x")


def test_recipients_of_the_own_realm_are_not_asked_about(
    make_intake: MakeIntake, make_client: MakeClient, shard: psycopg.Connection
) -> None:
    debtor_id = currency(is_local=True)
    sender = creditor_of(debtor_id)
    with sibling({}) as (url, asked):
        intake = make_intake(routing_key=OURS, answers=make_client(url))
        intake.handle(
            deliveries(
                [
                    configure_root_account(debtor_id=debtor_id, config_data=ROOT_CONFIG),
                    configure_account(debtor_id=debtor_id, creditor_id=sender),
                ]
            )
        )
        intake.handle(
            deliveries([prepare_transfer(debtor_id=debtor_id, creditor_id=sender, recipient="0")])
        )

    assert asked == []
    assert [m["recipient"] for m in messages(shard, "PreparedTransfer")] == ["0"]
    updates = messages(shard, "AccountUpdate")
    assert {m["creditor_id"]: m["interest_rate"] for m in updates} == {0: 0.0, sender: 4.5}


@pytest.mark.parametrize(
    ("status", "config_data", "rate", "iri"),
    [
        (
            200,
            ROOT_CONFIG.encode(),
            4.5,
            "https://example.com/x",
        ),
        (200, b"", 0.0, ""),
        (200, b"not a document", 0.0, ""),
        (404, b"", 0.0, ""),
        (503, b"", 0.0, ""),
    ],
)
def test_a_new_account_gets_what_is_known_of_its_currency_in_another_shard(
    make_intake: MakeIntake,
    make_client: MakeClient,
    shard: psycopg.Connection,
    status: int,
    config_data: bytes,
    rate: float,
    iri: str,
) -> None:
    debtor_id = currency(is_local=False)
    creditor_id = creditor_of(debtor_id)
    with sibling({f"/accounts/{debtor_id}/0/config": (status, config_data)}) as (url, _):
        intake = make_intake(routing_key=OURS, answers=make_client(url))
        settled = intake.handle(
            deliveries([configure_account(debtor_id=debtor_id, creditor_id=creditor_id)])
        )

    assert tags(settled.accepted) == [1]
    [update] = messages(shard, "AccountUpdate")
    assert (update["interest_rate"], update["debtor_info_iri"]) == (rate, iri)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_account_that_waits_for_its_currency_goes_on_waiting_when_its_batch_is_halved(
    make_intake: MakeIntake,
    make_client: MakeClient,
    closed_port_url: str,
    shard: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    place: int,
) -> None:
    monkeypatch.setattr(waiting_room, "LOOK_SECONDS", 0.0)
    debtor_id = currency(is_local=False)
    ours = [n for n in range(1000, 10_000) if REALM.contains(debtor_id, n)][:2]
    intake = make_intake(routing_key=OURS, answers=make_client(closed_port_url), takes_waiting=True)
    batch = [configure_account(debtor_id=debtor_id, creditor_id=n) for n in ours]
    intake.handle(deliveries(batch))
    assert len(waiting(shard)) == 2

    refused = configure_account(debtor_id=debtor_id, creditor_id=LOCAL[0], negligible_amount=7.0)
    shard.execute("ALTER TABLE account ADD CONSTRAINT refused CHECK (negligible_amount <> 7)")
    again = [*batch, *batch]
    again.insert(place, refused)
    intake.handle(deliveries(again))

    assert len([row for row in waiting(shard) if row[1] == 2]) == 2


def test_money_for_another_realm_leaves_with_a_message_and_an_id_of_its_own(
    make_intake: MakeIntake, make_client: MakeClient, shard: psycopg.Connection
) -> None:
    sender = LOCAL[0]
    answers = {f"/accounts/{DEBTOR_ID}/{n}/reachable": (204, b"") for n in FOREIGN[:3]}
    with sibling(answers) as (url, _):
        intake = make_intake(routing_key=OURS, answers=make_client(url))
        intake.handle(deliveries([configure_account(creditor_id=sender)]))
        intake.handle(deliveries([pending_balance_change(creditor_id=sender)]))
        intake.handle(
            deliveries(
                prepare_transfer(
                    creditor_id=sender,
                    coordinator_request_id=n,
                    recipient=account_id(recipient),
                    max_locked_amount=100,
                )
                for n, recipient in enumerate(FOREIGN[:3])
            )
        )
        prepared = shard.execute(
            "SELECT transfer_id, coordinator_request_id, recipient_creditor_id"
            " FROM prepared_transfer ORDER BY 1"
        ).fetchall()
        intake.handle(
            deliveries(
                finalize_transfer(
                    prepared_transfer(
                        creditor_id=sender,
                        transfer_id=transfer_id,
                        coordinator_request_id=request_id,
                        locked_amount=100,
                    )
                )
                for transfer_id, request_id, _ in prepared
            )
        )

    assert accounts(shard) == {sender: (700, 0)}
    changes = messages(shard, "PendingBalanceChange")
    assert [change["creditor_id"] for change in changes] == FOREIGN[:3]
    assert all(change["principal_delta"] == 100 for change in changes)
    assert all(change["other_creditor_id"] == sender for change in changes)
    assert len({change["change_id"] for change in changes}) == 3
