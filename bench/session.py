"""What the parts of a run share: a node that is ready, the peers, and what was found so far."""

from dataclasses import dataclass, field
from pathlib import Path

from bench.node import Node
from bench.peers import Peers
from bench.report import Figure, Report
from bench.transfers import UNIFORM, Scenario, TransferRun, Transfers, median_rate
from bench.workload import Currency
from steps.progress import Progress


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    parts: tuple[str, ...]
    is_quick: bool
    transfers_count: int
    accounts_count: int
    rounds_count: int
    against: str | None
    """The shell command that starts another accounting authority."""
    against_transfers_count: int
    before: str | None
    """The commit to be compared with."""
    folder: Path
    results: Path


@dataclass
class Session:
    options: Options
    node: Node
    peers: Peers
    transfers: Transfers
    progress: Progress
    report: Report
    uniform_runs: list[TransferRun] = field(default_factory=list)

    def add(self, *figures: Figure) -> None:
        self.report.figures += figures

    def transfer(
        self, scenario: Scenario, title: str, currency: Currency | None = None
    ) -> TransferRun:
        """Measures a scenario once more, between accounts of the currency, or between new ones."""
        count = self.options.transfers_count
        with self.progress.step(title) as step:
            run = self.transfers.run(scenario, count, step.say, currency)
            step.done(f"{title}: {run.rate:,.0f} whole transfers/s")
        if scenario is UNIFORM and currency is None:
            self.uniform_runs.append(run)
        return run

    def rate(self) -> float:
        """Whole transfers per second between uniform accounts, measured now if it was not yet."""
        if not self.uniform_runs:
            self.transfer(UNIFORM, f"Draining transfers: {UNIFORM.title}")
        return median_rate(self.uniform_runs)
