"""One document for each type of chore, as it is found in the queue, and wrong ones."""

import json
from typing import Any

import pytest

from swpt_accounts.protocol.chores import decode_chore
from swpt_accounts.protocol.decoding import CONTENT_TYPE, Malformed

_ACCOUNT = {"debtor_id": 1, "creditor_id": -2}
_MOMENT = "2024-01-02T03:04:05.678901+00:00"
_HASH = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"

# The first four have this form in every version of the node.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "TryToDeleteAccount": _ACCOUNT,
    "CapitalizeInterest": _ACCOUNT,
    "ChangeInterestRate": {**_ACCOUNT, "interest_rate": 5.5, "ts": _MOMENT},
    "UpdateDebtorInfo": {
        **_ACCOUNT,
        "debtor_info_iri": "https://example.com/",
        "debtor_info_content_type": "text/plain",
        "debtor_info_sha256": _HASH,
        "ts": _MOMENT,
    },
    "SendAccountUpdate": _ACCOUNT,
    "PurgeAccount": _ACCOUNT,
    "RemindOfTransfer": {**_ACCOUNT, "transfer_id": 22489410834530305},
}


def golden(message_type: str) -> dict[str, Any]:
    """Return the members of the document."""
    return {"type": message_type, **DOCUMENTS[message_type]}


def body_with(message_type: str, field: str, written: str) -> bytes:
    """Return the document with one field written in a way no serializer would."""
    document = {**golden(message_type), field: "<here>"}
    return json.dumps(document).replace('"<here>"', written).encode()


def reason(
    document: Any, message_type: Any = "ChangeInterestRate", content_type: Any = CONTENT_TYPE
) -> str:
    """Return why the delivery is no chore; fail if it is one."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Malformed) as raised:
        decode_chore(message_type, content_type, body)
    text = str(raised.value)
    assert 0 < len(text) <= 500, "it has to fit into a log line"
    assert text.isprintable(), "it must not forge another log line"
    return text
