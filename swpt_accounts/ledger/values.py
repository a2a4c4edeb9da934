"""The numbers and names that every rule of the ledger speaks in."""

from datetime import UTC, date, datetime
from typing import Final

AccountKey = tuple[int, int]
"""(debtor_id, creditor_id)"""

TransferKey = tuple[int, int, int]
"""(debtor_id, creditor_id of the sender, transfer_id)"""

CoordinatorKey = tuple[int, int, str, int, int]
"""(debtor_id, creditor_id, coordinator_type, coordinator_id, coordinator_request_id)"""

ChangeKey = tuple[int, int, int]
"""(debtor_id, other_creditor_id, change_id)"""

MIN_INT64: Final = -(2**63)
MAX_INT64: Final = 2**63 - 1
MIN_INT32: Final = -(2**31)
MAX_INT32: Final = 2**31 - 1
MAX_UINT64: Final = 2**64 - 1

ROOT_CREDITOR_ID: Final = 0

CONFIG_SCHEDULED_FOR_DELETION: Final = 1
"""Bit 0 of `config_flags`."""

TRANSFER_NOTE_BYTES_MAX: Final = 500
CONFIG_DATA_BYTES_MAX: Final = 2000
ACCOUNT_ID_LENGTH_MAX: Final = 100

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DATE: Final = date(1970, 1, 1)
END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


class Coordinator:
    """The reserved coordinator types (protocol.rst, PrepareTransfer)."""

    DIRECT: Final = "direct"
    AGENT: Final = "agent"
    ISSUING: Final = "issuing"
    INTEREST: Final = "interest"
    DELETE: Final = "delete"


class Status:
    """The status codes of rejected and finalized transfers: a closed set."""

    OK: Final = "OK"
    SENDER_IS_UNREACHABLE: Final = "SENDER_IS_UNREACHABLE"
    RECIPIENT_IS_UNREACHABLE: Final = "RECIPIENT_IS_UNREACHABLE"
    TOO_MANY_TRANSFERS: Final = "TOO_MANY_TRANSFERS"
    RECIPIENT_SAME_AS_SENDER: Final = "RECIPIENT_SAME_AS_SENDER"
    NEWER_INTEREST_RATE: Final = "NEWER_INTEREST_RATE"
    INSUFFICIENT_AVAILABLE_AMOUNT: Final = "INSUFFICIENT_AVAILABLE_AMOUNT"
    TIMEOUT: Final = "TIMEOUT"


INVALID_CONFIGURATION: Final = "INVALID_CONFIGURATION"
"""The only rejection code of a configuration."""


def clamp(amount: int) -> int:
    """Contain an amount in ±(2^63 - 1)."""
    return MAX_INT64 if amount > MAX_INT64 else -MAX_INT64 if amount < -MAX_INT64 else amount


def next_seqnum(seqnum: int) -> int:
    """Return the following 32-bit sequence number, wrapping to the lowest after the highest."""
    return MIN_INT32 if seqnum == MAX_INT32 else seqnum + 1


def is_later_seqnum(new: int, old: int) -> bool:
    """Compare 32-bit sequence numbers circularly (protocol.rst, Sequence numbers)."""
    return 0 < (new - old) % 2**32 < 2**31


def account_id(creditor_id: int) -> str:
    """Return an account's public identifier: its creditor id as an unsigned 64-bit decimal."""
    return str(creditor_id % 2**64)


def parse_account_id(text: str) -> int | None:
    """Return the creditor id behind a public identifier, or None when it is not canonical.

    Canonical means exactly what `account_id` writes: digits only, no leading
    zeros, at most 2^64 - 1. Coordinators compare the recipient they sent with
    the one they are told, so another spelling of the same number is no account.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    if number > MAX_UINT64 or str(number) != text:
        return None
    return number if number <= MAX_INT64 else number - 2**64


def creditors_agent(creditor_id: int) -> int:
    """Return the 24-bit subnet that tells which creditors agent manages an account."""
    return (creditor_id >> 40) & 0xFFFFFF
