"""Commands that prepare the servers: the schema, queues, exchanges and bindings."""

import logging
from collections.abc import Callable
from time import sleep as pause
from typing import Final

import click

from swpt_accounts.cli.start import (
    DONE,
    FAILED,
    NO_SERVER,
    begin,
    exit_when_server_is_lost,
    is_lost_server,
    queue_option,
    read_as_setting,
    reason,
    routing_key_option,
    say,
    url_option,
)
from swpt_accounts.settings import Settings
from swpt_accounts.settings.readers import amqp_url, queue_name

logger = logging.getLogger(__name__)

PAUSES_SECONDS: Final = (1, 2, 4, 8, 16)
"""Before each new attempt: servers that were started together with this need a while."""


@click.command()
def configure() -> None:
    """Bring the database's schema up to date, and make the queue of chores.

    With SETUP_RABBITMQ_BINDINGS=yes, also do what `subscribe` does. Can be run
    at any time, any number of times.
    """
    settings = begin()
    from swpt_accounts import wiring

    steps: list[tuple[str, Callable[[], object]]] = [
        ("the database's schema", lambda: wiring.configure_database(settings)),
        ("the queue of chores", lambda: wiring.configure_chores_queue(settings)),
    ]
    if settings.setup_rabbitmq_bindings:
        steps.append(
            (
                f"exchanges, bindings, and the queue {settings.protocol_broker_queue}",
                lambda: wiring.subscribe(
                    settings,
                    settings.protocol_broker_url,
                    settings.protocol_broker_queue,
                    settings.protocol_broker_queue_routing_key,
                ),
            )
        )
    for what, step in steps:
        if not _attempt(settings, what, step):
            raise SystemExit(FAILED)
    raise SystemExit(DONE)


def _attempt(settings: Settings, what: str, step: Callable[[], object]) -> bool:
    """Do a step, again and again if need be; tell whether it has been done."""
    say(settings, f"Configuring {what}.")
    for seconds in (*PAUSES_SECONDS, None):
        try:
            step()
        except Exception as error:
            if seconds is None:
                # What only a bug can explain needs its traceback.
                trace = None if is_lost_server(error) else error
                logger.error("giving up on %s: %s", what, reason(error), exc_info=trace)
                return False
            say(settings, f"That failed: {reason(error)}. Trying again in {seconds} s.")
            pause(seconds)
        else:
            break
    say(settings, f"Done: {what}.")
    return True


@click.command("await_migrations")
def await_migrations() -> None:
    """Wait until the database's schema is the newest one that this version knows."""
    settings = begin()
    say(settings, "Waiting for the database's schema to be up to date.")
    from swpt_accounts import wiring

    wiring.await_migrations(settings)
    say(settings, "The database's schema is up to date.")
    raise SystemExit(DONE)


@click.command()
@url_option
@queue_option
@routing_key_option
def subscribe(url: str | None, queue: str | None, queue_routing_key: str | None) -> None:
    """Make the exchanges, the queue of SMP messages and its dead letters, and bind them.

    Needs no database. What is there already stays as it is.
    """
    settings = begin(required=NO_SERVER)
    queue = queue or settings.protocol_broker_queue
    key = queue_routing_key or settings.protocol_broker_queue_routing_key
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        wiring.subscribe(settings, url or settings.protocol_broker_url, queue, key)
    say(settings, f"The queue {queue} receives messages with the binding key {key}.")
    raise SystemExit(DONE)


@click.command()
@url_option
@queue_option
@routing_key_option
@click.option(
    "-U",
    "--chores-url",
    callback=read_as_setting(amqp_url()),
    metavar="URL",
    help="The RabbitMQ server of the chores. [default: CHORES_BROKER_URL]",
)
@click.option(
    "-Q",
    "--chores-queue",
    callback=read_as_setting(queue_name()),
    metavar="NAME",
    help="The queue of chores. [default: CHORES_BROKER_QUEUE]",
)
def unsubscribe(
    url: str | None,
    queue: str | None,
    queue_routing_key: str | None,
    chores_url: str | None,
    chores_queue: str | None,
) -> None:
    """Remove the binding of the queue of SMP messages, and delete the queue of chores.

    Needs no database. The queue of SMP messages stays, with what it holds.
    """
    settings = begin(required=NO_SERVER)
    queue = queue or settings.protocol_broker_queue
    key = queue_routing_key or settings.protocol_broker_queue_routing_key
    chores_queue = chores_queue or settings.chores_broker_queue
    if chores_queue == queue:
        # One of the two would be lost with its messages.
        raise click.UsageError(f"The queue of chores must not be {queue}, the queue to keep.")
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        wiring.unsubscribe(
            settings,
            url or settings.protocol_broker_url,
            queue,
            key,
            chores_url or settings.chores_broker_url,
            chores_queue,
        )
    say(
        settings,
        f"The queue {queue} no longer receives messages with the binding key {key},"
        f" and the queue {chores_queue} is deleted.",
    )
    raise SystemExit(DONE)


@click.command("delete_queue")
@url_option
@queue_option
def delete_queue(url: str | None, queue: str | None) -> None:
    """Wait until the queue of SMP messages is empty, and delete it. Needs no database."""
    settings = begin(required=NO_SERVER)
    queue = queue or settings.protocol_broker_queue
    say(settings, f"Waiting until the queue {queue} is empty.")
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        wiring.delete_queue(settings, url or settings.protocol_broker_url, queue)
    say(settings, f"The queue {queue} is deleted.")
    raise SystemExit(DONE)
