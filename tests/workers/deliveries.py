"""Deliveries as a broker would hand them over, made by hand."""

from collections.abc import Iterable
from typing import Any

from swpt_accounts.broker.message import Delivery
from swpt_accounts.ledger.commands import Command
from tests import factories


def delivery(tag: int, command: Command, **fields: Any) -> Delivery:
    """A delivery that carries the command; `fields` replace what a peer would have sent."""
    defaults = {
        "tag": tag,
        "redelivered": False,
        "exchange": "accounts_in",
        "routing_key": "0.1",
        "content_type": "application/json",
        "message_type": type(command).__name__,
        "body": factories.as_json(command),
        "encoded_properties": b"\0\0",
    }
    return Delivery(**{**defaults, **fields})


def deliveries(commands: Iterable[Command]) -> list[Delivery]:
    """One delivery for each command, with the tags 1, 2, 3 and so on."""
    return [delivery(tag, command) for tag, command in enumerate(commands, 1)]


def tags(settled: Iterable[Delivery]) -> list[int]:
    """The tags, in ascending order."""
    return sorted(delivery.tag for delivery in settled)
