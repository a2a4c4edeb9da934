"""What belongs to other shards, or has to be asked of them."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from swpt_accounts.ledger.values import account_id
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.web.fetch_client import FetchClient
from tests.factories import (
    DEBTOR_ID,
    configure_account,
    configure_root_account,
    finalize_transfer,
    pending_balance_change,
    prepare_transfer,
    prepared_transfer,
)
from tests.workers.conftest import MakeIntake
from tests.workers.deliveries import deliveries, tags
from tests.workers.sibling import sibling

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


def accounts(shard: psycopg.Connection) -> dict[int, tuple[int, int]]:
    """By creditor: principal and number of prepared transfers."""
    rows = shard.execute("SELECT creditor_id, principal, pending_transfers_count FROM account")
    return {row[0]: row[1:] for row in rows}


def messages(shard: psycopg.Connection, message_type: str) -> list[dict[str, Any]]:
    rows = shard.execute(
        "SELECT body FROM outbox WHERE message_type = %s ORDER BY id", [message_type]
    )
    return [json.loads(row[0]) for row in rows]


def test_messages_of_another_realm_are_postponed_and_never_applied(
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

    assert tags(settled.postponed) == [2, 3, 13, 14]
    assert settled.rejected == []
    assert tags(settled.accepted) == [1, *range(4, 13)]
    assert sorted(accounts(shard)) == sorted(LOCAL)
    assert shard.execute("SELECT count(*) FROM registered_balance_change").fetchone() == (0,)
    [line] = [record.getMessage() for record in caplog.records]
    assert "4 messages in the queue belong to other shards than 0.#" in line
    assert f"a ConfigureAccount for account ({DEBTOR_ID}, {FOREIGN[0]})" in line


def test_transfers_wait_while_their_recipients_shard_gives_no_answer(
    make_intake: MakeIntake,
    make_client: MakeClient,
    closed_port_url: str,
    shard: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make_client(closed_port_url)
    intake = make_intake(routing_key=OURS, gather_facts=client.gather)
    sender, recipient = LOCAL[:2]
    intake.handle(deliveries(configure_account(creditor_id=n) for n in (sender, recipient)))
    caplog.clear()

    settled = intake.handle(
        deliveries(
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
    )

    assert tags(settled.postponed) == [1, 3]
    assert tags(settled.accepted) == [2, 4, 5]
    assert settled.rejected == []
    prepared = [m["coordinator_request_id"] for m in messages(shard, "PreparedTransfer")]
    assert prepared == [2, 4]
    [rejected] = messages(shard, "RejectedTransfer")
    assert rejected["coordinator_request_id"] == 5
    assert rejected["status_code"] == "RECIPIENT_IS_UNREACHABLE"
    assert "2 transfers wait" in caplog.text


def test_transfers_go_on_as_soon_as_their_recipients_shard_answers(
    make_intake: MakeIntake, make_client: MakeClient, shard: psycopg.Connection
) -> None:
    sender, open_, closed, silent = LOCAL[0], *FOREIGN[:3]
    answers = {
        f"/accounts/{DEBTOR_ID}/{open_}/reachable": (204, b""),
        f"/accounts/{DEBTOR_ID}/{closed}/reachable": (404, b""),
    }
    with sibling(answers) as (url, asked):
        client = make_client(url)
        intake = make_intake(routing_key=OURS, gather_facts=client.gather)
        intake.handle(deliveries([configure_account(creditor_id=sender)]))
        batch = deliveries(
            prepare_transfer(
                creditor_id=sender, coordinator_request_id=n, recipient=account_id(recipient)
            )
            for n, recipient in enumerate([open_, closed, silent])
        )
        first = intake.handle(batch)
        answers[f"/accounts/{DEBTOR_ID}/{silent}/reachable"] = (204, b"")
        while client.is_silent(client.groups.of(DEBTOR_ID, silent)):
            time.sleep(0.02)
        second = intake.handle(first.postponed)

    assert tags(first.accepted) == [1, 2]
    assert tags(first.postponed) == [3]
    assert second.accepted == [batch[2]]
    assert second.postponed == []
    prepared = [m["recipient"] for m in messages(shard, "PreparedTransfer")]
    assert prepared == [account_id(open_), account_id(silent)]
    [rejected] = messages(shard, "RejectedTransfer")
    assert rejected["status_code"] == "RECIPIENT_IS_UNREACHABLE"
    assert len({path for path in asked if "reachable" in path}) == 3


def test_recipients_of_the_own_realm_are_not_asked_about(
    make_intake: MakeIntake, make_client: MakeClient, shard: psycopg.Connection
) -> None:
    debtor_id = currency(is_local=True)
    sender = creditor_of(debtor_id)
    with sibling({}) as (url, asked):
        intake = make_intake(routing_key=OURS, gather_facts=make_client(url).gather)
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
        intake = make_intake(routing_key=OURS, gather_facts=make_client(url).gather)
        settled = intake.handle(
            deliveries([configure_account(debtor_id=debtor_id, creditor_id=creditor_id)])
        )

    assert tags(settled.accepted) == [1]
    [update] = messages(shard, "AccountUpdate")
    assert (update["interest_rate"], update["debtor_info_iri"]) == (rate, iri)


def test_money_for_another_realm_leaves_with_a_message_and_an_id_of_its_own(
    make_intake: MakeIntake, make_client: MakeClient, shard: psycopg.Connection
) -> None:
    sender = LOCAL[0]
    answers = {f"/accounts/{DEBTOR_ID}/{n}/reachable": (204, b"") for n in FOREIGN[:3]}
    with sibling(answers) as (url, _):
        intake = make_intake(routing_key=OURS, gather_facts=make_client(url).gather)
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
