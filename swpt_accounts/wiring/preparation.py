"""What prepares the servers, and looks after dead letters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swpt_accounts.broker.dead_letter_stream import DeadLetter
    from swpt_accounts.broker.publisher import Outcome
    from swpt_accounts.settings import Settings


def configure_database(settings: "Settings") -> None:
    """Bring the database schema up to date."""
    from swpt_accounts.store.schema import upgrade

    upgrade(settings.postgres_url)


def await_migrations(settings: "Settings") -> None:
    """Wait, for as long as it takes, until the database schema is up to date."""
    from swpt_accounts.store.schema import await_current

    await_current(settings.postgres_url)


def configure_chores_queue(settings: "Settings") -> None:
    """Declare the queue of chores."""
    from swpt_accounts.broker.topology import declare_chores_queue

    declare_chores_queue(settings.chores_broker_url, settings.chores_broker_queue)


def subscribe(_settings: "Settings", url: str, queue: str, routing_key: str) -> None:
    """Declare all exchanges, the queue with its dead letters, and bind them."""
    from swpt_accounts.broker.topology import subscribe

    subscribe(url, queue, routing_key)


def unsubscribe(
    _settings: "Settings",
    url: str,
    queue: str,
    routing_key: str,
    chores_url: str,
    chores_queue: str,
) -> None:
    """Remove the queue's binding, and the queue of chores."""
    from swpt_accounts.broker.topology import unsubscribe

    unsubscribe(url, queue, routing_key, chores_url, chores_queue)


def delete_queue(_settings: "Settings", url: str, queue: str) -> None:
    """Wait until the queue is empty, and delete it."""
    from swpt_accounts.broker.topology import delete_queue

    delete_queue(url, queue)


def list_dead_letters(_settings: "Settings", url: str, queue: str) -> list["DeadLetter"]:
    """Return all dead letters of a queue, the oldest first."""
    from swpt_accounts.broker.dead_letter_stream import read_all

    return read_all(url, queue)


def send_back_dead_letters(
    _settings: "Settings", url: str, queue: str, offsets: Sequence[int]
) -> "dict[int, Outcome]":
    """Publish the chosen dead letters to their queue again; return what became of each."""
    from swpt_accounts.broker.dead_letter_stream import send_back
    from swpt_accounts.protocol.decoding import BODY_BYTES_MAX

    return send_back(url, queue, offsets, body_bytes_max=BODY_BYTES_MAX)
