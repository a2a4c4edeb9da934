"""An authority of two shards: one broker, two databases, and a proxy between them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tests.cli.programs import Program
from tests.end_to_end.nodes import Node, empty_vhost
from tests.end_to_end.peers import Peers, a_new_debtor, creditor
from tests.end_to_end.proxy import Proxy, proxy
from tests.end_to_end.shapes import sharding_bits
from tests.workers.databases import temporary_database


@dataclass
class Authority:
    """Its shards, by the first bit of the accounts' hashes, and what runs them."""

    shards: dict[str, Node]
    programs: dict[str, Program]
    proxy: Proxy

    @property
    def broker_url(self) -> str:
        return self.shards["0"].broker_url


@contextmanager
def running_authority(
    administrator: psycopg.Connection,
    postgres_server_url: str,
    vhost_url: str,
    variables: Mapping[str, str],
) -> Iterator[Authority]:
    """Run both shards, with these settings."""
    with (
        temporary_database(administrator, postgres_server_url) as first_url,
        temporary_database(administrator, postgres_server_url) as second_url,
        empty_vhost(vhost_url) as broker_url,
    ):
        shards = {
            bit: Node(
                postgres_url,
                broker_url,
                {**variables, "PROTOCOL_BROKER_QUEUE_ROUTING_KEY": f"{bit}.#"},
            )
            for bit, postgres_url in (("0", first_url), ("1", second_url))
        }
        with proxy({bit: shard.port for bit, shard in shards.items()}) as between:
            for shard in shards.values():
                shard.variables["FETCH_API_URL"] = between.url
                shard.configure()
            with shards["0"].running() as first, shards["1"].running() as second:
                yield Authority(shards, {"0": first, "1": second}, between)


def shard_of(debtor_id: int, creditor_id: int) -> str:
    return f"{sharding_bits(debtor_id, creditor_id):032b}"[0]


@dataclass
class Currency:
    """A debtor whose root account is in one shard, with creditors in both."""

    peers: Peers
    here: list[int]
    there: list[int]


@contextmanager
def new_currency(broker_url: str, root_shard: str) -> Iterator[Currency]:
    """Give a currency of which nothing is set up yet."""
    debtor_id = a_new_debtor()
    while shard_of(debtor_id, 0) != root_shard:
        debtor_id = a_new_debtor()
    peers = Peers(broker_url, debtor_id)
    creditors = [creditor(number) for number in range(1, 30)]
    yield Currency(
        peers,
        [n for n in creditors if shard_of(debtor_id, n) == root_shard],
        [n for n in creditors if shard_of(debtor_id, n) != root_shard],
    )
    peers.close()
