"""The command `swpt_accounts`: parse, ask wiring, return a named exit code.

What is slow to import is imported by the commands that need it, so that
`--help` and usage errors come at once.
"""

import click

import swpt_accounts
from swpt_accounts.cli.consuming import (
    consume_chore_messages,
    consume_messages,
    process_balance_changes,
    process_finalization_requests,
    process_transfer_requests,
)
from swpt_accounts.cli.dead_letters import dead_letters
from swpt_accounts.cli.flushing import FLUSH_COMMANDS
from swpt_accounts.cli.later import LATER_COMMANDS
from swpt_accounts.cli.node import all_programs
from swpt_accounts.cli.preparing import (
    await_migrations,
    configure,
    delete_queue,
    subscribe,
    unsubscribe,
)
from swpt_accounts.cli.scanning import SCAN_COMMANDS
from swpt_accounts.cli.settings_table import settings_command
from swpt_accounts.cli.waiting import parked_messages, waiting_messages


@click.group(context_settings={"max_content_width": 100})
@click.version_option(swpt_accounts.__version__)
def main() -> None:
    """A Swaptacular accounting authority.

    Settings come from the environment; `swpt_accounts settings` lists them.
    """


for _command in (
    configure,
    await_migrations,
    all_programs,
    consume_messages,
    *FLUSH_COMMANDS,
    consume_chore_messages,
    *SCAN_COMMANDS,
    dead_letters,
    parked_messages,
    waiting_messages,
    subscribe,
    unsubscribe,
    delete_queue,
    settings_command,
    process_balance_changes,
    process_transfer_requests,
    process_finalization_requests,
    *LATER_COMMANDS,
):
    main.add_command(_command)
