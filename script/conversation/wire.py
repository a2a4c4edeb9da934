"""What a peer has to know of the protocol in order to speak it: ids, routing keys, messages.

Nothing is borrowed from the node's own code, so that both sides check each other.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

Message = dict[str, Any]

ROOT_CREDITOR_ID = 0
SCHEDULED_FOR_DELETION = 1
FOREVER = "9999-12-31T23:59:59+00:00"
_COMMIT_DELAY_SECONDS = 3600


def unsigned(number: int) -> int:
    """Ids are signed where they stand in a message, and unsigned in addresses."""
    return number % 2**64


def account_routing_key(debtor_id: int, creditor_id: int) -> str:
    """Of messages to a node: the first 24 bits of the MD5 of both ids, joined with dots."""
    both = debtor_id.to_bytes(8, signed=True) + creditor_id.to_bytes(8, signed=True)
    digest = hashlib.md5(both, usedforsecurity=False).digest()
    return ".".join(f"{int.from_bytes(digest[:3]):024b}")


def root_config_data(*, rate: float, limit: int, info_iri: str, info_document: bytes) -> str:
    """What a debtor configures its currency with."""
    info = {
        "type": "DebtorInfo",
        "iri": info_iri,
        "contentType": "application/vnd.swaptacular.coin-info+json",
        "sha256": hashlib.sha256(info_document).hexdigest().upper(),
    }
    return json.dumps({"type": "RootConfigData", "rate": rate, "limit": limit, "info": info})


def configure_account(
    debtor_id: int,
    creditor_id: int,
    *,
    seqnum: int = 0,
    config_data: str = "",
    config_flags: int = 0,
    negligible_amount: float = 0.0,
) -> Message:
    return {
        "type": "ConfigureAccount",
        "debtor_id": debtor_id,
        "creditor_id": creditor_id,
        "negligible_amount": negligible_amount,
        "config_data": config_data,
        "config_flags": config_flags,
        "seqnum": seqnum,
        "ts": _now(),
    }


def prepare_transfer(
    debtor_id: int, sender: int, recipient: int, amount: int, *, request_id: int
) -> Message:
    """The debtor's own payments issue money; the others are between its creditors."""
    issuing = sender == ROOT_CREDITOR_ID
    return {
        "type": "PrepareTransfer",
        "debtor_id": debtor_id,
        "creditor_id": sender,
        "coordinator_type": "issuing" if issuing else "direct",
        "coordinator_id": debtor_id if issuing else sender,
        "coordinator_request_id": request_id,
        "min_locked_amount": amount,
        "max_locked_amount": amount,
        "recipient": str(unsigned(recipient)),
        "final_interest_rate_ts": FOREVER,
        "max_commit_delay": _COMMIT_DELAY_SECONDS,
        "ts": _now(),
    }


def finalize_transfer(prepared: Message, amount: int, *, note: str = "") -> Message:
    """The answer to a PreparedTransfer: commits the amount; 0 dismisses the transfer."""
    echoed = (
        "debtor_id",
        "creditor_id",
        "transfer_id",
        "coordinator_type",
        "coordinator_id",
        "coordinator_request_id",
    )
    return {
        "type": "FinalizeTransfer",
        **{name: prepared[name] for name in echoed},
        "committed_amount": amount,
        "transfer_note": note,
        "transfer_note_format": "",
        "ts": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat()
