"""Two shards of one authority: one broker, two databases, and a proxy between them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from tests.cli.programs import Program
from tests.end_to_end.nodes import Node, empty_vhost, processes
from tests.end_to_end.payments import await_principals, make_payments
from tests.end_to_end.peers import Peers, a_new_debtor, creditor
from tests.end_to_end.proxy import proxy
from tests.end_to_end.shapes import sharding_bits
from tests.workers.databases import temporary_database
from tests.workers.waiting import eventually


@dataclass
class Authority:
    """Its shards, by the first bit of the accounts' hashes, and what runs them."""

    shards: dict[str, Node]
    programs: dict[str, Program]
    questions: list[str]

    @property
    def broker_url(self) -> str:
        return self.shards["0"].broker_url


@pytest.fixture(scope="module")
def authority(
    administrator: psycopg.Connection, postgres_server_url: str, vhost_urls: Iterator[str]
) -> Iterator[Authority]:
    with (
        temporary_database(administrator, postgres_server_url) as first_url,
        temporary_database(administrator, postgres_server_url) as second_url,
        empty_vhost(next(vhost_urls)) as broker_url,
    ):
        shards = {
            bit: Node(
                postgres_url,
                broker_url,
                {"PROTOCOL_BROKER_QUEUE_ROUTING_KEY": f"{bit}.#"},
            )
            for bit, postgres_url in (("0", first_url), ("1", second_url))
        }
        with proxy({bit: shard.port for bit, shard in shards.items()}) as (url, questions):
            for shard in shards.values():
                shard.variables["FETCH_API_URL"] = url
                shard.configure()
            with shards["0"].running() as first, shards["1"].running() as second:
                yield Authority(shards, {"0": first, "1": second}, questions)


def shard_of(debtor_id: int, creditor_id: int) -> str:
    return f"{sharding_bits(debtor_id, creditor_id):032b}"[0]


@dataclass
class Currency:
    """A debtor whose root account is in one shard, with creditors in both."""

    peers: Peers
    here: list[int]
    there: list[int]


@pytest.fixture(params=["0", "1"])
def currency(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Currency]:
    root_shard = request.param
    debtor_id = a_new_debtor()
    while shard_of(debtor_id, 0) != root_shard:
        debtor_id = a_new_debtor()
    peers = Peers(authority.broker_url, debtor_id)
    creditors = [creditor(number) for number in range(1, 30)]
    yield Currency(
        peers,
        [n for n in creditors if shard_of(debtor_id, n) == root_shard],
        [n for n in creditors if shard_of(debtor_id, n) != root_shard],
    )
    peers.close()


def test_a_new_account_gets_the_interest_rate_of_a_root_account_in_another_shard(
    currency: Currency,
) -> None:
    peers = currency.peers
    info = {"type": "DebtorInfo", "iri": "https://example.com"}
    peers.open_currency(rate=3.5, info=info)
    for creditor_id in (currency.here[0], currency.there[0]):
        update = peers.open_account(creditor_id)
        assert (update["interest_rate"], update["debtor_info_iri"]) == (3.5, info["iri"])
    peers.expect_nothing_more()


def test_money_arrives_exactly_once_in_another_shard(
    authority: Authority, currency: Currency
) -> None:
    peers = currency.peers
    alice, bob = currency.here[0], currency.there[0]
    peers.open_currency()
    for creditor_id in (alice, bob):
        peers.open_account(creditor_id)

    peers.pay(0, bob, 1000, note="issued")  # From shard to shard.
    peers.expect("AccountTransfer", bob, acquired_amount=1000, principal=1000, sender="0")
    peers.pay(bob, alice, 600, note="there")
    peers.expect("AccountTransfer", bob, acquired_amount=-600, principal=400)
    arrived = peers.expect("AccountTransfer", alice, acquired_amount=600, principal=600)
    peers.pay(alice, bob, 50, note="and back")
    peers.expect("AccountTransfer", alice, acquired_amount=-50, principal=550)
    peers.expect("AccountTransfer", bob, acquired_amount=50, principal=450)
    peers.expect_nothing_more()

    assert (arrived["transfer_note"], arrived["coordinator_type"]) == ("there", "direct")
    assert any(f"/{bob}/reachable" in path for path in authority.questions)
    assert any(f"/{alice}/reachable" in path for path in authority.questions)


def test_transfers_between_shards_are_rejected_where_the_recipient_cannot_be_reached(
    currency: Currency,
) -> None:
    peers = currency.peers
    alice, stranger = currency.here[0], currency.there[-1]
    peers.open_account(alice)
    peers.prepare(alice, stranger, 0)
    peers.expect("RejectedTransfer", alice, status_code="RECIPIENT_IS_UNREACHABLE")
    # "No" is not remembered: as soon as there is an account, it can be paid.
    peers.open_account(stranger)
    peers.prepare(alice, stranger, 0)
    peers.expect("PreparedTransfer", alice)
    peers.expect_nothing_more()


def test_many_payments_between_shards_add_up_although_workers_are_killed(
    authority: Authority, currency: Currency
) -> None:
    peers = currency.peers
    everybody = currency.here[:3] + currency.there[:3]
    peers.open_currency()
    for creditor_id in everybody:
        peers.open_account(creditor_id)
        peers.pay(0, creditor_id, 100_000)
        peers.expect("AccountTransfer", creditor_id)

    payments = [(everybody[n % 6], everybody[(n + 1 + n // 6 % 5) % 6], 1 + n) for n in range(120)]

    def kill_workers(shard: str) -> None:
        program = authority.programs[shard]
        for process in processes(program, "consume_messages") + processes(program, "flush_all"):
            process.kill()

    make_payments(peers, payments, {50: lambda: kill_workers("0"), 150: lambda: kill_workers("1")})

    expected = dict.fromkeys(everybody, 100_000)
    for sender, recipient, amount in payments:
        expected[sender] -= amount
        expected[recipient] += amount
    count = 2 * len(payments) + len(everybody)
    assert await_principals(peers, transfers_count=count) == expected
    for shard in authority.shards.values():
        eventually("nothing is left", partial(is_empty, peers, shard.queue))


def is_empty(peers: Peers, queue: str) -> bool:
    return peers.ready_count(queue) == 0
