"""Commands that take messages from queues."""

import logging
from collections.abc import Callable
from typing import Any, Final, NoReturn

import click

from swpt_accounts.cli.later import refuse
from swpt_accounts.cli.signals import hold_signals, idle_until_signalled
from swpt_accounts.cli.start import (
    DONE,
    WORK_ENDED,
    begin,
    exit_when_server_is_lost,
    read_as_setting,
)
from swpt_accounts.settings import Settings, unused_variables
from swpt_accounts.settings.readers import amqp_url, queue_name
from swpt_accounts.settings.variables import PREFETCH_COUNT_MAX, PROCESSES_MAX

logger = logging.getLogger(__name__)


_UNUSED_OPTIONS: Final = (
    click.option("-t", "--threads", type=int, help="Accepted, but has no effect."),
    click.option("-s", "--prefetch-size", type=int, help="Accepted, but has no effect."),
)


def _consuming_options(prefix: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options that take the place of the variables with this prefix."""
    options = (
        click.option(
            "-u",
            "--url",
            callback=read_as_setting(amqp_url()),
            metavar="URL",
            help=f"The RabbitMQ server. [default: {prefix}_URL]",
        ),
        click.option(
            "-q",
            "--queue",
            callback=read_as_setting(queue_name()),
            metavar="NAME",
            help=f"The queue to consume from. [default: {prefix}_QUEUE]",
        ),
        click.option(
            "-p",
            "--processes",
            type=click.IntRange(0, PROCESSES_MAX),
            help=f"Processes that consume; 0 stands for the default. [default: {prefix}_PROCESSES]",
        ),
        click.option(
            "-c",
            "--prefetch-count",
            type=click.IntRange(0, PREFETCH_COUNT_MAX),
            help=f"The largest batch; 0 stands for the default. [default: {prefix}_PREFETCH_COUNT]",
        ),
        *_UNUSED_OPTIONS,
    )

    def add_options(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return add_options


@click.command("consume_messages")
@_consuming_options("PROTOCOL_BROKER")
@click.option("--draining-mode", is_flag=True, help="Not part of this version.")
def consume_messages(
    threads: int | None, prefetch_size: int | None, draining_mode: bool, **options: Any
) -> None:
    """Consume SMP messages and apply them, until signalled. Always exits with 1."""
    if draining_mode:
        refuse("consume_messages --draining-mode")
    settings = begin()
    _tell_what_has_no_effect(threads, prefetch_size)
    _tell_what_is_missing(settings)
    from swpt_accounts import wiring

    _consume(settings, "PROTOCOL_BROKER", wiring.consume_messages, **options)


@click.command("consume_chore_messages")
@_consuming_options("CHORES_BROKER")
def consume_chore_messages(threads: int | None, prefetch_size: int | None, **options: Any) -> None:
    """Consume chores and do what is due, until signalled. Always exits with 1.

    Chores are sent by the scans: interest payments, changes of interest rates,
    announcements, reminders, deletions.
    """
    del threads, prefetch_size
    settings = begin()
    from swpt_accounts import wiring

    _consume(settings, "CHORES_BROKER", wiring.consume_chores, **options)


def _consume(
    settings: Settings,
    prefix: str,
    consume: Callable[..., int],
    *,
    url: str | None,
    queue: str | None,
    processes: int | None,
    prefetch_count: int | None,
) -> NoReturn:
    """Consume, or idle if there are to be no processes; options take the place of settings."""

    def setting(name: str) -> Any:
        return getattr(settings, f"{prefix}_{name}".lower())

    # Here 0 has always meant "as the environment says", which may say 0.
    processes = processes or setting("PROCESSES")
    if processes == 0:
        hold_signals()
        logger.info("%s_PROCESSES is 0: idling until signalled", prefix)
        idle_until_signalled()
        raise SystemExit(WORK_ENDED)
    with exit_when_server_is_lost(settings):
        consume(
            settings,
            url=url or setting("URL"),
            queue=queue or setting("QUEUE"),
            processes=processes,
            prefetch_count=prefetch_count or setting("PREFETCH_COUNT"),
        )
    raise SystemExit(WORK_ENDED)


def _tell_what_has_no_effect(threads: int | None, prefetch_size: int | None) -> None:
    """Say it once, in the command that most of them are meant for."""
    import os

    names = unused_variables(os.environ)
    names += ["--threads"] if threads is not None else []
    names += ["--prefetch-size"] if prefetch_size is not None else []
    if names:
        logger.warning(
            "these are set, but have no effect here (see `swpt_accounts settings`): %s",
            ", ".join(names),
        )


def _tell_what_is_missing(settings: Settings) -> None:
    if settings.fetch_api_url is None and settings.protocol_broker_queue_routing_key != "#":
        logger.warning(
            "FETCH_API_URL is not set: transfers to accounts of other shards cannot be prepared,"
            " and wait until it is"
        )


_STAGE_OPTIONS = (
    click.option("-t", "--threads", type=int, help="Accepted, but has no effect."),
    click.option("-w", "--wait", type=float, help="Accepted, but has no effect."),
    click.option("--quit-early", is_flag=True, help="Exit at once."),
)


def _stage(name: str, messages: str) -> click.Command:
    """Make a command for a stage that this design does not have, but deployments start."""

    def idle(threads: int | None, wait: float | None, quit_early: bool) -> None:
        begin()
        if not quit_early:
            hold_signals()
        logger.info(
            "%s has nothing to do: %s messages are applied by consume_messages, in the batch that"
            " receives them",
            name,
            messages,
        )
        if not quit_early:
            idle_until_signalled()
        raise SystemExit(DONE)

    for option in _STAGE_OPTIONS:
        option(idle)
    return click.command(
        name, help=f"Idle: `consume_messages` applies {messages} messages as they come."
    )(idle)


process_balance_changes = _stage("process_balance_changes", "PendingBalanceChange")
process_transfer_requests = _stage("process_transfer_requests", "PrepareTransfer")
process_finalization_requests = _stage("process_finalization_requests", "FinalizeTransfer")
