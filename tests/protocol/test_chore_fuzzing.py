"""Whatever is in the queue of chores: a chore that keeps all promises, or `Malformed`."""

import json
import math
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.protocol.chores import decode_chore, encode_chore
from swpt_accounts.protocol.decoding import CONTENT_TYPE, Malformed
from tests.factories import NOW, apply_batch
from tests.protocol.chore_documents import DOCUMENTS, golden
from tests.protocol.test_fuzzing import VALUES

BODIES = {name: json.dumps(golden(name)).encode() for name in DOCUMENTS}
message_types = st.sampled_from(sorted(DOCUMENTS))


def must_be_a_chore_or_malformed(message_type: Any, content_type: Any, body: bytes) -> None:
    try:
        chore = decode_chore(message_type, content_type, body)
    except Malformed:
        return
    assert type(chore).__name__ == message_type
    assert isinstance(chore, get_args(Chore))
    for name, value in msgspec.structs.asdict(chore).items():
        match value:
            case bool():
                pytest.fail(f"{name} is a bool")
            case int():
                assert -(2**63) <= value < 2**63
            case float():
                assert math.isfinite(value)
            case str():
                assert len(value.encode()) <= 800
                assert "\0" not in value
            case datetime():
                assert value.tzinfo is UTC
            case _:
                pytest.fail(f"{name} is {value!r}")
    assert decode_chore(message_type, CONTENT_TYPE, encode_chore(chore)) == chore
    key = chore.debtor_id, chore.creditor_id
    apply_batch(chore, accounts=[Account.create(*key, NOW)], now=NOW)


@given(message_types, st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes(message_type: str, body: bytes) -> None:
    must_be_a_chore_or_malformed(message_type, CONTENT_TYPE, body)


@given(st.none() | st.text(), st.none() | st.text(), st.binary(max_size=20))
@settings(max_examples=50, deadline=None)
def test_random_properties(message_type: Any, content_type: Any, body: bytes) -> None:
    must_be_a_chore_or_malformed(message_type, content_type, body)


@given(st.data(), message_types)
@settings(max_examples=200, deadline=None)
def test_valid_documents_with_some_values_replaced(data: st.DataObject, message_type: str) -> None:
    document = golden(message_type)
    names = st.sampled_from(sorted(document)) | st.text(max_size=5)
    document.update(data.draw(st.dictionaries(names, VALUES, max_size=3)))
    for name in data.draw(st.lists(st.sampled_from(sorted(document)), max_size=1)):
        del document[name]
    must_be_a_chore_or_malformed(message_type, CONTENT_TYPE, json.dumps(document).encode())


@given(st.data(), message_types)
@settings(max_examples=250, deadline=None)
def test_valid_documents_with_some_bytes_replaced(data: st.DataObject, message_type: str) -> None:
    body = BODIES[message_type]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 8)))
        body = body[:start] + data.draw(st.binary(max_size=8)) + body[end:]
    must_be_a_chore_or_malformed(message_type, CONTENT_TYPE, body)


@pytest.mark.parametrize("message_type", DOCUMENTS)
def test_valid_documents_cut_off_anywhere(message_type: str) -> None:
    body = BODIES[message_type]
    for length in range(len(body)):
        with pytest.raises(Malformed):
            decode_chore(message_type, CONTENT_TYPE, body[:length])
