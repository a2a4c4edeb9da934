"""Whatever part of a node is killed, it comes back, and traffic goes on."""

import signal
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.cli.programs import Program, descendants_of, wait_for_end
from tests.end_to_end.nodes import Node, log_lines, processes, programs, workers
from tests.end_to_end.payments import await_principals, make_payments
from tests.end_to_end.peers import Peers, a_new_debtor, creditor
from tests.workers.waiting import eventually

ALICE, BOB = creditor(1), creditor(2)


@pytest.fixture(scope="module")
def program(node: Node) -> Iterator[Program]:
    with node.running() as program:
        yield program


VICTIMS: dict[str, Callable[[Program], list[psutil.Process]]] = {
    "a consumer": lambda program: workers(program, "consume_messages")[:1],
    "all consumers": lambda program: processes(program, "consume_messages"),
    "what started the consumers": lambda program: programs(program, "consume_messages"),
    "a flusher": lambda program: workers(program, "flush_all")[:1],
    "what started the flushers": lambda program: programs(program, "flush_all"),
    "a web worker": lambda program: workers(program, "gunicorn")[:1],
    "the web server": lambda program: programs(program, "gunicorn"),
    "who does chores": lambda program: programs(program, "consume_chore_messages"),
    "who scans accounts": lambda program: programs(program, "scan_accounts"),
}


def is_complete(node: Node, program: Program) -> bool:
    """Tell whether all programs are there again, with all of their workers."""
    return (
        len(workers(program, "consume_messages")) == 2
        and len(workers(program, "flush_all")) == 2
        and len(workers(program, "gunicorn")) == 1
        and len(programs(program, "consume_chore_messages")) == 1
        and len(programs(program, "scan_")) == 3
        and node.is_healthy()
    )


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_is_killed_is_started_again_and_traffic_goes_on(
    node: Node, program: Program, peers: Peers, victim: str
) -> None:
    eventually("the node is complete", lambda: is_complete(node, program))
    peers.open_currency()
    peers.open_account(ALICE)
    victims = VICTIMS[victim](program)
    assert victims
    orphans = [child.pid for process in victims for child in process.children()]
    for process in victims:
        process.kill()

    peers.pay(0, ALICE, 100)
    peers.expect("AccountTransfer", ALICE, principal=100)
    eventually("the node is complete", lambda: is_complete(node, program))
    wait_for_end(orphans)
    assert node.get(f"/accounts/{peers.debtor_id}/{ALICE}/reachable")[0] == 204


PAYMENTS_COUNT = 300


def test_kills_under_load_lose_and_double_nothing(
    node: Node, program: Program, peers: Peers
) -> None:
    """One process after the other is killed, while payments are being made."""
    peers.open_currency()
    for creditor_id in (ALICE, BOB):
        peers.open_account(creditor_id)
    peers.pay(0, ALICE, PAYMENTS_COUNT)
    peers.expect("AccountTransfer", ALICE)
    eventually("the node is complete", lambda: is_complete(node, program))

    def kill(victim: str) -> None:
        for process in VICTIMS[victim](program):
            process.kill()

    make_payments(
        peers,
        [(ALICE, BOB, 1)] * PAYMENTS_COUNT,
        {
            60: lambda: kill("a consumer"),
            150: lambda: kill("a flusher"),
            300: lambda: kill("what started the consumers"),
            450: lambda: kill("what started the flushers"),
        },
    )

    principals = await_principals(peers, transfers_count=2 * PAYMENTS_COUNT + 1)
    assert principals == {ALICE: 0, BOB: PAYMENTS_COUNT}


def test_a_node_that_is_told_to_stop_under_load_ends_in_order_and_goes_on_later(
    node: Node, program: Program
) -> None:
    """The last test of this file: the node of the others is stopped."""
    peers = Peers(node.broker_url, a_new_debtor())
    try:
        peers.is_hasty = True
        for number in range(5000):
            peers.configure(creditor(number))
        peers.expect("AccountUpdate", creditor(0))
        running = descendants_of(program.process.pid)
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 0
        wait_for_end(running)
        assert all(line["levelname"] for line in log_lines(program))

        with node.running():
            peers.hear_until(
                "an update for each account",
                lambda heard: (
                    {r.document["creditor_id"] for r in heard}
                    >= {creditor(number) for number in range(5000)}
                ),
            )
            eventually("the queue is empty", lambda: peers.ready_count(node.queue) == 0)
    finally:
        peers.close()
