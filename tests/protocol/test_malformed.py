"""Deliveries that are no message at all: each is refused with a reason that names the cause."""

import json
from typing import Any

import pytest

from swpt_accounts.protocol.decoding import BODY_BYTES_MAX
from tests.protocol.documents import (
    MESSAGE_TYPES,
    TEXTS,
    body_with,
    fields_of,
    golden,
    reason,
)

# -- the envelope -----------------------------------------------------------------------------


VALID = json.dumps(golden("ConfigureAccount"))


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/JSON",
        "application/json; charset=utf-8",
        " application/json",
        "application/json\n",
        "x" * 5000,
        b"application/json",
        5,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_another_content_type(content_type: Any) -> None:
    text = reason(VALID, content_type=content_type)
    assert "content type" in text
    assert "'application/json'" in text


@pytest.mark.parametrize(
    "message_type",
    [
        None,
        "",
        "configureaccount",
        "ConfigureAccount ",
        "ConfigureAccount\n",
        "AccountUpdate",
        "RejectedConfig",
        "PreparedTransfer",
        "CapitalizeInterest",
        "x" * 5000,
        "ж\ud800",
        b"ConfigureAccount",
        5,
        ["ConfigureAccount"],
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_unknown_message_type(message_type: Any) -> None:
    text = reason(VALID, message_type=message_type)
    assert "message type" in text
    assert "ConfigureAccount, PrepareTransfer, FinalizeTransfer, PendingBalanceChange" in text


@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
@pytest.mark.parametrize(
    "written", ['"AccountPurge"', '"configureaccount"', '""', "null", "5", "true", "[]", "{}"]
)
def test_the_type_in_the_body_disagrees(message_type: str, written: str) -> None:
    assert "`$.type`" in reason(body_with(message_type, "type", written), message_type)


@pytest.mark.parametrize("written", [r'"X\n2026-01-01 ERROR forged\u001b[31m"', r'"\u2028"'])
def test_a_reason_cannot_forge_log_lines(written: str) -> None:
    assert reason(body_with("ConfigureAccount", "type", written)).isprintable()


def test_the_body_is_another_message() -> None:
    for message_type in MESSAGE_TYPES[1:]:
        text = reason(VALID, message_type)
        assert "`type` is 'ConfigureAccount'" in text
        assert message_type in text


def test_a_body_that_is_too_long() -> None:
    assert f"{BODY_BYTES_MAX + 1} bytes" in reason(VALID + " " * (BODY_BYTES_MAX + 1 - len(VALID)))
    assert "bytes" in reason(b"[" * 10_000_000)


# -- not the JSON of an object ----------------------------------------------------------------


NESTED = "[" * 15_000 + "]" * 15_000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" ", id="a space"),
        pytest.param(b"\0", id="a NUL"),
        pytest.param(b"not JSON", id="not JSON"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="true"),
        pytest.param(b"5", id="a number"),
        pytest.param(b'"ConfigureAccount"', id="a string"),
        pytest.param(b"[]", id="an array"),
        pytest.param(f"[{VALID}]".encode(), id="an array with the object"),
        pytest.param(VALID.encode()[:-1], id="cut off at the end"),
        pytest.param(VALID.encode()[:20], id="cut off in the middle"),
        pytest.param(VALID.encode() + b"x", id="something after the object"),
        pytest.param(VALID.encode() * 2, id="two objects"),
        pytest.param(VALID.encode() + b"\0", id="a NUL after the object"),
        pytest.param(VALID[:-1].encode() + b",}", id="a comma too much"),
        pytest.param(VALID.replace('"', "'").encode(), id="single quotes"),
        pytest.param(VALID.encode() + b"// end", id="a comment"),
        pytest.param(b"\xef\xbb\xbf" + VALID.encode(), id="a byte order mark"),
        pytest.param(VALID.encode("utf-16"), id="UTF-16"),
        pytest.param(VALID.encode("utf-32-be"), id="UTF-32"),
        pytest.param(b"\x1f\x8b\x08\x00" + bytes(20), id="compressed"),
        pytest.param(bytes(range(256)), id="all bytes"),
        pytest.param(b"[" * 30_000, id="an array nested 30,000 deep, not closed"),
        pytest.param(NESTED.encode(), id="an array nested 15,000 deep"),
        pytest.param(b'{"a":' * 5_000 + b"1" + b"}" * 5_000, id="an object nested 5,000 deep"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="an array nested 100,000 deep"),
        pytest.param(b"9" * 5_000, id="a number of 5,000 digits"),
    ],
)
@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
def test_not_the_json_of_an_object(message_type: str, body: bytes) -> None:
    assert "body" in reason(body, message_type)


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        pytest.param(NESTED, "nested", id="nested 15,000 deep"),
        pytest.param('{"x":' * 5_000 + "1" + "}" * 5_000, "nested", id="objects 5,000 deep"),
        pytest.param("[" * 100_000 + "]" * 100_000, "bytes", id="nested 100,000 deep"),
        pytest.param("NaN", "malformed", id="NaN"),
        pytest.param("Infinity", "malformed", id="infinity"),
        pytest.param("-Infinity", "malformed", id="minus infinity"),
        pytest.param("nul", "malformed", id="a word"),
        pytest.param("01", "malformed", id="a leading zero"),
        pytest.param("'x'", "malformed", id="single quotes"),
        pytest.param('"\\x41"', "malformed", id="an unknown escape"),
        pytest.param('"\\u12"', "malformed", id="half an escape"),
        pytest.param('"\n"', "malformed", id="a raw newline in a string"),
        pytest.param('"\0"', "malformed", id="a raw NUL in a string"),
    ],
)
@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
def test_broken_json_in_an_unknown_field(message_type: str, written: str, cause: str) -> None:
    assert cause in reason(body_with(message_type, "future", written), message_type)


