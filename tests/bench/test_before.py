"""script/bench --before COMMIT: the other commit's own code runs, and the ratio has an interval."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.before import interval

ROOT = Path(__file__).parents[2]
SECONDS = 600.0
SERVERS = {"POSTGRES_URL", "PROTOCOL_BROKER_URL", "CHORES_BROKER_URL"}
NOTHING = "0" * 40

in_a_repository = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="this is a copy without its history"
)


def bench(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """On servers of its own, as when a person types it."""
    own = {name: value for name, value in os.environ.items() if name not in SERVERS}
    folders = ["--folder", folder / "data", "--results", folder / "results"]
    return subprocess.run(
        [ROOT / "script" / "bench", *arguments, *folders],
        env={**own, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([], None),
        ([1.0], None),
        ([1.1, 1.1, 1.1], (1.1, 1.1, 1.1)),
        ([0.5, 2.0], (0.0, 1.0, 6681.7)),
        ([0.9, 1.0, 1.1, 1.0, 0.95, 1.05, 1.0, 1.0], (0.9496, 0.9984, 1.0498)),
    ],
)
def test_the_interval_is_that_of_the_mean_logarithm(
    ratios: Sequence[float], expected: tuple[float, float, float] | None
) -> None:
    found = interval(ratios)
    assert (
        (found is None)
        if expected is None
        else found == pytest.approx(expected, rel=1e-3, abs=1e-3)
    )


def test_more_rounds_than_the_table_has_are_judged_by_its_last_row() -> None:
    ratios = [0.9, 1.1] * 50
    found = interval(ratios)
    assert found is not None
    lowest, mean, highest = found
    assert 0.97 < lowest < mean < highest < 1.02


@in_a_repository
def test_a_commit_that_is_not_here_is_refused(tmp_path: Path) -> None:
    done = bench(tmp_path, "--quick", "--before", NOTHING)
    assert done.returncode == 1
    assert f"--before {NOTHING}: this repository has no such commit." in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.long(group="benchmark")
@pytest.mark.timeout(SECONDS + 60)
@in_a_repository
def test_both_commits_take_turns(tmp_path: Path) -> None:
    head = git("rev-parse", "--short", "HEAD")
    done = bench(tmp_path, "--quick", "--before", "HEAD")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        f"✓ Draining transfers, round 1 of 2: before, {head}",
        "✓ Draining transfers, round 2 of 2: now",
        "CPU per whole transfer, by that before: all",
        "…: own processes",
        "95 % interval",
    ):
        assert words in done.stdout
    assert "hot recipient" not in done.stdout  # No other part was named.


@pytest.mark.long(group="benchmark")
@pytest.mark.timeout(SECONDS + 60)
@in_a_repository
def test_the_code_of_the_commit_runs_and_not_the_present_one(tmp_path: Path) -> None:
    """A commit that this repository never sees: its objects go to a folder of their own."""
    (tmp_path / "objects").mkdir()
    repository = {
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": git("rev-parse", "--git-path", "objects"),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
    }
    broken = git("hash-object", "-w", "--stdin", given="raise SystemExit(77)\n", **repository)
    git("read-tree", "HEAD", **repository)
    entry = f"100644,{broken},swpt_accounts/cli/__init__.py"
    git("update-index", "--cacheinfo", entry, **repository)
    who = {
        f"GIT_{role}_{what}": "test"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    commit = git(
        "commit-tree", git("write-tree", **repository), "-m", "broken", **repository, **who
    )
    done = bench(tmp_path, "--quick", "--before", commit, **repository)
    assert done.returncode == 1
    assert "configure ended with code 77" in done.stdout


def git(*words: str, given: str = "", **environment: str) -> str:
    return subprocess.run(
        ["git", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        input=given,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
