"""What has been released stands in CHANGELOG.md, in tests/releases.txt, and in the history."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import swpt_accounts

ROOT = Path(__file__).resolve().parents[2]
RELEASES = [line.split() for line in (ROOT / "tests" / "releases.txt").read_text().splitlines()]
"""Version and commit, oldest first."""
HEADINGS: list[tuple[str, str]] = re.findall(
    r"^## (\S+)( \(unreleased\))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
)
"""Version and whether it is still to come, newest first."""


def git(*words: str) -> str:
    command = ["git", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_this_is_the_newest_version_of_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert HEADINGS[0][0] == project["version"] == swpt_accounts.__version__


def test_only_the_newest_version_may_be_unreleased() -> None:
    assert [version for version, mark in HEADINGS[1:] if mark] == []


def test_each_release_of_the_changelog_has_a_commit() -> None:
    released = [version for version, mark in reversed(HEADINGS) if not mark]
    # The commit that makes a release cannot name itself; the next one does.
    versions = [version for version, _ in RELEASES]
    assert versions in (released, released[:-1])


@pytest.mark.parametrize(("version", "commit"), RELEASES)
def test_the_commit_of_a_release_says_its_version(version: str, commit: str) -> None:
    if not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("this is a copy without its whole history")
    git("merge-base", "--is-ancestor", commit, "HEAD")
    project = tomllib.loads(git("show", f"{commit}:pyproject.toml"))["project"]
    assert project["version"] == version
