"""`--before COMMIT`: what a whole transfer costs now, by what it cost at that commit."""

import math
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.node import Node
from bench.other_node import make_place
from bench.peers import Peers
from bench.report import Figure, show
from bench.session import Session
from bench.throughput import ALL, CPU_GROUPS, NOT_HERE
from bench.transfers import UNIFORM, TransferRun, Transfers
from bench.workload import Currency
from steps.environment import ROOT, Refusal

_PART = "before"
_GIT = ("/usr/bin/env", "git", "-C", str(ROOT))
_PINS = "requirements.txt"
# Student's t at 97.5 %, by degrees of freedom, of which there is one less than rounds.
# fmt: off
_STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)
# fmt: on


@dataclass(frozen=True)
class _Side:
    """One of the two commits, with accounts that it keeps from the first round to the last."""

    title: str
    transfers: Transfers
    currency: Currency
    runs: list[TransferRun] = field(default_factory=list)


def measure(session: Session, commit: str) -> None:
    """The commits take turns. Each goes first in every other round, so no drift favours one."""
    options = session.options
    with _before(session, commit) as before:
        with session.progress.step("Opening accounts, now") as step:
            now = _Side("now", session.transfers, session.transfers.new_currency(step.say))
        sides = [before, now]
        for number in range(1, options.rounds_count + 1):
            for side in sides:
                title = (
                    f"Draining transfers, round {number} of {options.rounds_count}: {side.title}"
                )
                with session.progress.step(title) as step:
                    count = options.transfers_count
                    run = side.transfers.run(UNIFORM, count, step.say, side.currency)
                    step.done(f"{title}: {run.cpu_milliseconds(*ALL) or 0:.3f} ms CPU for each")
                side.runs.append(run)
            sides.reverse()
    session.add(*_cpu_ratios(now.runs, before.runs), _rate_ratio(now.runs, before.runs))
    session.report.details[_PART] = {
        "commit": commit,
        "now": [asdict(run) for run in now.runs],
        "before": [asdict(run) for run in before.runs],
    }


@contextmanager
def _before(session: Session, commit: str) -> Iterator[_Side]:
    """The commit's node on the same servers, with its accounts open and its flusher running."""
    folder = session.options.folder / _PART
    with session.progress.step(f"Checking out {commit}"):
        checkout = _check_out(commit, folder / "checkout")
    if (checkout / _PINS).read_text() != (ROOT / _PINS).read_text():
        session.progress.line(f"{commit} has another {_PINS}; it runs with today's packages.")
    node = Node(make_place(session.node), folder / "node", checkout)
    with session.progress.step(f"Configuring {commit}"):
        node.configure()
    with Peers(node.broker_url) as peers, node.running("flush_all"):
        transfers = Transfers(node, peers, session.options.accounts_count)
        title = f"before, {commit}"
        with session.progress.step(f"Opening accounts, {title}") as step:
            currency = transfers.new_currency(step.say)
        yield _Side(title, transfers, currency)


def find_commit(name: str) -> str:
    """Its id, abbreviated. Raises Refusal if this repository has no such commit."""
    named = [*_GIT, "rev-parse", "--short", "--verify", "--end-of-options", f"{name}^{{commit}}"]
    found = subprocess.run(named, check=False, capture_output=True, text=True)
    if found.returncode != 0:
        raise Refusal(
            f"--before {name}: this repository has no such commit. A shallow clone lacks the older"
            " ones; git fetch --unshallow brings them."
        )
    return found.stdout.strip()


def _check_out(commit: str, folder: Path) -> Path:
    """The files of the commit, without its history."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / "archive.tar"
    subprocess.run([*_GIT, "archive", "--output", archive, commit], check=True)
    subprocess.run(["/usr/bin/env", "tar", "-xf", archive, "-C", folder], check=True)
    archive.unlink()
    return folder


def _cpu_ratios(now: Sequence[TransferRun], before: Sequence[TransferRun]) -> list[Figure]:
    figures: list[Figure] = []
    for suffix, words, groups in CPU_GROUPS:
        title = "…" if figures else "CPU per whole transfer, by that before"
        figures.append(
            _ratio(
                f"before_cpu_ratio{suffix}",
                f"{title}: {words}",
                "ms CPU",
                [run.cpu_milliseconds(*groups) for run in now],
                [run.cpu_milliseconds(*groups) for run in before],
            )
        )
    return figures


def _rate_ratio(now: Sequence[TransferRun], before: Sequence[TransferRun]) -> Figure:
    rates = ([run.rate for run in now], [run.rate for run in before])
    return _ratio("before_rate_ratio", "whole transfers, by those before", "/s", *rates)


def _ratio(
    key: str,
    title: str,
    unit: str,
    now: Sequence[float | None],
    before: Sequence[float | None],
) -> Figure:
    """Each round is compared with itself."""
    pairs = [(one, other) for one, other in zip(now, before, strict=True) if one and other]
    if not pairs:
        return Figure(key, _PART, title, "×", (), NOT_HERE)
    ratios = tuple(one / other for one, other in pairs)
    medians = [show(statistics.median(side), unit) for side in zip(*pairs, strict=True)]
    return Figure(key, _PART, title, "×", ratios, f"{in_words(ratios)}; {' by '.join(medians)}")


def in_words(ratios: Sequence[float]) -> str:
    """The mean of all rounds, and how far the truth may be from it."""
    found = interval(ratios)
    if found is None:
        return "one round, so no interval"
    lowest, mean, highest = found
    return f"mean {mean:.3f}, 95 % interval {lowest:.3f} to {highest:.3f}"


def interval(ratios: Sequence[float]) -> tuple[float, float, float] | None:
    """The ends of the 95 % interval of the geometric mean, with the mean between them.

    None when there are fewer than two ratios.
    """
    if len(ratios) < 2:
        return None
    logarithms = [math.log(ratio) for ratio in ratios]
    mean = statistics.mean(logarithms)
    freedom = min(len(ratios) - 1, len(_STUDENT_T))
    error = _STUDENT_T[freedom - 1] * statistics.stdev(logarithms) / math.sqrt(len(ratios))
    return math.exp(mean - error), math.exp(mean), math.exp(mean + error)
