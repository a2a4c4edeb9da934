"""A node that is told to stop has nothing to complain about."""

from dataclasses import replace

from tests.end_to_end.nodes import Node
from tests.end_to_end.peers import Peers, creditor


def test_a_clean_stop_prints_no_warning(node: Node, peers: Peers) -> None:
    quiet = replace(node, variables={**node.variables, "APP_LOG_LEVEL": "warning"})
    with quiet.running() as program:
        peers.open_currency()
        peers.open_account(creditor(1))
        program.process.terminate()
        assert program.wait() == 0
    assert program.lines == []


def test_a_node_that_is_stopped_while_it_begins_prints_no_warning(node: Node) -> None:
    quiet = replace(node, variables={**node.variables, "APP_LOG_LEVEL": "warning"})
    with quiet.running() as program:
        program.process.terminate()
        assert program.wait() == 0
    assert program.lines == []