BROKEN_STRINGS = [
    pytest.param(rb'"\ud800"', "surrogate", id="a lone high surrogate"),
    pytest.param(rb'"\udc00"', "surrogate", id="a lone low surrogate"),
    pytest.param(rb'"\ud800x"', "surrogate", id="a high surrogate and a letter"),
    pytest.param(rb'"\ud800\ud800"', "surrogate", id="two high surrogates"),
    pytest.param(rb'"\udc00\ud800"', "surrogate", id="a pair in the wrong order"),
    pytest.param(b'"\xff"', "UTF-8", id="a byte that never occurs in UTF-8"),
    pytest.param(b'"\x80"', "UTF-8", id="a continuation byte"),
    pytest.param(b'"\xc3"', "UTF-8", id="half a character"),
    pytest.param(b'"\xc0\x80"', "UTF-8", id="an overlong NUL"),
    pytest.param(b'"\xed\xa0\x80"', "UTF-8", id="an encoded surrogate"),
    pytest.param(b'"\xf4\x90\x80\x80"', "UTF-8", id="beyond Unicode"),
]


@pytest.mark.parametrize("raw", [b'"x": "\xff"', b'"\xff": 1', b'"x": ["\xc3"]'])
def test_unknown_fields_must_be_utf8_too(raw: bytes) -> None:
    body = VALID.encode() if isinstance(VALID, str) else VALID
    assert "UTF-8" in reason(body.rstrip()[:-1] + b", " + raw + b"}")


@pytest.mark.parametrize(("written", "cause"), BROKEN_STRINGS)
@pytest.mark.parametrize(("message_type", "field"), fields_of(only=TEXTS - {"type"}))
def test_strings_that_are_not_unicode(
    message_type: str, field: str, written: bytes, cause: str
) -> None:
    body = body_with(message_type, field, "<raw>").encode().replace(b"<raw>", written)
    assert cause in reason(body, message_type)
