"""Ports on the loopback interface: free ones, and the same ones again on the next run."""

import random
import socket
from pathlib import Path

# Below the range from which Linux takes the local ports of outgoing connections (32768 and up), so
# that a port which is remembered is not taken by chance between two runs.
_PORTS = range(20_000, 32_000)


def remembered(file: Path, *, count: int) -> list[int]:
    """As many free ports as asked for: those noted in the file, as long as all are still free."""
    try:
        ports = [int(word) for word in file.read_text().split()]
    except (FileNotFoundError, ValueError):
        ports = []
    if len(ports) != count or not all(map(is_free, ports)):
        ports = _choose(count)
        file.write_text(" ".join(map(str, ports)) + "\n")
    return ports


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        # Servers listen with this option as well; without it, a port that was in use a moment ago
        # seems taken for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _choose(count: int) -> list[int]:
    chosen: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if is_free(port):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise OSError(f"fewer than {count} ports are free on 127.0.0.1 in {_PORTS}")
