"""Programs that share a database and a broker: what the benchmark needs to know of any node."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.machine import NODE, POSTGRESQL, RABBITMQ, Groups, listening_process
from bench.peers import INPUT_QUEUE, Failed
from embedded import Urls, ports, processes
from steps.interruption import undisturbed
from swpt_accounts.store.connection import connect

STOP_SECONDS = 40.0

Process = subprocess.Popen[bytes]
Program = tuple[str, ...]
"""A command with its arguments."""


class Programs(ABC):
    """Nothing runs until it is started."""

    ready_seconds = 60.0
    """What a program may take to start."""

    def __init__(self, urls: Urls, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.postgres_url = urls.postgres_url
        self.broker_url = urls.broker_url
        self._folder = folder
        self._log = folder / "node.log"
        self._log.write_text("")
        [self.port] = ports.remembered(folder / "port", count=1)
        self._environment = _environment(urls, self.port)
        self._running: list[Process] = []
        self._servers = {
            RABBITMQ: listening_process(urls.broker_url),
            POSTGRESQL: listening_process(urls.postgres_url),
        }

    @abstractmethod
    def consumers(self, count: int) -> Program:
        """The program that takes messages, in so many processes if that can be chosen."""

    @contextmanager
    def running(self, *command: str) -> Iterator[Process]:
        process = self.start(*command)
        try:
            yield process
        finally:
            with undisturbed():
                self._end(process)

    def start(self, *command: str) -> Process:
        process = processes.launch(
            command, folder=self._folder, log=self._log, environment=self._environment
        )
        self._running.append(process)
        return process

    @property
    def groups(self) -> Groups:
        """What runs now. Servers are left out when they are not on this machine."""
        servers = {name: [pid] for name, pid in self._servers.items() if pid is not None}
        return {NODE: [process.pid for process in self._running], **servers}

    def check(self) -> None:
        """Raises Failed if a program has ended by itself."""
        for process in self._running:
            if process.poll() is not None:
                raise Failed(
                    f"{process.args!r} ended with code {process.returncode}.\n{self.last_words()}"
                )

    def wait_until(self, condition: Callable[[], bool], what: str, period: float) -> None:
        """Looks so often, in seconds, for as long as a program may take to start."""
        deadline = time.monotonic() + self.ready_seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not within {self.ready_seconds:g} s.\n{self.last_words()}")
            time.sleep(period)

    def last_words(self) -> str:
        return processes.last_words(self._log)

    def ask_database(self, query: str) -> int:
        """The number that a query returns."""
        with connect(self.postgres_url, application_name="bench", autocommit=True) as connection:
            return _number(connection, query)

    def _end(self, process: Process) -> None:
        processes.end(process, politely=signal.SIGTERM, seconds=STOP_SECONDS)
        self._running.remove(process)


def _number(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _environment(urls: Urls, port: int) -> dict[str, str]:
    return {
        **os.environ,
        **urls.environment,
        "PROTOCOL_BROKER_QUEUE": INPUT_QUEUE,
        "PROTOCOL_BROKER_QUEUE_ROUTING_KEY": "#",
        "SETUP_RABBITMQ_BINDINGS": "yes",
        "WEBSERVER_PORT": str(port),
        "FETCH_API_URL": f"http://127.0.0.1:{port}",
    }
