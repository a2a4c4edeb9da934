"""The README and ARCHITECTURE.md name what there is, all of it, and nothing else."""

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from swpt_accounts.cli import main
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from swpt_accounts.settings import Row, reference
from swpt_accounts.wiring import parts

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
PROTOCOL = (ROOT / "protocol.rst").read_text()
INCOMING = ("ConfigureAccount", "PrepareTransfer", "FinalizeTransfer", "PendingBalanceChange")
MARKDOWN_LINK = re.compile(r"\]\(([^)#]+)\)")
CHORES = {chore.__name__: chore for chore in get_args(Chore)}
PATH_IN_TABLE = re.compile(r"`((?:ledger|protocol|tests)/[\w/]+(?:\.py|/))`")


@pytest.mark.parametrize(
    "setting", [row for row in reference() if row.kind == "public"], ids=lambda row: row.name
)
def test_every_public_setting_is_in_the_readme_as_it_is_declared(setting: Row) -> None:
    default = f"`{setting.default}`" if setting.default else ""
    assert f"| `{setting.name}` | {default} | {setting.meaning}" in README


def test_the_readme_has_no_other_settings() -> None:
    named = set(re.findall(r"^\| `([A-Z][A-Z_]+)`", README, re.MULTILINE))
    assert named == {row.name for row in reference() if row.kind == "public"}


@pytest.mark.parametrize("command", [*main.commands, "webserver"])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`{command}`" in README.partition("## Commands")[2].partition("## Settings")[0]


@pytest.mark.parametrize("message_type", sorted({*INCOMING, *MESSAGE_TYPES, *CHORES}))
def test_every_message_type_has_its_row_in_the_map(message_type: str) -> None:
    rows = re.findall(rf"^\| {message_type} \|.*$", ARCHITECTURE, re.MULTILINE)
    assert len(rows) == 1
    paths = PATH_IN_TABLE.findall(rows[0])
    assert paths
    for path in paths:
        home = ROOT if path.startswith("tests/") else ROOT / "swpt_accounts"
        assert (home / path).exists(), path


@pytest.mark.parametrize("name", CHORES)
def test_every_chore_is_specified_with_its_fields(name: str) -> None:
    section = PROTOCOL.partition("\nChores\n------\n")[2].partition("\nFetch API\n")[0]
    table = section.partition("Chore  ")[2].partition("\nEach has")[0]
    [_, entry] = re.split(rf"^``{name}``", table, flags=re.MULTILINE)
    entry = re.split(r"^``\w+``", entry, flags=re.MULTILINE)[0]
    fields = set(CHORES[name].__struct_fields__) - {"debtor_id", "creditor_id"}
    assert set(re.findall(r"``(\w+)``", entry)) == fields


def test_the_specification_names_every_delay_that_an_operator_can_choose() -> None:
    table = PROTOCOL.partition("\nDelays\n------\n")[2].partition("\nIncoming messages\n")[0]
    named = set(re.findall(r"^``([A-Z_]+)``", table, re.MULTILINE))
    assert named <= {row.name for row in reference()}
    read_by_rules = re.findall(r"settings\.(\w+)", inspect.getsource(parts))
    delays = {n.upper() for n in read_by_rules if n.startswith("app_") and "fetch" not in n}
    assert delays <= named


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = MARKDOWN_LINK.findall((ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert missing == []
