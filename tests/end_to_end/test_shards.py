"""Two shards of one authority: one broker, two databases, and a proxy between them."""

from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from tests.end_to_end.nodes import processes
from tests.end_to_end.payments import await_principals, make_payments
from tests.end_to_end.peers import Peers
from tests.end_to_end.shards import Authority, Currency, new_currency, running_authority
from tests.workers.waiting import eventually


@pytest.fixture(scope="module")
def authority(
    administrator: psycopg.Connection, postgres_server_url: str, vhost_urls: Iterator[str]
) -> Iterator[Authority]:
    with running_authority(
        administrator, postgres_server_url, next(vhost_urls), variables={}
    ) as authority:
        yield authority


@pytest.fixture(params=["0", "1"])
def currency(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Currency]:
    with new_currency(authority.broker_url, root_shard=request.param) as currency:
        yield currency


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
    assert any(f"/{bob}/reachable" in path for path in authority.proxy.asked)
    assert any(f"/{alice}/reachable" in path for path in authority.proxy.asked)


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
