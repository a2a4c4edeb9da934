"""Commands of the deployment contract that this version does not have yet."""

from typing import Final, NoReturn

import click

from swpt_accounts.cli.start import NOT_IN_THIS_VERSION

_NAMES: Final = ("verify_shard_content",)


def refuse(what: str) -> NoReturn:
    """Say that something is not there yet, and exit."""
    click.echo(f"swpt_accounts: {what} is not part of this version.", err=True)
    raise SystemExit(NOT_IN_THIS_VERSION)


def _later_command(name: str) -> click.Command:
    # Its options are not known yet, so that any are let through.
    @click.command(
        name,
        help="Not part of this version.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def later() -> None:
        refuse(name)

    return later


LATER_COMMANDS: Final = [_later_command(name) for name in _NAMES]
