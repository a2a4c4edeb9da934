"""SIGKILL in the middle of periodic work: nothing is paid twice, nothing is left undone."""

from collections.abc import Iterator

import psycopg
import pytest

from swpt_accounts.wiring import utc_now
from swpt_accounts.workers import consume
from tests.workers import kill_points
from tests.workers.conftest import MakeIntake
from tests.workers.processes import Workers, workers
from tests.workers.traffic import ROUTING_KEY
from tests.workers.upkeep_node import MALFORMED, UpkeepNode, audit, make_due
from tests.workers.wire import Wire

LATER_PAGES = {"scan claimed": 1, "scan begun": 1, "rows read": 3, "half of the chores sent": 3}
"""The first step of a scan is to look for waiting accounts. The others are pages of the walk."""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with workers(tmp_path_factory.mktemp("workers") / "log") as processes:
        yield processes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers that finish what others have begun notice at once when they are to stop."""
    monkeypatch.setattr(consume, "WAIT_SECONDS", 0.01)


@pytest.fixture
def node(
    postgres_url: str,
    broker_url: str,
    chores_queue: str,
    shard: psycopg.Connection,
    wire: Wire,
    processes: Workers,
    make_intake: MakeIntake,
) -> UpkeepNode:
    """A node on which something of every kind is due."""
    for exchange in ("accounts_in", "to_creditors", "to_debtors"):
        wire.channel.exchange_declare(exchange, "topic", durable=True)
    wire.channel.exchange_declare("to_coordinators", "headers", durable=True)
    make_due(shard, make_intake(routing_key=ROUTING_KEY, clock=utc_now))
    wire.collect_all()
    wire.collect("accounts_in")
    return UpkeepNode(postgres_url, broker_url, chores_queue, shard, wire, processes)


def test_undisturbed_upkeep_ends_as_expected(node: UpkeepNode) -> None:
    node.finish()
    audit(node, dead_letters=[])


@pytest.mark.parametrize("kill_point", kill_points.CHORES_CONSUMER)
def test_a_killed_consumer_of_chores_changes_nothing_in_the_end(
    node: UpkeepNode, kill_point: str
) -> None:
    for body in MALFORMED:
        node.wire.publish(body, "CapitalizeInterest", exchange="", routing_key=node.chores_queue)
    node.wire.flush()
    node.scan()

    time = 1 if kill_point == "dead letters published" else 2
    node.run_until_killed("consume_chores", kill_point, time)
    node.finish()

    audit(node, dead_letters=MALFORMED)


@pytest.mark.parametrize("kill_point", kill_points.SCAN)
def test_a_killed_scan_changes_nothing_in_the_end(node: UpkeepNode, kill_point: str) -> None:
    node.run_until_killed("scan_accounts", kill_point, LATER_PAGES.get(kill_point, 2))
    node.finish()
    audit(node, dead_letters=[])


@pytest.mark.parametrize("kill_point", ["rows read", "chores sent", "position saved"])
def test_a_killed_scan_of_transfers_changes_nothing_in_the_end(
    node: UpkeepNode, kill_point: str
) -> None:
    node.run_until_killed("scan_prepared_transfers", kill_point, 1)
    node.finish()
    audit(node, dead_letters=[])
