"""A shard that is away: who pays there waits, for as long as it takes, and nobody else does."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

import psutil
import psycopg
import pytest

from swpt_accounts.store.connection import connect
from tests.end_to_end.nodes import processes
from tests.end_to_end.peers import Document
from tests.end_to_end.shards import Authority, Currency, new_currency, running_authority
from tests.workers.waiting import eventually
from tests.workers.wire import Received

HERE = "0"


@pytest.fixture(scope="module")
def authority(
    administrator: psycopg.Connection, postgres_server_url: str, vhost_urls: Iterator[str]
) -> Iterator[Authority]:
    with running_authority(
        administrator, postgres_server_url, next(vhost_urls), variables={}
    ) as authority:
        yield authority


@pytest.fixture
def currency(authority: Authority) -> Iterator[Currency]:
    with new_currency(authority.broker_url, root_shard=HERE) as currency:
        yield currency


@pytest.mark.parametrize(
    ("transfers_count", "away_seconds"),
    [
        (300, 2.0),
        pytest.param(
            100_000,
            600.0,
            marks=[pytest.mark.long(group="absent-shard"), pytest.mark.timeout(2400)],
        ),
    ],
)
def test_transfers_outlive_the_absence_of_their_recipients_shard(
    authority: Authority, currency: Currency, transfers_count: int, away_seconds: float
) -> None:
    peers = currency.peers
    alice, carol = currency.here[:2]
    recipients = currency.there[:5]
    peers.open_currency()
    for creditor_id in (alice, carol, *recipients):
        peers.open_account(creditor_id)
    peers.pay(0, alice, 10 * transfers_count)

    with connect(authority.shards[HERE].postgres_url, application_name="tests") as session:
        session.autocommit = True

        def count(table: str) -> int:
            [(rows_count,)] = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
            return int(rows_count)

        authority.proxy.is_out_of_order = True
        away_until = time.monotonic() + away_seconds
        peers.is_hasty = True
        asked = [
            peers.prepare(alice, recipients[n % len(recipients)], 1)["coordinator_request_id"]
            for n in range(transfers_count)
        ]
        peers.is_hasty = False
        eventually("all wait", lambda: count("waiting_message") == transfers_count, seconds=600)
        while time.monotonic() < away_until:
            peers.pay(alice, carol, 1)
            for process in processes(authority.programs[HERE], "consume_messages"):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            peers.pay(carol, alice, 1)
        assert count("waiting_message") == transfers_count

        authority.proxy.is_out_of_order = False
        eventually("nothing waits", lambda: count("waiting_message") == 0, seconds=600)
        eventually("all is sent", lambda: count("outbox") == 0, seconds=600)
        prepared = session.execute("SELECT coordinator_request_id FROM prepared_transfer")
        assert sorted(row[0] for row in prepared) == sorted(asked)

    answers = answers_by_request(peers.hear_until("all", lambda heard: all_of(heard, asked)))
    for request_id in asked:
        [transfer_id] = {answer.get("transfer_id") for answer in answers[request_id]}
        assert transfer_id is not None, answers[request_id]
    assert peers.dead_letters(authority.shards[HERE].queue) == []


def all_of(heard: list[Received], asked: list[int]) -> list[Received]:
    """Return what was heard, as soon as it can be all the answers."""
    return heard if len(heard) > len(asked) else []


def answers_by_request(heard: list[Received]) -> dict[int, list[Document]]:
    answers: defaultdict[int, list[Document]] = defaultdict(list)
    for received in heard:
        if received.document["type"] in ("PreparedTransfer", "RejectedTransfer"):
            answers[received.document["coordinator_request_id"]].append(received.document)
    return answers
