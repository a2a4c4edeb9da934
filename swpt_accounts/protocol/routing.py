"""Where each message goes (protocol.rst, AMQP)."""

import struct
from functools import lru_cache
from typing import Final

from swpt_accounts.ledger.events import AccountUpdate, Event
from swpt_accounts.ledger.values import CONFIG_SCHEDULED_FOR_DELETION, ROOT_CREDITOR_ID
from swpt_accounts.protocol.sharding import sharding_hash

ACCOUNTS_IN: Final = "accounts_in"
TO_CREDITORS: Final = "to_creditors"
TO_DEBTORS: Final = "to_debtors"
TO_COORDINATORS: Final = "to_coordinators"

MESSAGE_TYPES: Final = (
    "RejectedConfig",
    "RejectedTransfer",
    "PreparedTransfer",
    "FinalizedTransfer",
    "AccountUpdate",
    "AccountPurge",
    "AccountTransfer",
    "PendingBalanceChange",
)
"""In a fixed order: a message type's place in it is part of its outbox lanes."""

COORDINATOR_MESSAGE_TYPES: Final = frozenset(MESSAGE_TYPES[1:4])

_INT64: Final = struct.Struct(">q")
_ROUTED_BITS: Final = 24
_KEYS_REMEMBERED: Final = 50_000

_THREE_BYTES: Final = len("00.00.00")
_FIVE_BYTES: Final = len("00.00.00.00.00")
_EIGHT_BITS: Final = len("0.0.0.0.0.0.0.0")
_ISSUING: Final = "issuing"


@lru_cache(maxsize=_KEYS_REMEMBERED)
def id_key(number: int) -> str:
    """Return the routing key of a debtor, creditor, or coordinator: its 8 bytes in hexadecimal."""
    return _INT64.pack(number).hex(".")


@lru_cache(maxsize=_KEYS_REMEMBERED)
def account_key(debtor_id: int, creditor_id: int) -> str:
    """Return the routing key of an account: the first 24 bits of its sharding hash."""
    bits = sharding_hash(debtor_id, creditor_id) >> (32 - _ROUTED_BITS)
    return ".".join(f"{bits:0{_ROUTED_BITS}b}")


def route(event: Event) -> tuple[str, str]:
    """Return (exchange, routing key) of an event."""
    message_type = type(event).__name__
    if message_type in COORDINATOR_MESSAGE_TYPES:
        return TO_COORDINATORS, id_key(event.coordinator_id)  # type: ignore[union-attr]
    if message_type == "PendingBalanceChange":
        return ACCOUNTS_IN, account_key(event.debtor_id, event.creditor_id)
    if event.creditor_id == ROOT_CREDITOR_ID:
        return TO_DEBTORS, id_key(event.debtor_id)
    return TO_CREDITORS, id_key(event.creditor_id)


def is_mandatory(event: Event) -> bool:
    """Tell whether it is an error when no queue takes the event.

    Only a deactivated debtors agent, which has scheduled its root account for
    deletion, may be gone for good, and with it the queue for its updates.
    """
    return not (
        isinstance(event, AccountUpdate)
        and event.creditor_id == ROOT_CREDITOR_ID
        and event.config_flags & CONFIG_SCHEDULED_FOR_DELETION
    )


def destination(exchange: str, routing_key: str, coordinator_type: str | None) -> str:
    """Return where a message goes in the end, as far as the key and headers tell.

    It is the exchange and the part of the routing key that a peer binds. Messages
    of one destination wait in the same queue, or a few queues of one peer.
    """
    if exchange == TO_CREDITORS:
        return f"{exchange} {routing_key[:_THREE_BYTES]}"
    if exchange == TO_DEBTORS:
        return f"{exchange} {routing_key[:_FIVE_BYTES]}"
    if exchange == TO_COORDINATORS:
        bound = _FIVE_BYTES if coordinator_type == _ISSUING else _THREE_BYTES
        return f"{exchange} {coordinator_type} {routing_key[:bound]}"
    if exchange == ACCOUNTS_IN:
        return f"{exchange} {routing_key[:_EIGHT_BITS]}"
    return f"{exchange} {routing_key}"
