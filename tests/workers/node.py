"""One shard, whose workers a test starts, kills, and lets finish."""

import itertools
import signal
from dataclasses import dataclass, field
from functools import cached_property

import psycopg

from tests.factories import pending_balance_change
from tests.workers.processes import Workers, environment
from tests.workers.running import make_consumption, make_flusher, running
from tests.workers.traffic import ROUTING_KEY
from tests.workers.waiting import SECONDS, eventually
from tests.workers.wire import Wire

BATCH_SIZE = 20
ANOTHER_DEBTOR_ID = 1  # Whose root account is in the realm.


@dataclass
class Node:
    """A shard's database and queue, and what starts workers for them."""

    postgres_url: str
    broker_url: str
    queue: str
    session: psycopg.Connection
    wire: Wire
    workers: Workers | None = None
    _change_ids: itertools.count = field(default_factory=lambda: itertools.count(1))  # type: ignore[type-arg]

    @cached_property
    def env(self) -> dict[str, str]:
        return environment(
            postgres_url=self.postgres_url,
            protocol_broker_url=self.broker_url,
            protocol_broker_queue=self.queue,
            protocol_broker_queue_routing_key=ROUTING_KEY,
            protocol_broker_prefetch_count=BATCH_SIZE,
        )

    def start(self, command: str) -> int:
        """Start a worker; return its process id."""
        assert self.workers is not None
        return self.workers.start(command, env=self.env)

    def run_until_killed(self, command: str, kill_point: str, time: int) -> None:
        """Run a worker until it dies at the point, and the broker knows."""
        assert self.workers is not None
        pid = self.workers.start(command, kill_point, str(time), env=self.env)
        assert self.workers.wait(pid) == -signal.SIGKILL, self.workers.log.read_text()
        self.await_no_consumers()

    def await_no_consumers(self) -> None:
        """Wait until the broker has taken back what dead consumers had."""
        eventually("no consumers", lambda: self.wire.consumers_count(self.queue) == 0)

    def consume(self) -> None:
        """Run consumers until there is nothing left in the queue."""
        self._consume_once()
        while self.wire.ready_count(self.queue):
            # A dead letter that could not be stored, for example.
            self._consume_once()

    def _consume_once(self) -> None:
        """Run a consumer until it has handled all that is in the queue by now."""
        change_id = next(self._change_ids)
        last_one = pending_balance_change(
            debtor_id=ANOTHER_DEBTOR_ID, change_id=change_id, creditor_id=0
        )
        self.wire.send(last_one, to=self.queue)

        def is_applied() -> bool:
            query = "SELECT FROM registered_balance_change WHERE (debtor_id, change_id) = (%s, %s)"
            found = self.session.execute(query, [ANOTHER_DEBTOR_ID, change_id])
            return found.fetchone() is not None

        with running(
            make_consumption(
                self.postgres_url,
                self.broker_url,
                self.queue,
                routing_key=ROUTING_KEY,
                batch_size_max=BATCH_SIZE,
            )
        ):
            eventually("the last one is applied", is_applied)

    def flush(self) -> None:
        """Run a flusher until there is nothing left in the outbox."""
        with running(make_flusher(self.postgres_url, self.broker_url, quit_early=True)) as [end]:
            end.result(SECONDS)
