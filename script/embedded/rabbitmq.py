"""A private node of the system's RabbitMQ.

Debian's /usr/sbin/rabbitmq-server refuses ordinary users, and speaks for the system's own node. The
programs below /usr/lib do neither, if everything is named in their environment: node name, ports,
folders, cookie. Erlang's port mapper (epmd) is a private one too, since the common one would
outlive the node, and would tie it to nodes of others.

RabbitMQ of another system runs in the same way, with that system's /usr in place of this one's.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pika
from pika.exceptions import AMQPError

from embedded import ports, processes
from embedded.processes import ServerFailed

USR = "EMBEDDED_RABBITMQ_USR"
"""Names a folder that the node sees in place of /usr: the programs of a newer system."""

_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
# In a mount namespace of its own, which goes with its last process: nothing stays mounted.
_SEE_IN_PLACE_OF_USR = ["sh", "-c", 'mount --bind "$0" /usr && exec "$@"']
_NODE = "swpt_accounts@localhost"
_USER = "guest"  # RabbitMQ's own default. It is let in from the loopback interface only.
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0

_CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{port}
loopback_users.guest = true
log.file.level = info
log.console = false
# The default of 512 MB is kept in memory for quorum queues before it goes to their segment files.
raft.wal_max_size_bytes = 64000000
# A folder in a checkout is no place to fill to the last gigabyte, but on a laptop less must do.
disk_free_limit.absolute = 200MB
vm_memory_high_watermark.relative = 0.4
load_definitions = {definitions}
"""


class EmbeddedRabbitMQ:
    """One node, with its data below `folder`. It can be killed and started again.

    It has the virtual host "/" and those that are named. A virtual host cannot be made over AMQP,
    so tests that want one to themselves need them made in advance.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        vhosts: Sequence[str] = (),
        usr: str | None = None,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        """`usr` is seen in place of /usr; by default it is what EMBEDDED_RABBITMQ_USR names."""
        self.folder = Path(folder).resolve()
        named = os.environ.get(USR, "") if usr is None else usr
        self._usr = Path(named).resolve() if named else None
        self.log = self.folder / "log" / "rabbit.log"
        self.port = 0
        self._output = self.folder / "log" / "output.log"
        self._vhosts = vhosts
        self.say = say  # Told what is being done, in a few words.
        self._ports = [0, 0, 0]
        self._node: subprocess.Popen[bytes] | None = None
        self._port_mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the virtual host "/"."""
        return f"amqp://{_USER}:{_USER}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._node is not None, "not started"
        return self._node.pid

    def start(self) -> None:
        """Returns when the node takes connections."""
        programs = self._usr / _PROGRAMS.relative_to("/usr") if self._usr else _PROGRAMS
        if not (programs / "rabbitmq-server").exists():
            advice = f"Correct or unset {USR}." if self._usr else "Run script/bootstrap."
            raise ServerFailed(f"RabbitMQ is not installed in {programs}. {advice}")
        for folder in [self.folder, self.folder / "log", self.folder / "home"]:
            folder.mkdir(parents=True, exist_ok=True)
        self.heal()
        self._configure()
        self.say("starting")
        try:
            self._launch()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Closes all connections and writes what is only in memory. The port mapper goes last."""
        if self._node is not None:
            processes.end(self._node, politely=signal.SIGTERM, seconds=_STOP_SECONDS)
            self._node = None
        if self._port_mapper is not None:
            processes.end(self._port_mapper, politely=signal.SIGTERM, seconds=_STOP_SECONDS)
            self._port_mapper = None

    def kill(self) -> None:
        """SIGKILL to the node and all of its helpers, as when the power goes.

        RabbitMQ 3.10 notes only about a second later on disk that a quorum queue was declared. A
        queue that is younger gives no message any more after a kill; see `write_registry`.
        """
        for process in (self._node, self._port_mapper):
            if process is not None:
                processes.kill_session(process)
        self._node = self._port_mapper = None
        self.heal()

    def interrupt(self) -> None:
        """Makes a start that is under way in another thread fail soon."""
        for process in (self._node, self._port_mapper):
            if process is not None:
                processes.kill_session(process)

    def control(self, *words: str) -> str:
        """Runs rabbitmqctl on this node and returns what it says. Takes a second or more."""
        answer = subprocess.run(
            self._command(_PROGRAMS / "rabbitmqctl", "--node", _NODE, "--quiet", *words),
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
        )
        if answer.returncode != 0:
            raise ServerFailed(f"rabbitmqctl {' '.join(words)}: {answer.stdout}{answer.stderr}")
        return answer.stdout

    def write_registry(self) -> None:
        """Has it noted on disk now which quorum queues there are."""
        self.control("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def heal(self) -> None:
        """After a run that was killed: its node must be gone before another one starts."""
        if processes.left_over(self.folder):
            self.say("ending the node that an earlier run has left behind")
            processes.end_left_over(self.folder, politely=signal.SIGTERM, seconds=_STOP_SECONDS)

    def _configure(self) -> None:
        self._ports = ports.remembered(self.folder / "ports", count=3)
        self.port = self._ports[0]
        definitions = self.folder / "definitions.json"
        definitions.write_text(json.dumps(_definitions(self._vhosts), indent=1))
        configuration = _CONFIGURATION.format(port=self.port, definitions=definitions)
        (self.folder / "rabbitmq.conf").write_text(configuration)
        (self.folder / "enabled_plugins").write_text("[].\n")
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)

    def _launch(self) -> None:
        environment = self._environment()
        mapper_port = self._ports[2]
        self._port_mapper = processes.launch(
            self._command("epmd", "-port", str(mapper_port), "-address", "127.0.0.1"),
            folder=self.folder,
            log=self._output,
            environment=environment,
        )
        processes.wait_until(
            lambda: _listens(mapper_port),
            process=self._port_mapper,
            what="epmd",
            seconds=_START_SECONDS,
            log=self._output,
        )
        self._node = processes.launch(
            self._command(_PROGRAMS / "rabbitmq-server"),
            folder=self.folder,
            log=self._output,
            environment=environment,
        )
        processes.wait_until(
            self._is_ready,
            process=self._node,
            what="RabbitMQ",
            seconds=_START_SECONDS,
            log=self._output,
        )

    def _command(self, *words: str | Path) -> list[str | Path]:
        if not self._usr:
            return [*words]
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        return ["unshare", *as_root, "--mount", *_SEE_IN_PLACE_OF_USR, self._usr, *words]

    def _is_ready(self) -> bool:
        if not _listens(self.port):
            return False
        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except AMQPError:
            return False
        return True

    def _environment(self) -> dict[str, str]:
        outer = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_"))
        }
        _, distribution_port, mapper_port = map(str, self._ports)
        return outer | {
            "HOME": str(self.folder / "home"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": mapper_port,
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": distribution_port,
            # By default each scheduler is tied to a core, and waits for it while others use it.
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "no-environment-file"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "no-advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": str(self.log),
            # The script then becomes the node, instead of watching over it: the process that was
            # started is the one that gets the signals.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def _definitions(vhosts: Sequence[str]) -> dict[str, object]:
    names = ["/", *vhosts]
    all_of_it = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": _USER, "password": _USER, "tags": ["administrator"]}],
        "vhosts": [{"name": name} for name in names],
        "permissions": [{"user": _USER, "vhost": name, **all_of_it} for name in names],
    }


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
