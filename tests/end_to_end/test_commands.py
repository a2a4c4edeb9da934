"""Single commands of the entry point on real servers."""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.cli.programs import ENTRYPOINT, Program, descendants_of, run, wait_for_end
from tests.end_to_end.nodes import Node
from tests.end_to_end.peers import Peers, creditor
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

ACCOUNTS_COUNT = 3000


@pytest.fixture
def wire(node: Node) -> Iterator[Wire]:
    wire = Wire(node.broker_url)
    yield wire
    wire.close()


def test_consuming_and_flushing_as_single_commands(node: Node, peers: Peers) -> None:
    """What has not been applied when consuming is stopped, is still in the queue."""
    peers.is_hasty = True
    for number in range(ACCOUNTS_COUNT):
        peers.configure(creditor(number))
    peers.configure(creditor(ACCOUNTS_COUNT), config_data="not allowed")

    consume = [ENTRYPOINT, "consume_messages", "--processes", "3", "--prefetch-count", "10"]
    with Program(consume, node.environment) as program:
        program.wait_for_line("consuming messages", count=3)
        eventually("some are taken", lambda: peers.ready_count(node.queue) < ACCOUNTS_COUNT)
        workers = descendants_of(program.process.pid)
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 1
        wait_for_end(workers)
    eventually("the broker knows", lambda: peers.consumers_count(node.queue) == 0)
    left_count = peers.ready_count(node.queue)

    flush_the_rest = ["--quit-early", "--processes", "1"]
    assert run("flush_rejected_configs", *flush_the_rest, **node.environment).returncode == 1
    assert all(r.document["type"] == "RejectedConfig" for r in peers.hear_all())
    assert run("flush_all", *flush_the_rest, **node.environment).returncode == 1
    assert len(peers.hear_all()) == ACCOUNTS_COUNT + 1 - left_count

    with (
        Program([ENTRYPOINT, "consume_messages"], node.environment),
        Program([ENTRYPOINT, "flush_all"], node.environment),
    ):
        peers.hear_until("everything", lambda heard: len(heard) > ACCOUNTS_COUNT)
    types = Counter(r.document["type"] for r in peers.hear_all())
    assert types == {"AccountUpdate": ACCOUNTS_COUNT, "RejectedConfig": 1}
    eventually("the queue is empty", lambda: peers.ready_count(node.queue) == 0)


def test_subscribing_and_unsubscribing(node: Node, wire: Wire) -> None:
    queue = f"{node.queue}-other"
    options = ["--queue", queue, "--queue-routing-key", "1.0.#"]
    chores = ["--chores-queue", f"{queue}-chores"]
    environment = {**node.environment, "POSTGRES_URL": ""}
    for _ in range(2):
        assert run("subscribe", *options, **environment).returncode == 0
    for key in ("1.0.0", "1.0", "1.1.0", "0.1.0", "1"):
        wire.publish(key.encode(), None, exchange="accounts_in", routing_key=key)
    eventually("two have come", lambda: wire.ready_count(queue) == 2)
    for _ in range(2):
        assert run("unsubscribe", *options, *chores, **environment).returncode == 0
    wire.publish(b"late", None, exchange="accounts_in", routing_key="1.0.0")

    with Program([ENTRYPOINT, "delete_queue", "--queue", queue], environment) as program:
        program.wait_for_line("Waiting until the queue")
        wire.consume(queue)
        assert {r.body for r in wire.catch_up()} == {b"1.0.0", b"1.0"}
        wire.stop_consuming()
        assert program.wait() == 0
    assert run("delete_queue", "--queue", queue, **environment).returncode == 0


def test_old_balance_changes_are_forgotten_and_others_remembered(node: Node, peers: Peers) -> None:
    """What has been forgotten would be applied again, if it came again."""
    environment = {
        **node.environment,
        "REMOVE_FROM_ARCHIVE_THRESHOLD_DATE": "2002-01-01",
        "APP_REGISTERED_BALANCE_CHANGES_SCAN_DAYS": "0",
    }
    alice, bob, carol = creditor(1), creditor(2), creditor(3)
    years = {alice: 2001, bob: 2003}

    def send_changes() -> None:
        """Carol's is a new one each time, and told after the others, which came before."""
        for creditor_id, year in years.items():
            peers.change_balance(
                creditor_id,
                100,
                change_id=creditor_id,
                committed_at=f"{year}-01-01T00:00:00+00:00",
                other_creditor_id=creditor(4),
            )
        peers.change_balance(carol, 100, other_creditor_id=creditor(5))

    with (
        Program([ENTRYPOINT, "consume_messages"], node.environment),
        Program([ENTRYPOINT, "flush_all", "--processes", "1"], node.environment),
    ):
        for heard_count in (1, 2):
            send_changes()
            peers.await_documents("AccountTransfer", carol, heard_count)
        scan = run("scan_registered_balance_changes", "--quit-early", **environment)
        assert scan.returncode == 1
        assert "1 removed" in scan.stdout
        send_changes()
        peers.await_documents("AccountTransfer", carol, 3)
        for creditor_id, principal in ((alice, 200), (bob, 100)):
            configured = peers.configure(creditor_id)
            [update] = peers.await_documents(
                "AccountUpdate", creditor_id, last_config_ts=configured["ts"]
            )
            assert update["principal"] == principal
