"""Every migration says what it is, and stands on its own."""

import ast
import re
import shutil
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from swpt_accounts.store import schema

VERSIONS = sorted((schema.MIGRATIONS / "versions").glob("*.py"))
PLACEHOLDERS = re.compile(r"empty message|TODO|Remember: while")


def assigned(tree: ast.Module, name: str) -> object:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{name} is not assigned")


def test_numbers_have_no_gaps() -> None:
    numbers = [path.name[:4] for path in VERSIONS]
    assert numbers == [f"{number:04d}" for number in range(1, len(VERSIONS) + 1)]
    assert schema.newest_revision() == numbers[-1]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.name)
def test_a_file_bears_its_number_and_a_readable_name(path: Path) -> None:
    assert re.fullmatch(r"[0-9]{4}_[a-z0-9]+(_[a-z0-9]+)*\.py", path.name)
    tree = ast.parse(path.read_text())
    number = path.name[:4]
    assert assigned(tree, "revision") == number
    assert assigned(tree, "down_revision") == (
        None if number == "0001" else f"{int(number) - 1:04d}"
    )


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.name)
def test_a_file_is_titled_and_explained(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    title, _, explanation = docstring.partition("\n\n")
    assert 8 <= len(title) <= 80
    assert "\n" not in title
    assert len(explanation.split()) >= 15
    assert not PLACEHOLDERS.search(docstring)


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.name)
def test_a_file_does_not_import_what_may_change(path: Path) -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert imported <= {"alembic", "sqlalchemy"}


def test_a_new_migration_gets_the_next_number_and_the_reminder(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.upgrade(database)
    copy = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("POSTGRES_URL", database)

    command.revision(Config(copy / "alembic.ini"), message="Add a colour", autogenerate=True)

    [path] = (copy / "versions").glob("*_add_a_colour.py")
    number = f"{len(VERSIONS) + 1:04d}"
    assert path.name == f"{number}_add_a_colour.py"
    text = path.read_text()
    tree = ast.parse(text)
    assert assigned(tree, "revision") == number
    assert assigned(tree, "down_revision") == schema.newest_revision()
    assert "processes of the OLD version" in text
    upgrade = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert "op." not in ast.unparse(upgrade)  # the models are as the migrations made them
