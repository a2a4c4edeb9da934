"""The part `memory`: what each process of a complete node takes, right after its start."""

from dataclasses import asdict

from bench.machine import NODE, ProcessMemory, memory_of
from bench.programs import Process
from bench.report import Figure
from bench.session import Session

_PART = "memory"
_LOOK_SECONDS = 0.2
_PROGRAMS = {
    "consume_messages",
    "consume_chore_messages",
    "flush_all",
    "scan_accounts",
    "scan_prepared_transfers",
    "scan_registered_balance_changes",
    "swpt_accounts.asgi:app",
}


def measure(session: Session) -> None:
    """The command `all`, with its scans and its web server, when every program is there."""
    node, peers = session.node, session.peers
    title = "Starting a complete node"
    with session.progress.step(title) as step, node.running("all") as process:
        node.wait_until(
            lambda: peers.has_consumer() and {each.name for each in _of(process)} >= _PROGRAMS,
            title,
            _LOOK_SECONDS,
        )
        found = _of(process)
        step.done("Memory of a complete node")
    names = sorted({each.name for each in found})
    session.add(
        *(
            Figure(f"memory_{name}", _PART, f"memory of {name}", "MB", (_greatest(found, name),))
            for name in names
        ),
        Figure(
            "memory_all",
            _PART,
            "all of them, what they share counted once",
            "MB",
            (sum(each.rss if each.pss is None else each.pss for each in found),),
        ),
    )
    session.report.details[_PART] = [asdict(each) for each in found]


def _of(process: Process) -> list[ProcessMemory]:
    return memory_of({NODE: [process.pid]})


def _greatest(found: list[ProcessMemory], name: str) -> float:
    return max(each.rss for each in found if each.name == name)
