"""script/bench --quick, as a person types it: shows that the benchmark works, and times nothing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 600.0
SERVERS = {"POSTGRES_URL", "PROTOCOL_BROKER_URL", "CHORES_BROKER_URL"}
PARTS = ("throughput", "floor", "sizes", "backlog", "latency", "fetch_api", "memory")
PICTURES = {"throughput", "cpu", "latency", "sizes", "memory"}
BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<?xml"}


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """On servers of its own, as when a person types it."""
    return subprocess.run(
        [ROOT / "script" / "bench", *arguments, "--folder", folder / "data"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in SERVERS},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a quick run says, and where its results are."""
    folder = tmp_path_factory.mktemp("bench")
    done = bench(folder, "--quick", "--results", str(folder / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    [results] = (folder / "results").iterdir()
    return done.stdout, results


@pytest.fixture(scope="module")
def report(quick: tuple[str, Path]) -> dict[str, Any]:
    _, results = quick
    read: dict[str, Any] = json.loads((results / "report.json").read_text())
    return read


@pytest.mark.long(group="benchmark")
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_figures(report: dict[str, Any], part: str) -> None:
    figures = [figure for figure in report["figures"].values() if figure["part"] == part]
    assert figures
    for figure in figures:
        assert figure["remark"] or figure["rounds"], figure
        # A short run may need less CPU than the system counts.
        assert all(value >= 0 for value in figure["rounds"]), figure


@pytest.mark.long(group="benchmark")
@pytest.mark.timeout(SECONDS + 60)
def test_the_table_has_targets_and_marks(quick: tuple[str, Path]) -> None:
    said, _ = quick
    for words in ("whole transfers", "target", "goal", "≤ 0.900 ms CPU", "≥ 1,500 /s", "✓"):
        assert words in said
    assert "not measured" in said  # Nothing was named to compare with.


@pytest.mark.long(group="benchmark")
@pytest.mark.timeout(SECONDS + 60)
def test_what_was_measured_is_drawn(quick: tuple[str, Path]) -> None:
    _, results = quick
    pictures = [file for file in results.iterdir() if file.suffix in BEGINNINGS]
    assert {file.stem for file in pictures} == PICTURES
    assert len(pictures) == len(BEGINNINGS) * len(PICTURES)
    for file in pictures:
        assert file.read_bytes().startswith(BEGINNINGS[file.suffix]), file


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nonsense"], "'nonsense' is none of throughput, floor"),
        (["--transfers", "0"], "must be a whole number of at least 1, not '0'"),
        (["--accounts", "many"], "must be a whole number of at least 3, not 'many'"),
    ],
)
def test_what_it_does_not_understand_it_refuses(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not (tmp_path / "data").exists()
