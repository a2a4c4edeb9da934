"""One node for the tests of a module."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.end_to_end.nodes import Node, empty_vhost
from tests.end_to_end.peers import Peers, a_new_debtor
from tests.workers.databases import temporary_database


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """The settings of the node, beside its servers; modules may have their own."""
    return {"PROTOCOL_BROKER_PROCESSES": "2", "FLUSH_PROCESSES": "2"}


@pytest.fixture(scope="module")
def node(
    administrator: psycopg.Connection,
    postgres_server_url: str,
    vhost_urls: Iterator[str],
    variables: dict[str, str],
) -> Iterator[Node]:
    """A node that has been configured, but not started."""
    with (
        temporary_database(administrator, postgres_server_url) as postgres_url,
        empty_vhost(next(vhost_urls)) as broker_url,
    ):
        node = Node(postgres_url, broker_url, variables)
        node.configure()
        yield node


@pytest.fixture
def peers(node: Node) -> Iterator[Peers]:
    """The node's peers, with a debtor of their own."""
    peers = Peers(node.broker_url, a_new_debtor())
    yield peers
    peers.close()
