"""Who uses the machine's CPU and memory: processes by group, each with all of its descendants."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

NODE, RABBITMQ, POSTGRESQL = "node", "rabbitmq", "postgresql"
BENCH = "bench"
OTHERS = "others"
"""What else ran on the machine: if it is more than a little, the figures are not to be trusted."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_IDLE = ("idle", "iowait", "guest", "guest_nice")
_MEGABYTE = 1_000_000

Groups = Mapping[str, list[int]]
"""The first process of each tree, by the name of the group that it belongs to."""


class CpuMeter:
    """Measures the CPU seconds of each group from its making on."""

    def __init__(self, groups: Groups) -> None:
        self._groups = {**groups, BENCH: [os.getpid()]}
        self._others_before = _busy_seconds()
        self._before = self._read()

    def seconds(self) -> dict[str, float]:
        """CPU seconds by group, and of all other processes together."""
        now = self._read()
        used = {name: now[name] - self._before[name] for name in now}
        used[OTHERS] = max(_busy_seconds() - self._others_before - sum(used.values()), 0.0)
        return used

    def _read(self) -> dict[str, float]:
        # The benchmark has started the node, and waits for its processes later: they are not
        # among what its own times contain, nor must they be counted as its descendants.
        return {
            name: _own_seconds(pids[0]) if name == BENCH else sum(map(_tree_seconds, pids))
            for name, pids in self._groups.items()
        }


@dataclass(frozen=True)
class ProcessMemory:
    """One process. In megabytes of a million bytes."""

    group: str
    name: str
    pid: int
    rss: float
    pss: float | None
    """Its share of what several processes have in common divided among them; None if not told."""
    peak_rss: float


def memory_of(groups: Groups) -> list[ProcessMemory]:
    """Every process of the groups, as it is now."""
    found = []
    for group, pids in groups.items():
        for pid in pids:
            for process in _tree(pid):
                try:
                    found.append(_memory(group, process))
                except psutil.NoSuchProcess:
                    continue
    return found


def listening_process(url: str) -> int | None:
    """The process that a server's URL leads to; None if it is elsewhere, or somebody else's."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK or parts.port is None:
        return None
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (parts.port,):
            return connection.pid
    return None


def description() -> dict[str, object]:
    """What the figures depend on, as far as the system tells."""
    model = ""
    with Path("/proc/cpuinfo").open(errors="replace") as lines:
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    system = os.uname()
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "architecture": system.machine,
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": f"{system.sysname} {system.release}",
    }


def _tree(pid: int) -> list[psutil.Process]:
    """The descendants, and then the process itself."""
    try:
        root = psutil.Process(pid)
        return [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return []


def _tree_seconds(pid: int) -> float:
    """Children that have ended are contained in the times of the parent that has waited for them.

    So the sum over a tree never loses anything, whoever comes and goes.
    """
    total = 0.0
    for process in _tree(pid):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def _own_seconds(pid: int) -> float:
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


def _busy_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    return float(sum(seconds for name, seconds in times.items() if name not in _IDLE))


def _memory(group: str, process: psutil.Process) -> ProcessMemory:
    with process.oneshot():
        words = process.cmdline()
    name = next((word for word in words[1:] if "_" in word and "/" not in word), "")
    if not name or group != NODE:
        is_titled = group == POSTGRESQL and words and not words[0].startswith("/")
        name = words[0] if is_titled else process.name()
    try:
        pss: float | None = process.memory_full_info().pss / _MEGABYTE
    except psutil.AccessDenied:
        pss = None
    rss = process.memory_info().rss / _MEGABYTE
    return ProcessMemory(group, name, process.pid, rss, pss, _peak_rss(process.pid) or rss)


def _peak_rss(pid: int) -> float | None:
    try:
        with Path(f"/proc/{pid}/status").open() as lines:
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return kilobytes * 1024 / _MEGABYTE
