"""What is written about settings agrees with their declarations."""

import re
import subprocess
from pathlib import Path

import pytest

from swpt_accounts.settings import Row, load, reference, unused_variables

ROOT = Path(__file__).resolve().parents[2]
DEVELOPMENT_ENV = ROOT / "development.env"
ASSIGNMENT = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
PASSED_ON = "GUNICORN_"


def assignments() -> list[tuple[bool, str, str]]:
    """Return what the file sets: whether that is commented out, the name, and the value."""
    found = ASSIGNMENT.findall(DEVELOPMENT_ENV.read_text())
    return [(bool(hidden), name, value) for hidden, name, value in found]


def sourced() -> dict[str, str]:
    """Return the environment that a shell has after reading the file."""
    command = f"set -a; . {DEVELOPMENT_ENV}; env"
    done = subprocess.run(
        ["sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == ""
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("row", reference(), ids=lambda row: row.name)
def test_development_env_has_every_setting_once(row: Row) -> None:
    assert [name for _, name, _ in assignments()].count(row.name) == 1


def test_development_env_has_no_unknown_setting() -> None:
    known = {row.name for row in reference()}
    names = {name for _, name, _ in assignments() if not name.startswith(PASSED_ON)}
    assert names <= known


def test_a_shell_reads_development_env_as_it_stands() -> None:
    environment = sourced()
    written = {name: value for hidden, name, value in assignments() if not hidden}
    assert {name: environment[name] for name in written} == written


def test_development_env_is_a_valid_environment_without_settings_that_have_no_effect() -> None:
    environment = sourced()
    settings = load(environment)
    assert settings.postgres_url
    assert settings.fetch_api_url == f"http://localhost:{settings.webserver_port}"
    assert unused_variables(environment) == []


def test_development_env_tells_the_default_of_what_it_comments_out() -> None:
    defaults = {row.name: row.default for row in reference() if row.default}
    hidden = {name: value for hidden, name, value in assignments() if hidden}
    assert {n: v for n, v in hidden.items() if n in defaults} == {
        n: v for n, v in defaults.items() if n in hidden
    }


@pytest.mark.parametrize(
    "row", [row for row in reference() if row.kind != "unused"], ids=lambda row: row.name
)
def test_development_env_explains_a_setting_as_its_declaration_does(row: Row) -> None:
    """Each stands in a paragraph of its own, below its meaning and its unit."""
    paragraphs = DEVELOPMENT_ENV.read_text().split("\n\n")
    [paragraph] = [p for p in paragraphs if re.search(rf"^#?{row.name}=", p, re.MULTILINE)]
    words = " ".join(paragraph.replace("\n# ", " ").removeprefix("# ").splitlines()[0].split())
    unit = f" In {row.unit}." if row.unit else ""
    assert words in {row.meaning, row.meaning + unit}


@pytest.mark.parametrize("row", reference(), ids=lambda row: row.name)
def test_every_setting_is_explained_in_a_sentence(row: Row) -> None:
    assert row.meaning.endswith(".")
    assert len(row.meaning) > 20
    assert row.allowed


def test_nobody_else_reads_the_environment() -> None:
    allowed = {"settings", "cli", "asgi.py"}
    readers = {
        path.relative_to(ROOT / "swpt_accounts").parts[0]
        for path in (ROOT / "swpt_accounts").rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    }
    assert readers <= allowed
