"""The house stays tidy: a pure core, small files, no dead modules, nothing half done."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from swpt_accounts.store.models import db

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "swpt_accounts"

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60

# What the core may import. Clocks, randomness, the environment, logging,
# files and sockets are not here, and must not come in by another name.
PURE = {
    "base64",
    "collections",
    "collections.abc",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "itertools",
    "json",
    "math",
    "msgspec",
    "operator",
    "re",
    "struct",
    "types",
    "typing",
}
PURE_IN_ONE_MODULE = {"swpt_accounts.ledger.root_config": {"marshmallow"}}
INNER_RINGS = {
    "swpt_accounts.ledger": ["swpt_accounts.ledger"],
    "swpt_accounts.protocol": ["swpt_accounts.ledger", "swpt_accounts.protocol"],
}
IMPURE_CALLS = {"now", "utcnow", "today", "time", "open", "print", "input", "eval", "exec"} | {
    "__import__",
    "breakpoint",
    "getenv",
    "urandom",
}

VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}

# Put together here, so that this file has none of them.
MARKERS = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK", "WI" + "P"]) + r")\b"
    r"|^(<{7}|={7}|>{7})( |$)",
    re.MULTILINE,
)
TEXT_SUFFIXES = {".cfg", ".conf", ".env", ".ini", ".mako", ".md", ".py", ".rst", ".sh", ".toml"} | {
    ".yml",
    ".yaml",
}
NOT_OURS = {"var", "dist", "build", "__pycache__"}
MARKERS_ALLOWED = {
    "migrations/script.py.mako": "a template, to be filled in",
    "tests/migrations/test_versions.py": "looks for templates that were not filled in",
    "protocol.rst": "underlines its titles with equals signs",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute names that a file imports, wherever in it; `from a import b` is `a.b`."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def in_rings(*rings: str) -> list[Any]:
    return [
        pytest.param(name, path, id=name)
        for name, path in MODULES.items()
        if name.startswith(rings)
    ]


# -- the core -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "path"), in_rings(*INNER_RINGS))
def test_the_core_imports_only_what_is_pure(name: str, path: Path) -> None:
    ring = ".".join(name.split(".")[:2])
    allowed = PURE | PURE_IN_ONE_MODULE.get(name, set()) | set(INNER_RINGS[ring])
    for imported in imports(path):
        assert any(imported == pure or imported.startswith(f"{pure}.") for pure in allowed), (
            f"{name} imports {imported}: {ring} may only import {', '.join(sorted(allowed))}"
        )


@pytest.mark.parametrize(("name", "path"), in_rings(*INNER_RINGS))
def test_the_core_asks_no_clock_and_touches_nothing_outside(name: str, path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
            assert called not in IMPURE_CALLS, f"{name}:{node.lineno} calls {called}()"


def test_the_core_is_where_it_is_looked_for() -> None:
    for ring in INNER_RINGS:
        assert len(in_rings(ring)) > 3


# -- sizes and names ------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_a_file_fits_in_the_head(name: str) -> None:
    lines = len(MODULES[name].read_text().splitlines())
    assert lines <= FILE_LINES_MAX, f"{name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_a_function_fits_on_a_screen(name: str) -> None:
    for node in ast.walk(parsed(MODULES[name])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{name}.{node.name} has {lines} lines"


def test_names_of_files_say_something() -> None:
    for folder in ("swpt_accounts", "tests", "script", "migrations", "bench", "docker"):
        for path in (ROOT / folder).rglob("*"):
            words = set(re.split(r"[_.\-]", path.name.lower()))
            assert not words & VAGUE_NAMES, f"{path.relative_to(ROOT)} could be anything"


# -- nothing dead, nothing half done -----------------------------------------------------


def entry_points() -> set[str]:
    """Return the modules that are named outside of the package as programs."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
    served = (ROOT / "docker" / "entrypoint.sh").read_text()
    return set(re.findall(r"\b(swpt_accounts[\w.]*):\w", "\n".join([*scripts, served])))


def test_every_module_is_reached_from_an_entry_point() -> None:
    outside = [*(ROOT / "docker").glob("*.py"), *(ROOT / "migrations").rglob("*.py")]
    reached: set[str] = set()
    found = entry_points() | {name for path in outside for name in imports(path)}
    while found:
        name = found.pop()
        # `from a.b import c` reaches a, a.b, and a.b.c, as far as these are modules.
        parts = name.split(".")
        for prefix in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
            if prefix in MODULES and prefix not in reached:
                reached.add(prefix)
                found.update(imports(MODULES[prefix]))
    assert sorted(MODULES.keys() - reached) == [], "nobody needs these modules"


def text_files() -> Iterator[Path]:
    for path in ROOT.iterdir():
        if path.name.startswith(".") or path.name in NOT_OURS:
            continue
        for file in path.rglob("*") if path.is_dir() else [path]:
            place = file.relative_to(ROOT)
            is_text = file.suffix in TEXT_SUFFIXES or place.parts[0] == "script"
            if file.is_file() and is_text and not NOT_OURS & set(place.parts):
                yield place


def test_nothing_is_left_to_do_and_no_conflict_is_left() -> None:
    for place in text_files():
        if str(place) not in MARKERS_ALLOWED:
            found = MARKERS.search((ROOT / place).read_text())
            assert not found, f"{place} has {found[0]!r}"


# -- tables -----------------------------------------------------------------------------


TABLES = db.metadata.tables


def test_every_table_has_an_owner_that_is_known() -> None:
    """Whoever adds a table has to say on its model whose its rows are."""
    for name, table in TABLES.items():
        assert "owner" in table.info, f"{name}: declare the owner of its rows on its model"
        for column in table.info["owner"] or ():
            assert isinstance(table.columns[column].type, sa.BigInteger)
            assert not table.columns[column].nullable
        if table.info["unless"] is not None:
            assert isinstance(table.columns[table.info["unless"]].type, sa.Boolean)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_says_what_it_is_for(table: str) -> None:
    assert TABLES[table].comment


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_used_by_a_statement(table: str) -> None:
    pattern = re.compile(rf"\b(FROM|INTO|UPDATE|COPY|ONLY|JOIN)\s+{table}\b")
    users = [
        name
        for name, path in MODULES.items()
        if name.startswith("swpt_accounts.store.") and pattern.search(path.read_text())
    ]
    assert users, f"no statement of the store mentions {table}"
