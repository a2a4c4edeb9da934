"""The part `throughput`: rates, the ratios of unfavourable scenarios, and CPU per transfer."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from bench.machine import BENCH, NODE, OTHERS, POSTGRESQL, RABBITMQ
from bench.report import Figure
from bench.session import Session
from bench.transfers import SCENARIOS, UNIFORM, TransferRun

_PART = "throughput"
ALL = (NODE, RABBITMQ, POSTGRESQL)
NOT_HERE = "a server is not on this machine"
CPU_GROUPS = (
    ("", "all", ALL),
    ("_node", "own processes", (NODE,)),
    ("_rabbitmq", "RabbitMQ", (RABBITMQ,)),
    ("_postgresql", "PostgreSQL", (POSTGRESQL,)),
)


def measure(session: Session) -> None:
    """Scenarios take turns, so that what disturbs the machine for a while disturbs all of them."""
    runs: dict[str, list[TransferRun]] = {scenario.name: [] for scenario in SCENARIOS}
    rounds_count = session.options.rounds_count
    for number in range(1, rounds_count + 1):
        for scenario in SCENARIOS:
            title = f"Draining transfers, round {number} of {rounds_count}: {scenario.title}"
            runs[scenario.name].append(session.transfer(scenario, title))
    uniform = runs[UNIFORM.name]
    session.add(*_rates(uniform), *_ratios(runs))
    session.add(*cpu_figures(_PART, "cpu_per_transfer", "CPU per whole transfer", uniform))
    session.add(*_shares_of_machine(uniform))
    session.add(*_disk(uniform))
    session.report.details[_PART] = {
        name: [_as_json(run) for run in of_scenario] for name, of_scenario in runs.items()
    }


def _rates(uniform: Sequence[TransferRun]) -> list[Figure]:
    rates = {
        "transfers_per_second": ("whole transfers", [run.rate for run in uniform]),
        "prepares_per_second": (
            "… PrepareTransfers alone",
            [run.transfers_count / run.prepare.seconds for run in uniform],
        ),
        "finalizes_per_second": (
            "… FinalizeTransfers alone",
            [run.transfers_count / run.finalize.seconds for run in uniform],
        ),
    }
    return [
        Figure(key, _PART, title, "/s", tuple(values)) for key, (title, values) in rates.items()
    ]


def _ratios(runs: dict[str, list[TransferRun]]) -> list[Figure]:
    """Each round's rates are compared with each other."""
    figures = []
    for scenario in SCENARIOS:
        if scenario is UNIFORM:
            continue
        pairs = zip(runs[scenario.name], runs[UNIFORM.name], strict=True)
        values = tuple(run.rate / uniform.rate for run, uniform in pairs)
        title = f"… with {scenario.title}, by uniform"
        figures.append(Figure(f"{scenario.name}_ratio", _PART, title, "×", values))
    return figures


def cpu_figures(part: str, key: str, title: str, runs: Sequence[TransferRun]) -> list[Figure]:
    """CPU of all groups together, and of each."""
    figures: list[Figure] = []
    for suffix, words, groups in CPU_GROUPS:
        measured = [run.cpu_milliseconds(*groups) for run in runs]
        values = tuple(value for value in measured if value is not None)
        prefix = "…" if figures else title
        remark = "" if values else NOT_HERE
        figures.append(Figure(key + suffix, part, f"{prefix}: {words}", "ms CPU", values, remark))
    return figures


def _shares_of_machine(uniform: Sequence[TransferRun]) -> list[Figure]:
    figures: list[Figure] = []
    cores = os.cpu_count() or 1
    for name, words in ((BENCH, "the benchmark itself"), (OTHERS, "everything else")):
        shares = tuple(100 * run.share_of_machine(name, cores) for run in uniform)
        title = f"… meanwhile used by {words}"
        figures.append(Figure(f"cpu_share_{name}", _PART, title, "%", shares, "of all cores"))
    return figures


def _disk(uniform: Sequence[TransferRun]) -> list[Figure]:
    """Only the journal grows for ever."""
    titles = {"journal": "on disk for ever", "write_ahead_log": "written ahead"}
    return [
        Figure(
            f"disk_{name}",
            _PART,
            f"bytes per whole transfer, {title}: {name.replace('_', ' ')}",
            "bytes",
            tuple(getattr(run.disk, name) / run.transfers_count for run in uniform),
        )
        for name, title in titles.items()
    ]


def _as_json(run: TransferRun) -> dict[str, object]:
    return {"rate": run.rate, **asdict(run)}
