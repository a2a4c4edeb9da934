"""The whole authority, as `docker/entrypoint.sh all` runs it, for as long as a script needs it."""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from embedded import ServerFailed, Urls, ports, processes
from steps.environment import ROOT, VENV, Refusal
from steps.interruption import undisturbed
from steps.progress import Progress

ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
HASTE = {
    "APP_ACCOUNTS_SCAN_HOURS": "0.0003",
    "APP_MIN_INTEREST_CAPITALIZATION_DAYS": "0",
    "APP_DELETION_ATTEMPTS_MIN_DAYS": "0",
}
"""With these settings, what otherwise takes hours or days takes a second or two."""

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0
_HTTP_SECONDS = 5.0


@dataclass(frozen=True)
class Node:
    """Where a running node can be found."""

    postgres_url: str
    broker_url: str
    queue: str
    fetch_api_url: str
    log: str
    server_logs: tuple[str, ...]
    pid: int
    is_hasty: bool
    """Whether interest is paid, and accounts are deleted, within seconds."""

    @property
    def is_running(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return True


def refuse_fresh_for_named_servers(fresh: bool) -> None:
    """`--fresh` deletes data, and may do so only where the scripts have made it themselves."""
    named = [name for name in ("POSTGRES_URL", "PROTOCOL_BROKER_URL") if os.environ.get(name)]
    if fresh and named:
        raise Refusal(
            f"--fresh removes the data of the private servers, but {' and '.join(named)} "
            "names a server of yours. Unset it, or leave out --fresh."
        )


@contextmanager
def running_node(
    var: Path, urls: Urls, progress: Progress, *, hasty: bool = False
) -> Iterator[Node]:
    """Configures the servers, then runs all programs of the node. Stops them in the end."""
    folder = var / "node"
    folder.mkdir(exist_ok=True)
    if processes.left_over(folder):
        with progress.step("Ending the node that an earlier run has left behind"):
            processes.end_left_over(folder, politely=signal.SIGTERM, seconds=_STOP_SECONDS)
    log = folder / "node.log"
    log.write_text("")
    environment = _environment(urls, folder, HASTE if hasty else {})
    with progress.step("Configuring tables, exchanges, queues and bindings"):
        _configure(folder, environment, log)
    node = processes.launch([ENTRYPOINT, "all"], folder=folder, log=log, environment=environment)
    described = folder / "running.json"
    try:
        found = Node(
            urls.postgres_url,
            urls.broker_url,
            environment["PROTOCOL_BROKER_QUEUE"],
            f"http://127.0.0.1:{environment['WEBSERVER_PORT']}",
            str(log),
            tuple(map(str, urls.logs)),
            node.pid,
            is_hasty=HASTE.items() <= environment.items(),
        )
        with progress.step("Starting the node") as step:
            processes.wait_until(
                _readiness(found, step.say),
                process=node,
                what="The node",
                seconds=_START_SECONDS,
                log=log,
            )
            step.done(f"The node runs: its fetch API is at {found.fetch_api_url}")
        described.write_text(json.dumps(asdict(found)))
        yield found
    finally:
        described.unlink(missing_ok=True)
        with undisturbed(), progress.step("Stopping the node"):
            processes.end(node, politely=signal.SIGTERM, seconds=_STOP_SECONDS)


def already_running(var: Path) -> Node | None:
    """The node that another script keeps running on the same data, if it is ready."""
    try:
        described = json.loads((var / "node" / "running.json").read_text())
    except FileNotFoundError:
        return None
    node = Node(**{**described, "server_logs": tuple(described["server_logs"])})
    return node if node.is_running else None


def _environment(urls: Urls, folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Settings that are not in the environment already get a value that suits a single machine."""
    port = os.environ.get("WEBSERVER_PORT", "")
    if not port:
        [free_port] = ports.remembered(folder / "port", count=1)
        port = str(free_port)
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        "APP_LOG_LEVEL": "info",
        "FETCH_API_URL": f"http://127.0.0.1:{port}",
        "PROTOCOL_BROKER_QUEUE": "swpt_accounts",
        **settings,
        **os.environ,
        **urls.environment,
        "WEBSERVER_PORT": port,
        "SETUP_RABBITMQ_BINDINGS": "yes",
        "PATH": path,
    }


def _configure(folder: Path, environment: Mapping[str, str], log: Path) -> None:
    with log.open("ab") as output:
        configured = subprocess.run(
            [ENTRYPOINT, "configure"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if configured.returncode != 0:
        code = configured.returncode
        raise ServerFailed(
            f"docker/entrypoint.sh configure ended with code {code}.\n{processes.last_words(log)}"
        )


def _readiness(node: Node, say: Callable[[str], None]) -> Callable[[], bool]:
    """Ready is: the fetch API answers, and somebody consumes from the queue."""
    waiting: dict[str, Callable[[Node], bool]] = {
        "waiting for the fetch API": _answers_http,
        "waiting for consumers": _has_consumers,
    }

    def is_ready() -> bool:
        for what, holds in list(waiting.items()):
            say(f"{what}. {_latest_complaint(node)}")
            if not holds(node):
                return False
            del waiting[what]
        return True

    return is_ready


def _latest_complaint(node: Node) -> str:
    """What the node says is wrong, while it tries again."""
    lines = Path(node.log).read_text(errors="replace").splitlines()
    return next((line for line in reversed(lines) if " ERROR " in line), "")


def _answers_http(node: Node) -> bool:
    address = node.fetch_api_url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=_HTTP_SECONDS)
    try:
        connection.request("GET", "/accounts/healthz")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _has_consumers(node: Node) -> bool:
    try:
        connection = pika.BlockingConnection(pika.URLParameters(node.broker_url))
    except (AMQPError, OSError):
        return False
    try:
        queue = connection.channel().queue_declare(node.queue, passive=True)
        return bool(queue.method.consumer_count)
    except ChannelClosedByBroker:
        return False
    finally:
        with suppress(AMQPError):
            connection.close()


def stay(node: Node) -> int:
    """Returns when the node ends by itself, which it should not."""
    while node.is_running:
        time.sleep(1)
    return 1
