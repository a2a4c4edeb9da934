"""What becomes of figures: medians, targets, marks."""

import io

import pytest
from rich.console import Console

from bench.latency import percentile
from bench.report import Figure, Report
from bench.targets import TARGETS, Target


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        (Target(10.0), 10.0, True),
        (Target(10.0), 10.1, False),
        (Target(10.0, at_least=True), 10.0, True),
        (Target(10.0, at_least=True), 9.9, False),
    ],
)
def test_a_target_is_met_at_its_limit(target: Target, value: float, expected: bool) -> None:
    assert target.is_met_by(value) is expected


def test_the_median_of_all_rounds_counts() -> None:
    limit = TARGETS["cpu_per_transfer"].limit
    met = Figure("cpu_per_transfer", "part", "CPU", "ms CPU", (limit / 2, limit / 3, limit * 9))
    missed = Figure("cpu_per_transfer", "part", "CPU", "ms CPU", (limit * 2, limit * 3, 0.0))
    unknown = Figure("cpu_per_transfer", "part", "CPU", "ms CPU", (), "the server is elsewhere")
    assert (met.value, met.is_met) == (limit / 2, True)
    assert (missed.value, missed.is_met) == (limit * 2, False)
    assert (unknown.value, unknown.is_met) == (None, None)


def test_what_is_missed_is_said_twice() -> None:
    console = Console(file=io.StringIO(), width=200)
    report = Report({}, {})
    report.figures = [
        Figure("latency_at_20_p50", "latency", "a slow thing", "ms", (99.0,)),
        Figure("latency_at_20_p99", "latency", "a fast thing", "ms", (1.0,)),
        Figure("anything", "latency", "an unmeasurable thing", "ms", (), "for a reason"),
    ]
    report.print(console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said.count("a slow thing") == 2
    assert said.count("a fast thing") == 1
    assert "✗ missed" in said
    assert "for a reason" in said


@pytest.mark.parametrize(
    ("percent", "expected"), [(0.0, 1), (50.0, 50), (99.0, 99), (99.1, 100), (100.0, 100)]
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    percent: float, expected: float
) -> None:
    assert percentile(list(range(1, 101)), percent) == expected
