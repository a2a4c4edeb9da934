"""Commands that look for what time alone has made due."""

from datetime import timedelta
from typing import Final

import click

from swpt_accounts.cli.start import (
    WORK_ENDED,
    begin,
    exit_when_server_is_lost,
    read_as_setting,
)
from swpt_accounts.settings.readers import number
from swpt_accounts.settings.variables import DAYS_MAX, SCAN_HOURS_MAX


def _scan_command(
    name: str, *, unit: str, unit_length: timedelta, at_most: float, setting: str, meaning: str
) -> click.Command:
    """Make the command for a scan; `setting` tells in the given unit how long a pass takes."""

    @click.command(name, help=meaning)
    @click.option(
        f"-{unit[0]}",
        f"--{unit}",
        "pass_length",
        callback=read_as_setting(number(unit, at_most=at_most)),
        metavar=unit.upper(),
        help=f"How long one pass over all rows may take. [default: {setting}]",
    )
    @click.option("--quit-early", is_flag=True, help="Exit when all has been looked at once.")
    def scan(pass_length: str | None, quit_early: bool) -> None:
        settings = begin()
        length = float(pass_length or getattr(settings, setting.lower()))
        from swpt_accounts import wiring

        with exit_when_server_is_lost(settings):
            wiring.scan(settings, name, pass_duration=length * unit_length, quit_early=quit_early)
        raise SystemExit(WORK_ENDED)

    return scan


SCAN_COMMANDS: Final = [
    _scan_command(
        "scan_accounts",
        unit="hours",
        unit_length=timedelta(hours=1),
        at_most=SCAN_HOURS_MAX,
        setting="APP_ACCOUNTS_SCAN_HOURS",
        meaning="Find out what is due on accounts, until signalled. Always exits with 1. Sends"
        " chores, which `consume_chore_messages` does. There can be only one such scan for a"
        " database; a second one waits.",
    ),
    _scan_command(
        "scan_prepared_transfers",
        unit="days",
        unit_length=timedelta(days=1),
        at_most=DAYS_MAX,
        setting="APP_PREPARED_TRANSFERS_SCAN_DAYS",
        meaning="Find out which coordinators to remind of transfers, until signalled. Always exits"
        " with 1. There can be only one such scan for a database; a second one waits.",
    ),
    _scan_command(
        "scan_registered_balance_changes",
        unit="days",
        unit_length=timedelta(days=1),
        at_most=DAYS_MAX,
        setting="APP_REGISTERED_BALANCE_CHANGES_SCAN_DAYS",
        meaning="Forget balance changes that were committed before"
        " REMOVE_FROM_ARCHIVE_THRESHOLD_DATE, until signalled. Always exits with 1. There can be"
        " only one such scan for a database; a second one waits.",
    ),
]
