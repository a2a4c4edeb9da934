"""Commands that look for what time alone has made due."""

from datetime import timedelta

import click

from swpt_accounts.cli.start import WORK_ENDED, begin, exit_when_server_is_lost
from swpt_accounts.settings.variables import DAYS_MAX, SCAN_HOURS_MAX

_quit_early_option = click.option(
    "--quit-early", is_flag=True, help="Exit when everything has been looked at once."
)


@click.command("scan_accounts")
@click.option(
    "-h",
    "--hours",
    type=click.FloatRange(0, SCAN_HOURS_MAX),
    help="How long one pass over all accounts may take. [default: APP_ACCOUNTS_SCAN_HOURS]",
)
@_quit_early_option
def scan_accounts(hours: float | None, quit_early: bool) -> None:
    """Find out what is due on accounts, until signalled. Always exits with 1.

    Sends chores, which `consume_chore_messages` does. There can be only one
    such scan for a database; a second one waits.
    """
    settings = begin()
    hours = settings.app_accounts_scan_hours if hours is None else hours
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        wiring.scan_accounts(settings, pass_duration=timedelta(hours=hours), quit_early=quit_early)
    raise SystemExit(WORK_ENDED)


@click.command("scan_prepared_transfers")
@click.option(
    "-d",
    "--days",
    type=click.FloatRange(0, DAYS_MAX),
    help="How long one pass over all prepared transfers may take."
    " [default: APP_PREPARED_TRANSFERS_SCAN_DAYS]",
)
@_quit_early_option
def scan_prepared_transfers(days: float | None, quit_early: bool) -> None:
    """Find out which coordinators to remind of transfers, until signalled. Always exits with 1."""
    settings = begin()
    days = settings.app_prepared_transfers_scan_days if days is None else days
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        wiring.scan_prepared_transfers(
            settings, pass_duration=timedelta(days=days), quit_early=quit_early
        )
    raise SystemExit(WORK_ENDED)


@click.command("scan_registered_balance_changes")
@click.option(
    "-d",
    "--days",
    type=click.FloatRange(0, DAYS_MAX),
    help="How long one pass over all registered balance changes may take."
    " [default: APP_REGISTERED_BALANCE_CHANGES_SCAN_DAYS]",
)
@_quit_early_option
def scan_registered_balance_changes(days: float | None, quit_early: bool) -> None:
    """Forget old balance changes, until signalled. Always exits with 1.

    Old are those that were committed before REMOVE_FROM_ARCHIVE_THRESHOLD_DATE.
    """
    settings = begin()
    days = settings.app_registered_balance_changes_scan_days if days is None else days
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        wiring.scan_registered_balance_changes(
            settings, pass_duration=timedelta(days=days), quit_early=quit_early
        )
    raise SystemExit(WORK_ENDED)
