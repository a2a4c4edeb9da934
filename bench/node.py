"""The node under measurement: its programs, started as an operator would, with default settings."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.machine import NODE, POSTGRESQL, RABBITMQ, Groups, listening_process
from bench.peers import INPUT_QUEUE, Failed, has_node
from embedded import Urls, ports, processes
from steps.environment import ROOT, VENV
from steps.interruption import undisturbed
from swpt_accounts.settings import reference
from swpt_accounts.store.connection import connect

ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
_STOP_SECONDS = 40.0
_READY_SECONDS = 60.0
_OF_THE_BENCHMARK = {"POSTGRES_URL", "PROTOCOL_BROKER_URL", "CHORES_BROKER_URL"}

Process = subprocess.Popen[bytes]


class Node:
    """Programs that share a database and a broker. Nothing runs until it is started."""

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

    def configure(self) -> None:
        """Makes tables, exchanges and queues. Refuses servers that somebody's node uses."""
        processes.end_left_over(self._folder, politely=signal.SIGTERM, seconds=_STOP_SECONDS)
        if has_node(self.broker_url) or self._has_tables():
            raise Failed(
                "POSTGRES_URL or PROTOCOL_BROKER_URL names servers on which a node has been set up."
                " Thousands of meaningless transfers would be made there. Name an empty database"
                " and an empty virtual host, or none: then private servers are used."
            )
        configured = self.start("configure")
        code = configured.wait(_READY_SECONDS)
        self._running.remove(configured)
        if code != 0:
            raise Failed(f"configure ended with code {code}.\n{self.last_words()}")

    @contextmanager
    def running(self, *command: str) -> Iterator[Process]:
        """A program of the node: a command of docker/entrypoint.sh."""
        process = self.start(*command)
        try:
            yield process
        finally:
            with undisturbed():
                processes.end(process, politely=signal.SIGTERM, seconds=_STOP_SECONDS)
                self._running.remove(process)

    def start(self, *command: str) -> Process:
        process = processes.launch(
            [ENTRYPOINT, *command],
            folder=self._folder,
            log=self._log,
            environment=self._environment,
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
        deadline = time.monotonic() + _READY_SECONDS
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not within {_READY_SECONDS:g} s.\n{self.last_words()}")
            time.sleep(period)

    def last_words(self) -> str:
        return processes.last_words(self._log)

    def ask_database(self, query: str) -> int:
        """The number that a query returns."""
        with connect(self.postgres_url, application_name="bench", autocommit=True) as connection:
            return _number(connection, query)

    def _has_tables(self) -> bool:
        tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        return self.ask_database(tables) > 0


def chosen_settings() -> dict[str, str]:
    """The settings that the environment changes, and with which the node therefore runs."""
    names = {row.name for row in reference()} - _OF_THE_BENCHMARK
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


def _number(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _environment(urls: Urls, port: int) -> Mapping[str, str]:
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        **os.environ,
        **urls.environment,
        "PROTOCOL_BROKER_QUEUE": INPUT_QUEUE,
        "PROTOCOL_BROKER_QUEUE_ROUTING_KEY": "#",
        "SETUP_RABBITMQ_BINDINGS": "yes",
        "WEBSERVER_PORT": str(port),
        "FETCH_API_URL": f"http://127.0.0.1:{port}",
        "PATH": path,
    }
