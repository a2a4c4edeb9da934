"""Both servers, for as long as a script needs them."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedded.postgres import EmbeddedPostgres
from embedded.rabbitmq import USR, EmbeddedRabbitMQ
from steps.interruption import undisturbed
from steps.progress import Progress

_INTERRUPT_AGAIN_SECONDS = 0.1


class FolderInUse(Exception):
    """Another script works with the same data. The text says which."""


@dataclass(frozen=True)
class Urls:
    """Where the servers are: those that the environment names, or private ones."""

    postgres_url: str
    broker_url: str
    logs: tuple[Path, ...]  # Of the private servers.
    vhosts: tuple[str, ...]  # Made in advance, on a private broker.

    @property
    def environment(self) -> dict[str, str]:
        """What a node needs to find them."""
        return {
            "POSTGRES_URL": self.postgres_url,
            "PROTOCOL_BROKER_URL": self.broker_url,
            "CHORES_BROKER_URL": self.broker_url,
        }


class _Server(Protocol):
    log: Path
    port: int
    say: Callable[[str], None]

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def interrupt(self) -> None: ...


@contextmanager
def servers(
    var: Path,
    progress: Progress,
    *,
    holder: str,
    fresh: bool = False,
    durable: bool = True,
    vhosts: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Urls]:
    """Runs the servers that POSTGRES_URL and PROTOCOL_BROKER_URL don't name, with data below `var`.

    `holder` is how this use is called in the refusal (FolderInUse) of a second one. `fresh` removes
    the data first. With `durable` off, the data is not expected to survive a crash of the machine.
    """
    postgres_url = environ.get("POSTGRES_URL", "")
    broker_url = environ.get("PROTOCOL_BROKER_URL", "")
    with ExitStack() as stack:
        var.mkdir(parents=True, exist_ok=True)
        stack.enter_context(lock(var, holder))
        postgres = EmbeddedPostgres(var / "postgres", durable=durable)
        rabbitmq = EmbeddedRabbitMQ(var / "rabbitmq", vhosts=vhosts, usr=environ.get(USR, ""))
        if fresh:
            remove(postgres, rabbitmq)
        chosen: list[tuple[str, _Server]] = []
        if not postgres_url:
            chosen.append(("PostgreSQL", postgres))
        if not broker_url:
            chosen.append(("RabbitMQ", rabbitmq))
        stack.callback(_stop, [*reversed(chosen)], progress)
        _start(chosen, progress)
        yield Urls(
            postgres_url or postgres.url,
            broker_url or rabbitmq.url,
            logs=tuple(server.log for _, server in chosen),
            vhosts=() if broker_url else tuple(vhosts),
        )


@contextmanager
def lock(var: Path, holder: str) -> Iterator[None]:
    """One script at a time. The lock goes with the process, however that ends."""
    with (var / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FolderInUse(f"{var} is in use by {file.read().strip()}.") from None
        file.truncate(0)
        file.write(f"{holder}, process {os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def remove(*private: EmbeddedPostgres | EmbeddedRabbitMQ) -> None:
    """Ends what an earlier run has left running, and removes all data."""
    for server in private:
        server.heal()
        shutil.rmtree(server.folder, ignore_errors=True)


def _start(chosen: Sequence[tuple[str, _Server]], progress: Progress) -> None:
    """All at once, since each keeps less than one core busy. Ends all of them if one fails."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        starts = [pool.submit(_start_one, name, server, progress) for name, server in chosen]
        try:
            for ended in wait(starts, return_when=FIRST_EXCEPTION).done:
                ended.result()
        except BaseException:
            with undisturbed():
                while wait(starts, timeout=_INTERRUPT_AGAIN_SECONDS).not_done:
                    for _, server in chosen:
                        server.interrupt()
            raise


def _start_one(name: str, server: _Server, progress: Progress) -> None:
    with progress.step(f"Starting {name}") as step:
        server.say = step.say
        server.start()
        step.done(f"{name} listens on 127.0.0.1:{server.port}")


def _stop(chosen: Sequence[tuple[str, _Server]], progress: Progress) -> None:
    with undisturbed():
        for name, server in chosen:
            with progress.step(f"Stopping {name}"):
                server.stop()
