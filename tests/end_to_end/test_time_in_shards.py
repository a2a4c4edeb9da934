"""What time brings about when an account and its currency's root account are in two shards."""

import json
from collections.abc import Iterator

import psycopg
import pytest

from tests.end_to_end.growth import whole_balance_at
from tests.end_to_end.nodes import processes
from tests.end_to_end.shards import Authority, Currency, new_currency, running_authority
from tests.workers.wire import Received

LARGE = 10**15
RATE = 10.0
INFO = {"type": "DebtorInfo", "iri": "https://example.com/info"}


@pytest.fixture(scope="module")
def authority(
    administrator: psycopg.Connection, postgres_server_url: str, vhost_urls: Iterator[str]
) -> Iterator[Authority]:
    variables = {
        "APP_ACCOUNTS_SCAN_HOURS": "0.0001",
        "APP_MIN_INTEREST_CAPITALIZATION_DAYS": "0",
        "APP_DELETION_ATTEMPTS_MIN_DAYS": "0",
    }
    with running_authority(
        administrator, postgres_server_url, next(vhost_urls), variables
    ) as authority:
        yield authority


@pytest.fixture(params=["0", "1"])
def currency(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Currency]:
    with new_currency(authority.broker_url, root_shard=request.param) as currency:
        yield currency


def test_the_root_account_of_another_shard_pays_the_interest(currency: Currency) -> None:
    peers, bob = currency.peers, currency.there[0]
    peers.open_currency(rate=RATE)
    assert peers.open_account(bob)["interest_rate"] == RATE
    peers.pay(0, bob, LARGE)
    issued = peers.expect("AccountTransfer", bob, acquired_amount=LARGE)

    # The money bears interest from the moment at which it left the other shard.
    for number in (2, 3, 4):
        [payment] = peers.await_documents("AccountTransfer", bob, transfer_number=number)
        assert (payment["coordinator_type"], payment["sender"]) == ("interest", "0")
        grown = whole_balance_at(LARGE, RATE, issued["committed_at"], payment["committed_at"])
        assert payment["principal"] == grown
    # It may be announced after several payments, but it owes what the account has been paid.

    def is_owed(_heard: list[Received]) -> bool:
        paid = {t["principal"] for t in peers.documents("AccountTransfer", bob)} - {LARGE}
        return any(-u["principal"] in paid for u in peers.documents("AccountUpdate", 0))

    peers.hear_until("that the root account owes the interest", is_owed)


def test_what_remains_is_written_off_against_the_root_account_of_another_shard(
    currency: Currency,
) -> None:
    peers, bob = currency.peers, currency.there[0]
    peers.open_currency()
    peers.open_account(bob)
    peers.pay(0, bob, 900)
    peers.expect("AccountTransfer", bob, acquired_amount=900)
    peers.await_documents("AccountUpdate", 0, principal=-900)
    peers.configure(bob, negligible_amount=1000.0, config_flags=1, seqnum=2)
    peers.expect("AccountTransfer", bob, coordinator_type="delete", acquired_amount=-900)
    peers.await_documents("AccountUpdate", bob, principal=0, last_transfer_number=2)
    peers.hear_until(
        "that the root account owes nothing any more",
        lambda _heard: peers.documents("AccountUpdate", 0)[-1]["principal"] == 0,
    )


def test_an_account_follows_its_currency_although_the_other_shard_was_away_at_first(
    authority: Authority, currency: Currency
) -> None:
    peers, bob = currency.peers, currency.there[0]
    authority.proxy.is_out_of_order = True
    try:
        document = {"type": "RootConfigData", "rate": RATE, "info": INFO}
        peers.configure(0, config_data=json.dumps(document))
        peers.expect("AccountUpdate", 0)
        opened = peers.open_account(bob)
        assert (opened["interest_rate"], opened["debtor_info_iri"]) == (0.0, "")
    finally:
        authority.proxy.is_out_of_order = False
    # A scan that has asked in vain would not ask again for a minute.
    for program in authority.programs.values():
        for process in processes(program, "scan_accounts"):
            process.kill()
    peers.await_documents("AccountUpdate", bob, interest_rate=RATE, debtor_info_iri=INFO["iri"])
