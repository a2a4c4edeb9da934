"""Commands that send what the outbox holds."""

import logging
from typing import Final

import click

from swpt_accounts.cli.signals import hold_signals, idle_until_signalled
from swpt_accounts.cli.start import (
    WORK_ENDED,
    begin,
    exit_when_server_is_lost,
    read_as_setting,
)
from swpt_accounts.settings.readers import number
from swpt_accounts.settings.variables import PROCESSES_MAX, SECONDS_MAX

logger = logging.getLogger(__name__)

MESSAGE_TYPES: Final = {
    "flush_all": None,
    "flush_rejected_configs": ("RejectedConfig",),
    "flush_rejected_transfers": ("RejectedTransfer",),
    "flush_prepared_transfers": ("PreparedTransfer",),
    "flush_finalized_transfers": ("FinalizedTransfer",),
    "flush_account_updates": ("AccountUpdate",),
    "flush_account_purges": ("AccountPurge",),
    "flush_account_transfers": ("AccountTransfer",),
    "flush_pending_balance_changes": ("PendingBalanceChange",),
}
"""What each command sends; None stands for all message types."""

_OPTIONS: Final = (
    click.option(
        "-p",
        "--processes",
        type=click.IntRange(0, PROCESSES_MAX),
        help="Processes that send; with 0, idle until signalled. [default: FLUSH_PROCESSES]",
    ),
    click.option(
        "-w",
        "--wait",
        callback=read_as_setting(number("seconds", at_most=SECONDS_MAX)),
        metavar="SECONDS",
        help="How often to look at an outbox that nobody tells about. [default: FLUSH_PERIOD]",
    ),
    click.option("--quit-early", is_flag=True, help="Exit when nothing is left to send."),
)


def _flush_command(name: str, message_types: tuple[str, ...] | None) -> click.Command:
    def flush(processes: int | None, wait: str | None, quit_early: bool) -> None:
        settings = begin()
        if processes is None:
            processes = settings.flush_processes
        if processes == 0:
            hold_signals()
            logger.info("the number of processes is 0: idling until signalled")
            idle_until_signalled()
            raise SystemExit(WORK_ENDED)
        from swpt_accounts import wiring

        with exit_when_server_is_lost(settings):
            wiring.flush(
                settings,
                message_types=message_types,
                processes=processes,
                wait_seconds=settings.flush_period if wait is None else float(wait),
                quit_early=quit_early,
            )
        raise SystemExit(WORK_ENDED)

    for option in reversed(_OPTIONS):
        option(flush)
    what = "all outgoing messages" if message_types is None else f"{message_types[0]} messages"
    return click.command(name, help=f"Send {what}, until signalled. Always exits with 1.")(flush)


FLUSH_COMMANDS: Final = [_flush_command(name, types) for name, types in MESSAGE_TYPES.items()]
