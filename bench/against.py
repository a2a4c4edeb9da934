"""The part `against`: another accounting authority does the same work, in turns with this one."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.latency import (
    PERCENTILES,
    REGISTERED_PERIOD_SECONDS,
    Demand,
    LatencyRun,
    as_json,
    demands_at,
    make_transfers,
    percentile,
)
from bench.other_node import OtherNode
from bench.peers import Peers
from bench.programs import Programs
from bench.report import Figure, show
from bench.session import Session
from bench.throughput import CPU_GROUPS, NOT_HERE, cpu_figures
from bench.transfers import UNIFORM, Say, TransferRun, Transfers, median_rate
from bench.workload import Currency

_PART = "against"
_THROUGHPUT = "whole transfers, by the other node's"
_HOW_TO = "not measured: name the other node with --against 'COMMAND'"


@dataclass(frozen=True)
class _Side:
    """One of the two nodes, with accounts that it keeps from the first round to the last."""

    title: str
    node: Programs
    peers: Peers
    transfers: Transfers
    transfers_count: int
    currency: Currency

    def drain(self, say: Say) -> TransferRun:
        return self.transfers.run(UNIFORM, self.transfers_count, say, self.currency)

    def serve(self, session: Session, demand: Demand, say: Say) -> LatencyRun:
        node = self.node
        say("starting consumers")
        with node.running(*node.consumers(1)):
            node.wait_until(self.peers.has_consumer, "A consumer", REGISTERED_PERIOD_SECONDS)
            return make_transfers(node, self.currency, demand, session.options, say)


def measure(session: Session) -> None:
    """The nodes take turns, so that what disturbs the machine disturbs both."""
    if session.options.against is None:
        session.add(Figure("against_throughput_ratio", _PART, _THROUGHPUT, "×", (), _HOW_TO))
        return
    with _sides(session, session.options.against) as (ours, theirs):
        slower_rate = _measure_drains(session, ours, theirs)
        for demand in demands_at(slower_rate):
            _measure_latency(session, ours, theirs, demand)


@contextmanager
def _sides(session: Session, command: str) -> Iterator[tuple[_Side, _Side]]:
    options, progress = session.options, session.progress
    other = OtherNode(session.node, options.folder / "against", command)
    with progress.step("Having the other node make its tables, exchanges and queues"):
        other.configure()
    with Peers(other.broker_url) as peers:
        transfers = Transfers(other, peers, options.accounts_count)
        with progress.step("Opening accounts at the other node") as step:
            currency = transfers.new_currency(step.say)
        theirs = _Side(
            "the other node", other, peers, transfers, options.against_transfers_count, currency
        )
        with progress.step("Opening accounts at this node") as step:
            currency = session.transfers.new_currency(step.say)
        ours = _Side(
            "this node",
            session.node,
            session.peers,
            session.transfers,
            options.transfers_count,
            currency,
        )
        yield ours, theirs


# Throughput and CPU.


def _measure_drains(session: Session, ours: _Side, theirs: _Side) -> float:
    """Returns what both of them can do in a second."""
    our_runs: list[TransferRun] = []
    their_runs: list[TransferRun] = []
    rounds_count = session.options.rounds_count
    for number in range(1, rounds_count + 1):
        for side, runs in ((ours, our_runs), (theirs, their_runs)):
            title = f"Draining transfers, round {number} of {rounds_count}: {side.title}"
            with session.progress.step(title) as step:
                run = side.drain(step.say)
                step.done(f"{title}: {run.rate:,.1f} whole transfers/s")
            runs.append(run)
    their_rates = tuple(run.rate for run in their_runs)
    session.add(
        Figure("against_rate", _PART, "whole transfers of the other node", "/s", their_rates),
        _ratio(
            "against_throughput_ratio",
            _THROUGHPUT,
            "/s",
            [run.rate for run in our_runs],
            [run.rate for run in their_runs],
        ),
        *cpu_figures(
            _PART,
            "against_cpu_per_transfer",
            "CPU per transfer of the other node",
            their_runs,
        ),
        *_cpu_ratios(our_runs, their_runs),
    )
    session.report.details[_PART] = {
        "node": [asdict(run) for run in our_runs],
        "other_node": [asdict(run) for run in their_runs],
        "latency": {},
    }
    return min(median_rate(our_runs), median_rate(their_runs))


def _cpu_ratios(ours: Sequence[TransferRun], theirs: Sequence[TransferRun]) -> list[Figure]:
    figures: list[Figure] = []
    for suffix, words, groups in CPU_GROUPS:
        title = "…" if figures else "CPU per whole transfer, by the other node's"
        our_values = [run.cpu_milliseconds(*groups) for run in ours]
        their_values = [run.cpu_milliseconds(*groups) for run in theirs]
        key = f"against_cpu_ratio{suffix}"
        figures.append(_ratio(key, f"{title}: {words}", "ms CPU", our_values, their_values))
    return figures


def _ratio(
    key: str,
    title: str,
    unit: str,
    ours: Sequence[float | None],
    theirs: Sequence[float | None],
) -> Figure:
    """Each round is compared with itself; the remark shows the medians."""
    pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if our and their]
    if not pairs:
        return Figure(key, _PART, title, "×", (), NOT_HERE)
    our_median, their_median = (statistics.median(side) for side in zip(*pairs, strict=True))
    remark = f"{show(our_median, unit)} by {show(their_median, unit)}"
    return Figure(key, _PART, title, "×", tuple(our / their for our, their in pairs), remark)


# Latency.


def _measure_latency(session: Session, ours: _Side, theirs: _Side, demand: Demand) -> None:
    """Both are asked for as much; parts of a throughput are parts of the slower node's."""
    runs = []
    for side in (ours, theirs):
        title = f"Measuring latency {demand.title}: {side.title}"
        with session.progress.step(title) as step:
            run = side.serve(session, demand, step.say)
            step.done(f"{title}: p50 {show(percentile(run.latencies, 50), 'ms')}")
        runs.append(run)
    session.add(*_latency_ratios(demand, *runs))
    session.report.details[_PART]["latency"][demand.name] = {
        "node": as_json(runs[0]),
        "other_node": as_json(runs[1]),
    }


def _latency_ratios(demand: Demand, ours: LatencyRun, theirs: LatencyRun) -> list[Figure]:
    figures = []
    for suffix, percent in PERCENTILES:
        if not (ours.has(percent) and theirs.has(percent)):
            continue
        title = f"latency at {demand.rate:,.1f} transfers/s, p{percent:g}, by the other node's"
        key = f"against_latency_ratio_at_{demand.name}_{suffix}"
        our_value = percentile(ours.latencies, percent)
        their_value = percentile(theirs.latencies, percent)
        figures.append(_ratio(key, title, "ms", [our_value], [their_value]))
    return figures
