"""The golden documents, one for each message type, and wrong ones made of them."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from swpt_accounts.protocol.decoding import Malformed
from swpt_accounts.protocol.incoming import decode

GOLDEN = Path(__file__).parent / "golden"

MESSAGE_TYPES = ["ConfigureAccount", "PrepareTransfer", "FinalizeTransfer", "PendingBalanceChange"]
FLOATS = {"negligible_amount"}
TEXTS = {
    *("type", "config_data", "coordinator_type", "recipient"),
    *("transfer_note", "transfer_note_format"),
}
MOMENTS = {"ts", "final_interest_rate_ts", "committed_at"}


def golden_body(message_type: str) -> bytes:
    """Return the document as it stands in its file."""
    return (GOLDEN / f"{message_type}.json").read_bytes()


def golden(message_type: str) -> dict[str, Any]:
    """Return the members of the document."""
    document: dict[str, Any] = json.loads(golden_body(message_type))
    return document


def reason(
    body: bytes | str,
    message_type: Any = "ConfigureAccount",
    content_type: Any = "application/json",
) -> str:
    """Return why the delivery is malformed; fail if it is not."""
    body = body if isinstance(body, bytes) else body.encode()
    with pytest.raises(Malformed) as raised:
        decode(message_type, content_type, body)
    text = str(raised.value)
    assert 0 < len(text) <= 500, "it has to fit into a log line"
    assert text.isprintable(), "it must not forge another log line"
    return text


def body_with(message_type: str, field: str, written: str) -> str:
    """Return the golden document with one field written in a way no serializer would."""
    document = {**golden(message_type), field: "<here>"}
    return json.dumps(document).replace('"<here>"', written)


def fields_of(*, but: Collection[str] = (), only: Collection[str] | None = None) -> list[Any]:
    return [
        pytest.param(message_type, field, id=f"{message_type}.{field}")
        for message_type in MESSAGE_TYPES
        for field in golden(message_type)
        if field not in but and (only is None or field in only)
    ]
