"""The part `sizes`: whether transfers take longer when there are many accounts."""

import statistics
from dataclasses import asdict

from bench.population import Population
from bench.report import Figure
from bench.session import Session
from bench.transfers import UNIFORM, TransferRun

_PART = "sizes"
_ACCOUNTS = (10_000, 1_000_000, 5_000_000)
_QUICK_ACCOUNTS = (100, 500, 1_000)


def measure(session: Session) -> None:
    """Ever more accounts of one currency; everybody pays everybody."""
    options, progress = session.options, session.progress
    population = Population(session.node)
    with progress.step("Opening accounts") as step:
        currency = session.transfers.new_currency(step.say)
    runs: dict[int, list[TransferRun]] = {}
    for count in _QUICK_ACCOUNTS if options.is_quick else _ACCOUNTS:
        with progress.step(f"Making {count:,} accounts") as step:
            currency = population.grow(currency, count, step.say)
        runs[count] = [
            session.transfer(
                UNIFORM,
                f"Draining transfers, {count:,} accounts, round {number} of {options.rounds_count}",
                currency,
            )
            for number in range(1, options.rounds_count + 1)
        ]
    fewest = min(runs)
    for count, of_count in runs.items():
        rates = tuple(run.rate for run in of_count)
        session.add(
            Figure(f"rate_{count}_accounts", _PART, f"with {count:,} accounts", "/s", rates)
        )
        if count != fewest:
            base = statistics.median(run.rate for run in runs[fewest])
            title = f"… by {fewest:,} accounts"
            ratios = tuple(rate / base for rate in rates)
            session.add(Figure(f"rate_ratio_{count}_accounts", _PART, title, "×", ratios))
    session.report.details[_PART] = {
        str(count): [{"rate": run.rate, **asdict(run)} for run in of_count]
        for count, of_count in runs.items()
    }
