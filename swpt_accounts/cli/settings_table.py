"""The command that lists the settings, and checks those of the present environment."""

import shutil
import sys
import textwrap
from typing import Final

import click

from swpt_accounts.cli.start import DONE, begin
from swpt_accounts.settings import Row, reference

_TITLES: Final = {
    "public": "PUBLIC: what a deployment sets",
    "internal": "INTERNAL: may be set, but rarely needs to be",
    "unused": "WITHOUT EFFECT: accepted, because deployments set it",
}
_WIDTH_MIN: Final = 60
_WIDTH_MAX: Final = 110


@click.command("settings")
@click.option("--check", is_flag=True, help="Check the present environment instead.")
def settings_command(check: bool) -> None:
    """List every environment variable: type, default, meaning.

    With --check, exit with 0 if the present environment has what a node needs,
    otherwise list all that is wrong and exit with 1.
    """
    if check:
        begin()
        click.echo("The settings are all right.")
    else:
        width = min(max(shutil.get_terminal_size((100, 0)).columns, _WIDTH_MIN), _WIDTH_MAX)
        click.echo(table(reference(), width))
    sys.exit(DONE)


def table(rows: list[Row], width: int) -> str:
    """Return the rows as text: a name with its type and default, then the meaning below."""
    lines: list[str] = []
    for kind, title in _TITLES.items():
        lines += [title, "=" * len(title), ""]
        for row in (row for row in rows if row.kind == kind):
            lines += _entry(row, width)
    return "\n".join(lines)


def _entry(row: Row, width: int) -> list[str]:
    unit = f" of {row.unit}" if row.unit else ""
    default = f"default {row.default}" if row.default else "no default"
    return [
        f"{row.name}  ({row.type_name}{unit}, {default})",
        *(
            textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    ")
            for text in (row.meaning, f"Allowed: {row.allowed}.")
        ),
        "",
    ]
