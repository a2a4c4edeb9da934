"""The golden documents: one for each message type, written by hand."""

import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def golden_body(message_type: str) -> bytes:
    """Return the document as it stands in its file."""
    return (GOLDEN / f"{message_type}.json").read_bytes()


def golden(message_type: str) -> dict[str, Any]:
    """Return the members of the document."""
    document: dict[str, Any] = json.loads(golden_body(message_type))
    return document
