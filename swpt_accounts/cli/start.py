"""What every command does first, and how it ends when it cannot go on."""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from swpt_accounts.cli import signals
from swpt_accounts.settings import Settings, SettingsError, load
from swpt_accounts.settings.readers import Bad, Reader, amqp_url, queue_name, routing_key

logger = logging.getLogger(__name__)

DATABASE: Final = ("POSTGRES_URL",)
NO_SERVER: Final = ()
"""For commands that do not need the database; all else has a default."""

DONE: Final = 0
BAD_SETTINGS: Final = 1
FAILED: Final = 1
WORK_ENDED: Final = 1
"""Consuming and flushing are meant to go on for ever: whoever started them
must see their end as something to repair, whatever the reason."""
NOT_IN_THIS_VERSION: Final = 2


def begin(*, required: Iterable[str] = DATABASE) -> Settings:
    """Read the settings and set up logs and signals; with bad settings, list them and exit."""
    from swpt_accounts import logs

    signals.end_on_signals()
    try:
        settings = load(os.environ, required=required)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(BAD_SETTINGS) from None
    logs.set_up(settings.app_log_level, settings.app_log_format)
    return settings


def say(settings: Settings, text: str) -> None:
    """Tell the person who has run a command what it does; as a log line where lines are JSON."""
    if settings.app_log_format == "json":
        logger.info(text)
    else:
        click.echo(text)


def is_lost_server(error: BaseException) -> bool:
    """Tell whether an error means that a server is away, so that a traceback would say nothing."""
    import psycopg
    import sqlalchemy.exc

    from swpt_accounts.broker.connection import BrokerLost
    from swpt_accounts.store.transaction import DatabaseUnavailable

    lost = (
        BrokerLost,
        DatabaseUnavailable,
        psycopg.OperationalError,
        sqlalchemy.exc.OperationalError,
        ConnectionError,
        TimeoutError,
        socket.gaierror,
    )
    return isinstance(error, lost)


@contextmanager
def exit_when_server_is_lost(settings: Settings) -> Iterator[None]:
    """End the command with one line, not with a traceback, where a server cannot be reached."""
    try:
        yield
    except Exception as error:
        if not is_lost_server(error):
            raise
        if settings.app_log_format == "json":
            logger.error("failed: %s", reason(error))
        else:
            click.echo(f"Failed: {reason(error)}", err=True)
        raise SystemExit(FAILED) from None


def reason(error: BaseException) -> str:
    """Return an error's text on one line, with its kind where the text alone is unclear."""
    text = " ".join(str(error).split())
    return text if text and is_lost_server(error) else f"{type(error).__name__}: {text}"


def read_as_setting(
    reader: Reader,
) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Make a callback that reads an option like the variable it takes the place of.

    An empty text counts as not given.
    """

    def read(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
        if not text:
            return None
        value = reader(text)
        if isinstance(value, Bad):
            raise click.BadParameter(f"{value.shown}: {value.reason}. Allowed: {value.allowed}.")
        return str(value)

    return read


url_option = click.option(
    "-u",
    "--url",
    callback=read_as_setting(amqp_url()),
    metavar="URL",
    help="The RabbitMQ server. [default: PROTOCOL_BROKER_URL]",
)
queue_option = click.option(
    "-q",
    "--queue",
    callback=read_as_setting(queue_name()),
    metavar="NAME",
    help="The queue of SMP messages. [default: PROTOCOL_BROKER_QUEUE]",
)
routing_key_option = click.option(
    "-k",
    "--queue-routing-key",
    callback=read_as_setting(routing_key()),
    metavar="KEY",
    help="The queue's binding key. [default: PROTOCOL_BROKER_QUEUE_ROUTING_KEY]",
)
