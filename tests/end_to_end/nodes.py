"""Nodes as black boxes: an entry point, environment variables, exchanges, and HTTP."""

import http.client
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pika
import psutil

from tests.cli.programs import ENTRYPOINT, Program, descendants_of, free_port, run
from tests.workers.waiting import eventually

EXCHANGES = ("accounts_in", "to_creditors", "to_debtors", "to_coordinators")


@dataclass
class Node:
    """A node that can be configured, started, stopped, and asked."""

    postgres_url: str
    broker_url: str
    variables: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    queue: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex}")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "POSTGRES_URL": self.postgres_url,
            "PROTOCOL_BROKER_URL": self.broker_url,
            "PROTOCOL_BROKER_QUEUE": self.queue,
            "CHORES_BROKER_URL": self.broker_url,
            "CHORES_BROKER_QUEUE": f"{self.queue}_chores",
            "WEBSERVER_PORT": str(self.port),
            "FETCH_API_URL": f"http://127.0.0.1:{self.port}",
            "SETUP_RABBITMQ_BINDINGS": "yes",
            **self.variables,
        }

    def configure(self) -> None:
        done = run("configure", **self.environment)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def running(self) -> Iterator[Program]:
        """Start all programs, and wait until they answer; kill them at the end."""
        with Program([ENTRYPOINT, "all"], self.environment) as program:
            eventually("the node is healthy", self.is_healthy)
            yield program

    def is_healthy(self) -> bool:
        try:
            return self.get("/accounts/healthz") == (200, "I am healthy")
        except OSError:
            return False

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask over HTTP; return the status and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def empty_vhost(url: str) -> Iterator[str]:
    """Give the URL of a virtual host without a node's exchanges, before and after."""
    _delete_exchanges(url)
    yield url
    _delete_exchanges(url)


def _delete_exchanges(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        for exchange in EXCHANGES:
            connection.channel().exchange_delete(exchange)
    finally:
        connection.close()


def log_lines(program: Program) -> list[dict[str, str]]:
    """What an ended program has logged, each line as JSON."""
    return [json.loads(line) for line in program.lines]


def processes(program: Program, words: str) -> list[psutil.Process]:
    """The node's processes that were started with these words, parents first."""
    found = []
    for pid in descendants_of(program.process.pid):
        try:
            process = psutil.Process(pid)
            if words in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def programs(program: Program, words: str) -> list[psutil.Process]:
    """Of these processes, those that the node itself has started."""
    return [p for p in processes(program, words) if _parent_of(p) == program.process.pid]


def workers(program: Program, words: str) -> list[psutil.Process]:
    """Of these processes, those that they have started."""
    return [
        p for p in processes(program, words) if _parent_of(p) not in (None, program.process.pid)
    ]


def _parent_of(process: psutil.Process) -> int | None:
    """Return the id of the process's parent; None if it has ended meanwhile."""
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None
