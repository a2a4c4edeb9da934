"""Whatever the bytes are: a command that keeps all promises, or `Malformed`, and nothing else."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.commands import Command
from swpt_accounts.protocol.decoding import CONTENT_TYPE, Malformed
from swpt_accounts.protocol.incoming import decode
from tests.protocol.documents import golden

MESSAGE_TYPES = ["ConfigureAccount", "PrepareTransfer", "FinalizeTransfer", "PendingBalanceChange"]
BODIES = {name: json.dumps(golden(name), ensure_ascii=False).encode() for name in MESSAGE_TYPES}

OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64])
    | st.floats()
    | st.text(max_size=40)
    | st.datetimes(timezones=st.none() | OFFSETS).map(datetime.isoformat)
    | st.sampled_from(["direct", "issuing", "agent", "9999-12-31T23:59:59-12:00", "\0", "\ud800"])
)
VALUES = st.recursive(
    SCALARS,
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)


def must_be_a_command_or_malformed(message_type: Any, content_type: Any, body: bytes) -> None:
    try:
        command = decode(message_type, content_type, body)
    except Malformed:
        return
    assert type(command).__name__ == message_type
    assert isinstance(command, get_args(Command))
    for name, value in msgspec.structs.asdict(command).items():
        match value:
            case bool():
                pytest.fail(f"{name} is a bool")
            case int():
                assert -(2**63) <= value < 2**63
            case float():
                assert math.isfinite(value)
            case str():
                assert len(value.encode()) <= 2000
                assert "\0" not in value
            case datetime():
                assert value.tzinfo is UTC
            case _:
                pytest.fail(f"{name} is {value!r}")


@given(st.sampled_from(MESSAGE_TYPES), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes(message_type: str, body: bytes) -> None:
    must_be_a_command_or_malformed(message_type, CONTENT_TYPE, body)


@given(st.none() | st.text(), st.none() | st.text(), st.binary(max_size=20))
@settings(max_examples=50, deadline=None)
def test_random_properties(message_type: Any, content_type: Any, body: bytes) -> None:
    must_be_a_command_or_malformed(message_type, content_type, body)


@given(st.sampled_from(MESSAGE_TYPES), VALUES)
@settings(max_examples=200, deadline=None)
def test_random_json(message_type: str, value: Any) -> None:
    must_be_a_command_or_malformed(message_type, CONTENT_TYPE, json.dumps(value).encode())


@given(st.data(), st.sampled_from(MESSAGE_TYPES))
@settings(max_examples=150, deadline=None)
def test_valid_documents_with_some_values_replaced(data: st.DataObject, message_type: str) -> None:
    document = golden(message_type)
    names = st.sampled_from(sorted(document)) | st.text(max_size=5)
    document.update(data.draw(st.dictionaries(names, VALUES, max_size=3)))
    for name in data.draw(st.lists(st.sampled_from(sorted(document)), max_size=1)):
        del document[name]
    must_be_a_command_or_malformed(message_type, CONTENT_TYPE, json.dumps(document).encode())


@given(st.data(), st.sampled_from(MESSAGE_TYPES))
@settings(max_examples=250, deadline=None)
def test_valid_documents_with_some_bytes_replaced(data: st.DataObject, message_type: str) -> None:
    body = BODIES[message_type]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 8)))
        body = body[:start] + data.draw(st.binary(max_size=8)) + body[end:]
    must_be_a_command_or_malformed(message_type, CONTENT_TYPE, body)


@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
def test_valid_documents_cut_off_anywhere(message_type: str) -> None:
    body = BODIES[message_type]
    for length in range(len(body)):
        with pytest.raises(Malformed):
            decode(message_type, CONTENT_TYPE, body[:length])
