"""Another accounting authority: whatever a shell command starts, on the same two servers."""

import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

from psycopg import sql

from bench.peers import INPUT_QUEUE, Failed, is_consumed
from bench.programs import STOP_SECONDS, Process, Program, Programs
from embedded import Urls, processes
from swpt_accounts.broker.lost import BrokerLost
from swpt_accounts.broker.topology import subscribe
from swpt_accounts.store.connection import connect

VHOST = "other"
"""A private broker must have been started with this virtual host, which must be empty."""

_DATABASE = "other"
_STARTED_PERIOD_SECONDS = 0.25
_IN_FOLDER = 'cd -- "$1" && exec sh -c "$2"'
# What it has done but not noted down, it would do again after the next start. Programs that look
# for work from time to time note some of it down at the next look.
_QUIET_SECONDS = 2.0


def make_place(ours: Programs) -> Urls:
    """An empty database, and the empty virtual host, on the servers of our node."""
    with connect(ours.postgres_url, application_name="bench", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
    return Urls(
        urlsplit(ours.postgres_url)._replace(path=f"/{_DATABASE}").geturl(),
        urlsplit(ours.broker_url)._replace(path=f"/{VHOST}").geturl(),
        logs=(),
        vhosts=(),
    )


class OtherNode(Programs):
    """All of its programs start and end together."""

    ready_seconds = 180.0

    def __init__(self, ours: Programs, folder: Path, command: str) -> None:
        self._command = command
        super().__init__(make_place(ours), folder)

    def configure(self) -> None:
        """Lets the command make everything that it needs until it consumes."""
        processes.end_left_over(self._folder, politely=signal.SIGTERM, seconds=STOP_SECONDS)
        with self.running(*self.consumers(1)):
            self.wait_until(
                lambda: is_consumed(self.broker_url),
                f"A consumer of the other node, from the queue {INPUT_QUEUE}",
                _STARTED_PERIOD_SECONDS,
            )
        self._check_topology()

    def consumers(self, count: int) -> Program:
        """The command itself. It knows how many processes it wants."""
        return "sh", "-c", _IN_FOLDER, "sh", str(Path.cwd()), self._command

    def _check_topology(self) -> None:
        """To declare something once more is refused if it is not the same."""
        try:
            subscribe(self.broker_url, INPUT_QUEUE, "#")
        except BrokerLost as refusal:
            raise Failed(
                "The other node has declared its exchanges and queues otherwise than this one does"
                " (a quorum queue that dead-letters into a stream), so the two cannot be compared:"
                f" {refusal}"
            ) from None

    def _end(self, process: Process) -> None:
        if process.poll() is None:
            time.sleep(_QUIET_SECONDS)
        super()._end(process)
        # A shell in front may be gone before those that it has started.
        processes.end_left_over(self._folder, politely=signal.SIGTERM, seconds=STOP_SECONDS)
