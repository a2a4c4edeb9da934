"""The fetch API in gunicorn, as it is served in real life."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

PROJECT = Path(__file__).parents[2]
COMMAND = ("-m", "gunicorn", "--preload", "--worker-class", "asgi", "--asgi-loop", "uvloop")
DEADLINE_SECONDS = 30.0


class Server:
    """A web server of a shard, with `tests.web.preloaded`."""

    def __init__(self, shard_url: str, *, realm: str = "#", workers: int = 1) -> None:
        self.seen: list[str] = []
        self._lines: Queue[str | None] = Queue()
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *COMMAND, "--no-control-socket"),
                    *("--workers", str(workers)),
                    *("--bind", f"fd://{listener.fileno()}"),
                    "tests.web.preloaded:app",
                ],
                cwd=PROJECT,
                env=os.environ | {"SHARD_URL": shard_url, "REALM": realm},
                pass_fds=[listener.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        for _ in range(workers):
            self.await_line("Booting worker")

    def await_line(self, words: str) -> None:
        while (line := self._lines.get(timeout=DEADLINE_SECONDS)) is not None:
            self.seen.append(line)
            if words in line:
                return
        raise AssertionError(f"gunicorn ended without saying {words!r}: {''.join(self.seen)}")

    def stop(self) -> str:
        """End it; returns everything that it has said."""
        self.process.terminate()
        self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        while (line := self._lines.get(timeout=DEADLINE_SECONDS)) is not None:
            self.seen.append(line)
        return "".join(self.seen)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        assert self.process.stderr
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def served(shard_url: str, *, realm: str = "#", workers: int = 1) -> Iterator[Server]:
    server = Server(shard_url, realm=realm, workers=workers)
    try:
        yield server
    finally:
        server.kill()
