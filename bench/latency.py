"""The part `latency`: how long whole transfers take while requests keep coming (open loop).

From the moment at which a PrepareTransfer was due to be sent, to the recipient's AccountTransfer.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.load import Load
from bench.load_program import COUNTED, COUNTING
from bench.machine import CpuMeter
from bench.open_loop import Moments, Order
from bench.peers import Failed
from bench.programs import Programs
from bench.report import Figure
from bench.session import Options, Session
from bench.transfers import Say
from bench.workload import Currency

_PART = "latency"
_SEED = 20_070_322
REGISTERED_PERIOD_SECONDS = 0.01
_WARM_UP_SECONDS, _COUNTED_SECONDS = 2.0, 15.0
_QUICK_WARM_UP_SECONDS, _QUICK_COUNTED_SECONDS = 0.5, 2.0
_QUICK_FEW = 10.0
_COUNTED_SECONDS_MAX = 60.0

_LIGHT_RATE = 20.0
PERCENTILES = (("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9))
_PERCENT_OF_MANY, _MANY = 99.9, 1000
_ENOUGH = 1.15 * _MANY
"""So many are expected, for at least as many as are needed to come by chance."""

_CURVE = (*range(100), *(99 + tenth / 10 for tenth in range(1, 10)), 99.95, 99.99, 100)


@dataclass(frozen=True)
class Demand:
    """How many transfers are asked for."""

    name: str
    """Part of the keys of figures."""
    title: str
    rate: float
    """Per second, on average."""


class LatencyRun:
    """What became of one demand. Only transfers that were due while they counted."""

    def __init__(
        self, demand: Demand, seconds: float, moments: Moments, cpu_seconds: Mapping[str, float]
    ) -> None:
        first = bisect_left(moments.due, 0.0)
        due = moments.due[first:]
        if not due:
            raise Failed(f"No transfer was due in {seconds:g} s {demand.title}.")
        self.demand = demand
        self.seconds = seconds
        self.due_rate = len(due) / seconds
        self.done_rate = sum(0 <= moment < seconds for moment in moments.done) / seconds
        # All these are in milliseconds, and sorted.
        self.lateness = _after(due, moments.sent[first:])
        self.until_prepared = _after(due, moments.prepared[first:])
        self.latencies = _after(due, moments.done[first:])
        # Per whole transfer, by group.
        done_count = max(self.done_rate * seconds, 1)
        self.cpu_milliseconds = {
            name: 1000 * used / done_count for name, used in cpu_seconds.items()
        }

    def has(self, percent: float) -> bool:
        """Whether there were transfers enough for this percentile to mean anything."""
        return percent < _PERCENT_OF_MANY or len(self.latencies) >= _MANY


def _after(due: Sequence[float], moments: Sequence[float]) -> list[float]:
    return sorted(1000 * (moment - begun) for begun, moment in zip(due, moments, strict=True))


def measure(session: Session) -> None:
    demands = demands_at(session.rate())
    with session.progress.step("Opening accounts, to measure latency") as step:
        currency = session.transfers.new_currency(step.say)
    node, peers = session.node, session.peers
    runs = []
    with node.running("consume_messages"):
        node.wait_until(peers.has_consumer, "A consumer", REGISTERED_PERIOD_SECONDS)
        for demand in demands:
            with session.progress.step(f"Measuring latency {demand.title}") as step:
                run = make_transfers(node, currency, demand, session.options, step.say)
                step.done(f"Latency {demand.title}: {_summary(run)}")
            runs.append(run)
    for run in runs:
        session.add(*figures(run))
    session.report.details[_PART] = [as_json(run) for run in runs]


def demands_at(rate: float) -> list[Demand]:
    """A light load, and parts of what can be done at most."""
    parts = (("5_percent", 5), ("25_percent", 25), ("half", 50), ("75_percent", 75))
    return [
        Demand("20", f"at {_LIGHT_RATE:g} transfers/s", _LIGHT_RATE),
        *(
            Demand(name, f"at {percent} % of throughput", rate * percent / 100)
            for name, percent in parts
        ),
    ]


def make_transfers(
    node: Programs, currency: Currency, demand: Demand, options: Options, say: Say
) -> LatencyRun:
    """Makes transfers for a while, and measures them. Consumers and flushers must run already."""
    order = _order(node, currency, demand, options)
    say("making the messages")
    with Load("bench.open_loop", order, options.folder / "load") as load:
        load.wait_for(COUNTING)
        meter = CpuMeter({**node.groups, **load.group})
        say("transfers are being made")
        load.wait_for(COUNTED)
        cpu_seconds = meter.seconds()
        say("waiting for the last transfers")
        moments = load.result(Moments)
    node.check()
    return LatencyRun(demand, order.counted_seconds, moments, cpu_seconds)


def figures(run: LatencyRun) -> list[Figure]:
    """The percentiles. A late program, or a node that is too slow, are remarked upon."""
    name, found = run.demand.name, run.latencies
    remark = (
        f"{run.due_rate:,.0f}/s due, {run.done_rate:,.0f}/s done,"
        f" sent {percentile(run.lateness, 99.0):.1f} ms late (p99)"
    )
    result: list[Figure] = []
    for suffix, percent in PERCENTILES:
        key = f"latency_at_{name}_{suffix}"
        title = f"latency {run.demand.title}, p{percent:g}"
        if not run.has(percent):
            few = f"needs {_MANY:,} transfers, these were {len(found):,}"
            result.append(Figure(key, _PART, title, "ms", (), few))
        else:
            values = (percentile(found, percent),)
            result.append(Figure(key, _PART, title, "ms", values, "" if result else remark))
    return result


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The least value that is not exceeded by so many percent of them."""
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank - 1, 0)]


def _order(node: Programs, currency: Currency, demand: Demand, options: Options) -> Order:
    if options.is_quick:
        warm_up_seconds = _QUICK_WARM_UP_SECONDS
        counted_seconds = max(_QUICK_COUNTED_SECONDS, _QUICK_FEW / demand.rate)
    else:
        enough_seconds = _ENOUGH / demand.rate
        counted_seconds = min(max(_COUNTED_SECONDS, enough_seconds), _COUNTED_SECONDS_MAX)
        warm_up_seconds = _WARM_UP_SECONDS
    return Order(
        broker_url=node.broker_url,
        debtor_id=currency.debtor_id,
        first_creditor_id=currency.creditor_ids.start,
        accounts_count=len(currency.creditor_ids),
        rate=demand.rate,
        seed=_SEED,
        warm_up_seconds=warm_up_seconds,
        counted_seconds=counted_seconds,
    )


def _summary(run: LatencyRun) -> str:
    found = run.latencies
    return f"p50 {percentile(found, 50):,.1f} ms, p99 {percentile(found, 99):,.1f} ms"


def as_json(run: LatencyRun) -> dict[str, object]:
    return {
        "name": run.demand.name,
        "title": run.demand.title,
        "wanted_rate": run.demand.rate,
        "offered_rate": run.due_rate,
        "done_rate": run.done_rate,
        "seconds": run.seconds,
        "transfers_count": len(run.latencies),
        "quantiles": _curve(run.latencies),
        "prepared_quantiles": _curve(run.until_prepared),
        "lateness_quantiles": _curve(run.lateness),
        "cpu_milliseconds_per_transfer": run.cpu_milliseconds,
    }


def _curve(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """Pairs of percent and milliseconds."""
    return [(percent, round(percentile(ordered, percent), 3)) for percent in _CURVE]
