"""Outbox rows as the broker takes them."""

from swpt_accounts.broker.message import Message
from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.protocol.decoding import CONTENT_TYPE
from swpt_accounts.protocol.outgoing import APP_ID, OutgoingMessage, headers


def to_amqp(message: OutgoingMessage) -> Message:
    """Return the outbox's message as the broker takes it (protocol.rst, AMQP)."""
    return Message(
        exchange=message.exchange,
        routing_key=message.routing_key,
        body=message.body,
        properties=encode_properties(
            CONTENT_TYPE,
            message.message_type,
            APP_ID,
            headers(
                message.message_type,
                message.debtor_id,
                message.creditor_id,
                message.coordinator_type,
                message.coordinator_id,
                is_forwarded=message.is_forwarded,
            ),
        ),
        mandatory=message.mandatory,
    )
