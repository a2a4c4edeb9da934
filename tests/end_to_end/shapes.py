"""What every message that a node sends must look like, written down from the specification."""

import hashlib
import re
from datetime import datetime
from typing import Any

from tests.workers.wire import Received

# The fields that all messages of a kind have, beside `type`, `debtor_id` and `creditor_id`.
_COORDINATED = {"coordinator_type", "coordinator_id", "coordinator_request_id"}
FIELDS = {
    "RejectedConfig": {
        "config_ts",
        "config_seqnum",
        "config_flags",
        "negligible_amount",
        "config_data",
        "rejection_code",
        "ts",
    },
    "RejectedTransfer": {*_COORDINATED, "status_code", "total_locked_amount", "ts"},
    "PreparedTransfer": {
        *_COORDINATED,
        "transfer_id",
        "locked_amount",
        "recipient",
        "prepared_at",
        "demurrage_rate",
        "deadline",
        "final_interest_rate_ts",
        "ts",
    },
    "FinalizedTransfer": {
        *_COORDINATED,
        "transfer_id",
        "committed_amount",
        "status_code",
        "total_locked_amount",
        "prepared_at",
        "ts",
    },
    "AccountUpdate": {
        "creation_date",
        "last_change_ts",
        "last_change_seqnum",
        "principal",
        "interest",
        "interest_rate",
        "last_interest_rate_change_ts",
        "last_config_ts",
        "last_config_seqnum",
        "negligible_amount",
        "config_flags",
        "config_data",
        "account_id",
        "debtor_info_iri",
        "debtor_info_content_type",
        "debtor_info_sha256",
        "last_transfer_number",
        "last_transfer_committed_at",
        "demurrage_rate",
        "commit_period",
        "transfer_note_max_bytes",
        "ts",
        "ttl",
    },
    "AccountTransfer": {
        "creation_date",
        "transfer_number",
        "coordinator_type",
        "sender",
        "recipient",
        "acquired_amount",
        "transfer_note",
        "transfer_note_format",
        "committed_at",
        "principal",
        "previous_transfer_number",
        "ts",
    },
    "PendingBalanceChange": {
        "change_id",
        "coordinator_type",
        "transfer_note_format",
        "transfer_note",
        "committed_at",
        "principal_delta",
        "other_creditor_id",
    },
}
_TO_COORDINATORS = {"RejectedTransfer", "PreparedTransfer", "FinalizedTransfer"}
_FLOATS = {"negligible_amount", "demurrage_rate", "interest", "interest_rate"}
_STRINGS = {
    "account_id",
    "config_data",
    "coordinator_type",
    "creation_date",
    "debtor_info_content_type",
    "debtor_info_iri",
    "debtor_info_sha256",
    "recipient",
    "rejection_code",
    "sender",
    "status_code",
    "transfer_note",
    "transfer_note_format",
    "type",
}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00")


def id_key(number: int) -> str:
    """The routing key of whoever has this id."""
    return ".".join(f"{byte:02x}" for byte in (number % 2**64).to_bytes(8, "big"))


def account_key(debtor_id: int, creditor_id: int) -> str:
    """The routing key of an account."""
    return ".".join(f"{sharding_bits(debtor_id, creditor_id):032b}"[:24])


def sharding_bits(debtor_id: int, creditor_id: int) -> int:
    """32 bits, of which the first ones tell the shard."""
    pair = b"".join((n % 2**64).to_bytes(8, "big") for n in (debtor_id, creditor_id))
    return int.from_bytes(hashlib.md5(pair).digest()[:4], "big")


def check(received: Received) -> None:
    """Check everything about a message that does not depend on what has happened before."""
    document, properties = received.document, received.properties
    message_type = document["type"]
    assert document.keys() == {"type", "debtor_id", "creditor_id"} | FIELDS[message_type]
    for name, value in document.items():
        _check_value(name, value)
    assert (received.exchange, received.routing_key) == _destination(document)
    headers = {
        "message-type": message_type,
        "debtor-id": document["debtor_id"],
        "creditor-id": document["creditor_id"],
    }
    if "coordinator_id" in document:
        headers["coordinator-id"] = document["coordinator_id"]
        headers["coordinator-type"] = document["coordinator_type"]
    assert properties.headers == headers
    assert (properties.type, properties.content_type) == (message_type, "application/json")
    assert (properties.app_id, properties.delivery_mode) == ("swpt_accounts", 2)
    for name in ("message_id", "timestamp", "expiration", "priority", "reply_to"):
        assert getattr(properties, name) is None, name
    assert properties.content_encoding is None


def _check_value(name: str, value: Any) -> None:
    if name in _FLOATS:
        assert type(value) is float, name
    elif name in _STRINGS:
        assert type(value) is str, name
    elif name == "ts" or name.endswith(("_ts", "_at", "deadline")):
        assert _MOMENT.fullmatch(value), (name, value)
        datetime.fromisoformat(value)
    else:
        assert type(value) is int, name


def _destination(document: dict[str, Any]) -> tuple[str, str]:
    message_type, creditor_id = document["type"], document["creditor_id"]
    if message_type in _TO_COORDINATORS:
        return "to_coordinators", id_key(document["coordinator_id"])
    if message_type == "PendingBalanceChange":
        return "accounts_in", account_key(document["debtor_id"], creditor_id)
    if creditor_id == 0:
        return "to_debtors", id_key(document["debtor_id"])
    return "to_creditors", id_key(creditor_id)
