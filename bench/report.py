"""Figures as a table with their targets, and as JSON."""

import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import description
from bench.plots import draw
from bench.targets import TARGETS, Target
from steps.environment import ROOT

_DECIMALS = {"/s": 0, "ms": 1, "ms CPU": 3, "MB": 0, "bytes": 0, "×": 2, "%": 0}
_SMALL_RATIO = 0.1
_DASH = "–"


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, once in each round."""

    key: str
    part: str
    title: str
    unit: str
    values: tuple[float, ...]
    """Empty when it could not be measured; `remark` says why."""
    remark: str = ""

    @property
    def value(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def target(self) -> Target | None:
        return TARGETS.get(self.key)

    @property
    def is_met(self) -> bool | None:
        if self.target is None or self.value is None:
            return None
        return self.target.is_met_by(self.value)


@dataclass
class Report:
    """What all parts of a run have found."""

    options: dict[str, Any]
    software: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    """Raw results by part, for the JSON only."""

    def print(self, console: Console) -> None:
        console.print(self._table())
        console.print(self._verdict())

    def write(self, folder: Path) -> Path:
        """Makes a folder, named by the moment, of a JSON file and plots; returns its path."""
        now = datetime.now(UTC)
        results = folder / f"{now:%Y-%m-%d-%H%M%S}"
        results.mkdir(parents=True)
        text = json.dumps(self._document(now), indent=1, default=str)
        (results / "report.json").write_text(f"{text}\n")
        draw(json.loads(text), results)
        return results

    def _document(self, now: datetime) -> dict[str, Any]:
        return {
            "measured_at": now.isoformat(timespec="seconds"),
            "options": self.options,
            "software": self.software,
            "machine": description(),
            "figures": {figure.key: _as_json(figure) for figure in self.figures},
            "details": self.details,
        }

    def _table(self) -> Table:
        table = Table(title_style="bold", title_justify="left")
        table.add_column("what")
        for name in ("measured", "lowest – highest", "target", "goal"):
            table.add_column(name, justify="right")
        table.add_column("")
        part = ""
        for figure in self.figures:
            if part and figure.part != part:
                table.add_section()
            part = figure.part
            table.add_row(*_row(figure))
        return table

    def _verdict(self) -> str:
        missed = [figure.title for figure in self.figures if figure.is_met is False]
        if not missed:
            return "\nOf the targets that were measured, none is missed."
        return "\n".join([f"\n[bold red]Missed: {len(missed)}[/]", *(f"  {m}" for m in missed)])


def software_versions(postgres_version: int, broker_version: str) -> dict[str, str]:
    """What was measured, and on which servers."""
    described = subprocess.run(
        ["/usr/bin/env", "git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    major, minor = divmod(postgres_version, 10_000)
    return {
        "revision": described.stdout.strip(),
        "postgresql": f"{major}.{minor}",
        "rabbitmq": broker_version,
    }


def show(value: float, unit: str) -> str:
    return f"{value:,.{_decimals(value, unit)}f} {unit}"


def _decimals(value: float, unit: str) -> int:
    is_small = unit == "×" and value < _SMALL_RATIO
    return _DECIMALS[unit] + is_small


def _row(figure: Figure) -> Sequence[str]:
    unit, target = figure.unit, figure.target
    measured = _DASH if figure.value is None else show(figure.value, unit)
    spread = ""
    if len(figure.values) > 1:
        lowest, highest = min(figure.values), max(figure.values)
        decimals = _decimals(lowest, unit)
        spread = f"{lowest:,.{decimals}f} {_DASH} {highest:,.{decimals}f}"
    limit = goal = ""
    if target is not None:
        sign = "≥" if target.at_least else "≤"
        limit = f"{sign} {show(target.limit, unit)}"
        goal = "" if target.goal is None else f"{sign} {show(target.goal, unit)}"
    marks = {None: "", True: "[green]✓[/]", False: "[bold red]✗ missed[/]"}
    remark = figure.remark or ("" if target is None else target.remark)
    words = " ".join(filter(None, [marks[figure.is_met], remark and f"[dim]{remark}[/]"]))
    return figure.title, measured, spread, limit, goal, words


def _as_json(figure: Figure) -> dict[str, Any]:
    target = figure.target
    return {
        "title": figure.title,
        "part": figure.part,
        "unit": figure.unit,
        "value": figure.value,
        "rounds": figure.values,
        "remark": figure.remark,
        "target": None if target is None else asdict(target),
        "is_met": figure.is_met,
    }
