"""SIGKILL between any two steps: after a restart the books are those of an undisturbed run."""

import random
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from swpt_accounts.broker import topology
from swpt_accounts.wiring import utc_now
from tests.factories import DEBTOR_ID
from tests.workers import kill_points
from tests.workers.conftest import MakeIntake
from tests.workers.coordinator import Coordinator
from tests.workers.node import Node
from tests.workers.processes import Workers, workers
from tests.workers.traffic import (
    OPENING_PRINCIPAL,
    ROUTING_KEY,
    SENDERS,
    Traffic,
    audit,
    audit_chains,
    audit_rows,
    audit_sent,
    make_traffic,
    open_accounts,
    prepare_transfers,
)
from tests.workers.wire import Received, Wire


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with workers(tmp_path_factory.mktemp("workers") / "log") as processes:
        yield processes


@pytest.fixture
def node(
    postgres_url: str,
    broker_url: str,
    queue_name: str,
    shard: psycopg.Connection,
    wire: Wire,
    processes: Workers,
    make_intake: MakeIntake,
) -> Node:
    """A node of a shard in which there are accounts, and money."""
    topology.subscribe(broker_url, queue_name, ROUTING_KEY)
    open_accounts(shard, make_intake(routing_key=ROUTING_KEY, clock=utc_now))
    wire.collect_all()
    return Node(postgres_url, broker_url, queue_name, shard, wire, processes)


@pytest.fixture
def sibling_queue(node: Node) -> str:
    """Collects what goes to another shard."""
    return node.wire.collect("accounts_in", routing_key="1.#")


@pytest.fixture
def traffic(node: Node, sibling_queue: str, make_intake: MakeIntake) -> Traffic:
    """Traffic that waits in the queue of a shard where transfers have been prepared."""
    intake = make_intake(routing_key=ROUTING_KEY, clock=utc_now)
    traffic = make_traffic(prepare_transfers(node.session, intake))
    traffic.send(node.wire, node.queue)
    return traffic


def audit_node(node: Node, traffic: Traffic) -> None:
    audit(node.session, traffic, node.wire.catch_up(), node.wire.dead_letters(node.queue))


def test_undisturbed_traffic_ends_as_expected(node: Node, traffic: Traffic) -> None:
    node.consume()
    node.flush()
    audit_node(node, traffic)


@pytest.mark.parametrize("kill_point", kill_points.CONSUMER)
def test_a_killed_consumer_changes_nothing_in_the_end(
    node: Node, traffic: Traffic, kill_point: str
) -> None:
    node.run_until_killed("consume", kill_point, time=2)
    node.consume()
    node.flush()
    audit_node(node, traffic)


@pytest.mark.parametrize("kill_point", kill_points.FLUSHER)
def test_a_killed_flusher_changes_nothing_in_the_end(
    node: Node, traffic: Traffic, kill_point: str
) -> None:
    node.consume()
    node.run_until_killed("flush", kill_point, time=1)
    node.flush()
    audit_node(node, traffic)


def test_a_flusher_killed_after_it_has_set_messages_aside_changes_nothing_in_the_end(
    node: Node, traffic: Traffic, sibling_queue: str
) -> None:
    node.wire.channel.queue_unbind(sibling_queue, "accounts_in", "1.#")
    node.consume()
    node.run_until_killed("flush", kill_points.SET_ASIDE, time=1)
    assert node.session.execute("SELECT count(*) FROM undelivered_message").fetchone() != (0,)

    node.wire.channel.queue_bind(sibling_queue, "accounts_in", "1.#")
    node.flush()
    audit_node(node, traffic)


# -- at any moment ----------------------------------------------------------

PAYMENTS_COUNT = 1000
KILLS_COUNT = 24


@pytest.mark.parametrize("seed", [1])
def test_workers_killed_at_random_moments_lose_and_double_nothing(
    node: Node, sibling_queue: str, seed: int
) -> None:
    """Two consumers and two flushers, each started again as soon as it was killed."""
    chance = random.Random(seed)
    coordinator = Coordinator(node.queue, PAYMENTS_COUNT, chance)
    names = ["consume", "consume", "flush", "flush"]
    running = [node.start(name) for name in names]
    # How many messages will have come when somebody is killed.
    moments = sorted(chance.sample(range(3 * PAYMENTS_COUNT), k=KILLS_COUNT))

    def go_on(received: list[Received]) -> bool:
        coordinator.answer(node.wire, received)
        if moments and len(received) >= moments[0]:
            moments.pop(0)
            victim = chance.randrange(len(running))
            node.workers.kill(running[victim])
            running[victim] = node.start(names[victim])
        return coordinator.has_finished and not moments

    node.wire.receive("the end of all payments", go_on)
    for pid in running:
        node.workers.stop(pid)
    let_finish(node, coordinator)

    audit_payments(node, coordinator)


def let_finish(node: Node, coordinator: Coordinator) -> None:
    """Let repeated requests come to their ends, without any disturbance."""
    node.await_no_consumers()
    while True:
        node.consume()
        node.flush()
        coordinator.answer(node.wire, node.wire.catch_up())
        if coordinator.has_finished and not node.wire.ready_count(node.queue):
            return


def audit_payments(node: Node, coordinator: Coordinator) -> None:
    received = node.wire.received
    sent = [r for r in received if r.properties.type == "PendingBalanceChange"]
    rows = audit_rows(node.session, sent)
    assert not rows.transfers
    accounts = [a for a in rows.accounts.values() if a.debtor_id == DEBTOR_ID]
    expected = Counter(dict.fromkeys(SENDERS, OPENING_PRINCIPAL))
    expected.update(coordinator.flows())
    assert {a.creditor_id: a.principal for a in accounts} == expected
    # Each payment was made once, and each lock on top of that was dismissed.
    committed = Counter(dict.fromkeys(range(PAYMENTS_COUNT), 0))
    for (request_id, _), amount in coordinator.ended.items():
        committed[request_id] += amount
    assert committed == {n: coordinator.amount(n) for n in range(PAYMENTS_COUNT)}
    transfers = audit_chains(received)
    assert {note for _, note, _ in transfers} == {
        f"payment {n}" for n in range(PAYMENTS_COUNT) if coordinator.amount(n)
    }
    assert audit_sent(sent)
    assert not node.wire.dead_letters(node.queue)
