"""The locks: everything pinned, with hashes, from nowhere in particular."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")


def pins(lock: str) -> set[tuple[str, str]]:
    """Projects and versions (perhaps several, for different Pythons), if they have hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    pinned = re.findall(r"^([a-z0-9-]+)==(\S+)[^#\n]* --hash=sha256:", text, re.MULTILINE)
    return set(pinned)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_with_hashes(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    requirements = [line for line in lines if line and line[0].isalnum()]
    assert len(pins(lock)) == len(requirements) > 0


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_download_from(lock: str) -> None:
    assert not re.search(r"://|--index|--find-links|--extra| @ ", (ROOT / lock).read_text())


def test_development_runs_the_versions_of_production() -> None:
    assert pins("requirements.txt") <= pins("requirements-dev.txt")


@pytest.mark.parametrize(
    ("lock", "groups"), [("requirements.txt", []), ("requirements-dev.txt", ["embedded", "dev"])]
)
def test_every_dependency_is_in_the_lock(lock: str, groups: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(name for group in groups for name in optional[group])]
    names = {re.split(r"[ \[<>=]", dependency)[0].replace("_", "-") for dependency in wanted}
    assert names <= {name for name, _ in pins(lock)}
