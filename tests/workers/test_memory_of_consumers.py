"""However long messages are, the consumer's memory does not grow with them."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pika
import psycopg
import pytest

from swpt_accounts.broker import dead_letters
from swpt_accounts.broker.limits import BEGINNING_BYTES, PROPERTIES_BYTES_MAX
from swpt_accounts.protocol.decoding import BODY_BYTES_MAX
from tests.cli.programs import BIN, Program
from tests.factories import pending_balance_change
from tests.workers.waiting import eventually
from tests.workers.wire import Received, Wire

MEMORY_MAX = 150_000_000
GOOD_COUNT = 50


@dataclass(frozen=True)
class Hostile:
    """So many messages with a body of this size, and headers of that size."""

    count: int
    body_size: int
    headers_size: int = 0

    @property
    def body(self) -> bytes:
        return b"x" * self.body_size

    def publish(self, wire: Wire, queue: str) -> None:
        headers = {f"h{at}": "x" * 900 for at in range(0, self.headers_size, 1000)}
        properties = pika.BasicProperties(
            type="PendingBalanceChange", content_type="application/json", headers=headers
        )
        body = self.body
        for _ in range(self.count):
            wire.channel.basic_publish("", queue, body, properties)
        wire.flush()


LONG = [pytest.mark.long(group="memory"), pytest.mark.timeout(600)]

HOSTILE = [
    Hostile(12, 16_000_000),
    Hostile(150, 1_000_000),
    Hostile(1500, 10, 100_000),
    Hostile(3000, BODY_BYTES_MAX, 4000),
    pytest.param(Hostile(150, 16_000_000), marks=LONG),
    pytest.param(Hostile(1000, 1_000_000), marks=LONG),
]
SECONDS_FOR_ALL = 300.0
"""The long ones are some gigabytes, which the broker has to read from disk first."""


def memory_high_water_mark(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def consuming(postgres_url: str, broker_url: str, queue: str) -> Iterator[int]:
    """Run `swpt_accounts consume_messages`; give its process id."""
    env = {
        "POSTGRES_URL": postgres_url,
        "PROTOCOL_BROKER_URL": broker_url,
        "PROTOCOL_BROKER_QUEUE": queue,
    }
    with Program([BIN / "swpt_accounts", "consume_messages"], env) as program:
        yield program.process.pid
        program.process.send_signal(signal.SIGTERM)
        program.wait()


def applied_count(shard: psycopg.Connection) -> int:
    row = shard.execute("SELECT count(*) FROM registered_balance_change").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("hostile", HOSTILE, ids=str)
def test_good_messages_come_through_behind_hostile_ones(
    postgres_url: str,
    broker_url: str,
    queue: str,
    wire: Wire,
    shard: psycopg.Connection,
    hostile: Hostile,
) -> None:
    hostile.publish(wire, queue)
    wire.send(*[pending_balance_change(change_id=number) for number in range(GOOD_COUNT)])

    with consuming(postgres_url, broker_url, queue) as pid:
        eventually(
            "the good ones are applied",
            lambda: applied_count(shard) == GOOD_COUNT,
            seconds=SECONDS_FOR_ALL,
        )
        eventually("the queue is empty", lambda: wire.ready_count(queue) == 0)
        memory = memory_high_water_mark(pid)

    assert memory < MEMORY_MAX
    letters = wire.dead_letters(queue)
    assert len(letters) == hostile.count
    assert_is_told(hostile, letters[-1])


def assert_is_told(hostile: Hostile, letter: Received) -> None:
    """What was cut is in the headers, and what was not is there."""
    headers = letter.properties.headers or {}
    assert hostile.body.startswith(letter.body)
    if hostile.body_size > BODY_BYTES_MAX:
        assert len(letter.body) == BEGINNING_BYTES
        assert headers[dead_letters.BODY_SIZE] == hostile.body_size
        assert headers[dead_letters.BODY_SHA256] == sha256(hostile.body).hexdigest()
        assert f"the body has {hostile.body_size} bytes" in headers[dead_letters.REASON]
    else:
        assert len(letter.body) == hostile.body_size
    if hostile.headers_size > PROPERTIES_BYTES_MAX:
        assert "the properties have " in headers[dead_letters.REASON]
        assert "all headers" in headers[dead_letters.DROPPED]
