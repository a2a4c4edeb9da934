"""Messages in the outbox of a test."""

from datetime import UTC, datetime
from typing import Final

from swpt_accounts.protocol.outgoing import OutgoingMessage
from swpt_accounts.store import outbox
from swpt_accounts.store.transaction import Database

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def message(
    lane: int = 0, body: bytes = b"{}", routing_key: str = "00.00.0a.00"
) -> OutgoingMessage:
    """Return a message that goes to `to_creditors`."""
    return OutgoingMessage(
        lane=lane,
        exchange="to_creditors",
        routing_key=routing_key,
        mandatory=True,
        message_type="AccountUpdate",
        debtor_id=1,
        creditor_id=2,
        coordinator_type=None,
        coordinator_id=None,
        origin_creditor_id=2,
        body=body,
    )


def append(database: Database, *messages: OutgoingMessage) -> None:
    """Write messages to the outbox, in a transaction of their own."""
    with database.transaction() as transaction:
        outbox.append(transaction, messages, NOW)
