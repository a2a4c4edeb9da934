"""A whole node, as docker/entrypoint.sh all runs it, is talked to as script/demo does."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from conversation.books import Books
from conversation.burst import Burst
from conversation.cast import Cast
from conversation.peer import Peer
from conversation.screen import Screen
from conversation.story import Story
from conversation.wire import account_routing_key, unsigned
from embedded import Urls
from steps.node import Node, running_node
from steps.progress import Progress


@pytest.fixture
def node(postgres_url: str, broker_url: str, tmp_path: Path) -> Iterator[Node]:
    urls = Urls(postgres_url, broker_url, logs=(), vhosts=())
    with running_node(tmp_path, urls, Progress(io.StringIO()), hasty=True) as node:
        yield node


def test_the_whole_conversation_goes_as_the_protocol_promises(node: Node) -> None:
    cast = Cast(extras_count=5)
    screen = Screen(cast.names)
    screen.console = Console(file=io.StringIO(), width=120)
    books = Books(node.postgres_url, cast)
    peer = Peer(node.broker_url, cast.debtor_id, on_sent=screen.sent, on_received=screen.received)
    try:
        peer.start()
        story = Story(peer, cast, screen, node.fetch_api_url)
        story.tell()
        assert node.is_hasty
        story.tell_of_time()
        peer.forget_messages()
        burst = Burst(peer, cast, story, say=lambda words: None)
        burst.run(transfers_count=100)
        books.check(screen, burst.balances)
    finally:
        peer.stop()


@pytest.mark.parametrize(
    ("debtor_id", "creditor_id", "routing_key"),
    [
        (123, 456, "0.0.0.0.1.0.0.0.0.1.0.0.0.1.0.0.0.0.1.1.0.1.0.0"),
        (-2, 0, "1.0.0.0.0.0.1.1.0.1.0.1.1.0.0.1.0.0.0.0.0.1.1.1"),
        (-(2**63), 2**63 - 1, "0.0.0.0.0.0.1.0.1.1.1.0.1.0.1.0.0.0.1.0.1.1.0.0"),
    ],
)
def test_the_peer_finds_the_way_to_an_account(
    debtor_id: int, creditor_id: int, routing_key: str
) -> None:
    assert account_routing_key(debtor_id, creditor_id) == routing_key


@pytest.mark.parametrize(("signed", "address"), [(0, 0), (7, 7), (-1, 2**64 - 1), (-2, 2**64 - 2)])
def test_addresses_are_unsigned(signed: int, address: int) -> None:
    assert unsigned(signed) == address
