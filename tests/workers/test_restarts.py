"""Servers that are killed under load, and started again: workers go on by themselves."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from embedded import EmbeddedPostgres, EmbeddedRabbitMQ, ServerFailed
from swpt_accounts.broker import topology
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.connection import connect
from swpt_accounts.store.schema import upgrade
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import utc_now
from swpt_accounts.workers.ledger_batch import LedgerBatch
from tests.workers.node import Node
from tests.workers.running import make_consumption, make_flusher, make_message_intake, running
from tests.workers.traffic import (
    CHANGES_COUNT,
    ROUTING_KEY,
    SENDERS,
    Traffic,
    audit,
    make_traffic,
    open_accounts,
    prepare_transfers,
)
from tests.workers.waiting import eventually
from tests.workers.wire import OUTGOING_EXCHANGES, Wire

Server = EmbeddedPostgres | EmbeddedRabbitMQ
QUEUE = "shard"
ANNOUNCED = "announced"

WRITE_WHAT_QUEUES_THERE_ARE = "[ok = dets:sync(Table) || Table <- dets:all()]."
"""RabbitMQ does so after three minutes. A quorum queue younger than that never
works again when the broker is killed."""


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[EmbeddedPostgres, EmbeddedRabbitMQ]]:
    """Servers that are nobody else's, so that they can be killed."""
    folder: Path = tmp_path_factory.mktemp("servers")
    postgres = EmbeddedPostgres(folder / "postgres")
    rabbitmq = EmbeddedRabbitMQ(folder / "rabbitmq", vhosts=["0", "1", "2"])
    with ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(server.start) for server in (postgres, rabbitmq)]
    try:
        for start in starts:
            start.result()
        yield postgres, rabbitmq
    except ServerFailed as failure:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(failure))
    finally:
        for server in (postgres, rabbitmq):
            server.kill()


def restart_postgres(postgres: EmbeddedPostgres, _rabbitmq: EmbeddedRabbitMQ) -> None:
    postgres.stop()
    postgres.start()


def kill_postgres(postgres: EmbeddedPostgres, _rabbitmq: EmbeddedRabbitMQ) -> None:
    postgres.kill()
    postgres.start()


def kill_rabbitmq(_postgres: EmbeddedPostgres, rabbitmq: EmbeddedRabbitMQ) -> None:
    rabbitmq.control("eval", WRITE_WHAT_QUEUES_THERE_ARE)
    rabbitmq.kill()
    rabbitmq.start()


DISASTERS = [restart_postgres, kill_postgres, kill_rabbitmq]


@pytest.mark.parametrize("disaster", DISASTERS)
def test_workers_go_on_when_a_server_comes_back_and_nothing_is_lost_or_doubled(
    servers: tuple[EmbeddedPostgres, EmbeddedRabbitMQ],
    disaster: Callable[[EmbeddedPostgres, EmbeddedRabbitMQ], None],
) -> None:
    postgres, rabbitmq = servers
    number = DISASTERS.index(disaster)
    postgres_url = new_shard(postgres, f"shard_{number}")
    broker_url = f"{rabbitmq.url}/{number}"
    traffic = new_traffic(postgres_url, broker_url)

    def changes_count() -> int:
        return count(postgres_url, "registered_balance_change")

    consumption = make_consumption(
        postgres_url, broker_url, QUEUE, routing_key=ROUTING_KEY, batch_size_max=2
    )
    with running(consumption, make_flusher(postgres_url, broker_url)):
        eventually("some are applied", lambda: changes_count() > len(SENDERS) + 1)
        assert changes_count() < CHANGES_COUNT + len(SENDERS)
        disaster(postgres, rabbitmq)
        eventually("all are applied", lambda: changes_count() == CHANGES_COUNT + len(SENDERS))

    wire = Wire(broker_url)
    try:
        with connect(postgres_url, application_name="tests", autocommit=True) as session:
            node = Node(postgres_url, broker_url, QUEUE, session, wire)
            node.consume()
            node.flush()
            wire.consume(ANNOUNCED)
            audit(session, traffic, wire.catch_up(), wire.dead_letters(QUEUE))
    finally:
        wire.close()


def new_shard(postgres: EmbeddedPostgres, name: str) -> str:
    """Make a database with all tables; return its URL."""
    with connect(postgres.url, application_name="tests", autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    url = make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
    upgrade(url)
    return url


def new_traffic(postgres_url: str, broker_url: str) -> Traffic:
    """Put traffic into the shard's queue, and make a queue for all that it will announce."""
    topology.subscribe(broker_url, QUEUE, ROUTING_KEY)
    database = Database(postgres_url, application_name="tests")
    ledger_batch = LedgerBatch(database, Realm.parse(ROUTING_KEY), Policy(), utc_now)
    intake = make_message_intake(ledger_batch)
    with connect(postgres_url, application_name="tests", autocommit=True) as session:
        open_accounts(session, intake)
        traffic = make_traffic(prepare_transfers(session, intake))
    database.close()
    wire = Wire(broker_url)
    wire.channel.confirm_delivery()
    wire.channel.queue_declare(ANNOUNCED, durable=True)
    wire.channel.queue_bind(ANNOUNCED, "accounts_in", "1.#")
    for exchange in OUTGOING_EXCHANGES:
        wire.channel.queue_bind(ANNOUNCED, exchange, "#")
    traffic.send(wire, QUEUE)
    wire.close()
    return traffic


def count(postgres_url: str, table: str) -> int:
    with connect(postgres_url, application_name="tests") as session:
        row = session.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])
