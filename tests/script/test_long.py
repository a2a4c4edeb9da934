"""Long tests run when their group is named, and at no other time."""

import subprocess
import sys
from pathlib import Path

import pytest

from steps.long import GROUPS

ROOT = Path(__file__).resolve().parents[2]
A_LONG_TEST = "tests/script/test_newer_rabbitmq.py::test_it_is_version_4_and_nothing_stays_mounted"
NO_TESTS = 5  # The codes with which pytest ends.
WRONG_USAGE = 4


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def collect(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pytest", "--collect-only", "--quiet", *arguments)


def test_the_groups_are_listed_with_what_they_show_and_how_long_it_takes() -> None:
    done = run(ROOT / "script" / "test", "--long")
    assert done.returncode == 0
    for name, group in GROUPS.items():
        assert f"{name}: {group.title} (about {group.minutes} minutes)\n" in done.stdout


def test_an_unknown_group_is_refused_with_those_that_are_known() -> None:
    done = run(ROOT / "script" / "test", "--long", "everything")
    assert done.returncode == 2
    assert (
        f"'everything' is no group of long tests. The groups: {', '.join(GROUPS)}." in done.stdout
    )


def test_no_group_takes_longer_than_a_quarter_of_an_hour() -> None:
    assert all(group.minutes < 15 for group in GROUPS.values())


def test_a_long_test_does_not_run_with_the_others() -> None:
    assert collect(A_LONG_TEST).returncode == NO_TESTS


@pytest.mark.parametrize(("group", "code"), [("rabbitmq-4", 0), ("benchmark", NO_TESTS)])
def test_a_long_test_runs_in_its_group_only(group: str, code: int) -> None:
    assert collect(A_LONG_TEST, "-m", GROUPS[group].selection(group)).returncode == code


@pytest.mark.parametrize("mark", ["long", "long('benchmark')", "long(group='nothing')"])
def test_a_mark_without_a_known_group_is_refused(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "test_marked.py"
    file.write_text(f"import pytest\n\n@pytest.mark.{mark}\ndef test_it(): pass\n")
    configuration = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    done = collect(*configuration, "-p", "tests.conftest", file)
    assert done.returncode == WRONG_USAGE
    assert "write pytest.mark.long(group=NAME)" in done.stderr
    assert ", ".join(GROUPS) in done.stderr
