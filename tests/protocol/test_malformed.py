"""Deliveries that no version of the protocol allows: each is refused with a reason.

The reason names the field or the cause; it becomes a log line and a header of
the dead letter. Nothing but `Malformed` may come out of the decoder.
"""

import json
from collections.abc import Collection
from typing import Any

import pytest

from swpt_accounts.protocol.incoming import BODY_BYTES_MAX, Malformed, decode
from tests.protocol.documents import golden

MESSAGE_TYPES = ["ConfigureAccount", "PrepareTransfer", "FinalizeTransfer", "PendingBalanceChange"]
FLOATS = {"negligible_amount"}
TEXTS = {
    *("type", "config_data", "coordinator_type", "recipient"),
    *("transfer_note", "transfer_note_format"),
}
MOMENTS = {"ts", "final_interest_rate_ts", "committed_at"}


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


INTEGER_FIELDS = fields_of(but=FLOATS | TEXTS | MOMENTS)


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


def test_the_body_is_another_message() -> None:
    for message_type in MESSAGE_TYPES[1:]:
        assert "`$.type`" in reason(VALID, message_type)


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


@pytest.mark.parametrize(("written", "cause"), BROKEN_STRINGS)
@pytest.mark.parametrize(("message_type", "field"), fields_of(only=TEXTS - {"type"}))
def test_strings_that_are_not_unicode(
    message_type: str, field: str, written: bytes, cause: str
) -> None:
    body = body_with(message_type, field, "<raw>").encode().replace(b"<raw>", written)
    assert cause in reason(body, message_type)


# -- missing and wrong values -----------------------------------------------------------------


@pytest.mark.parametrize(("message_type", "field"), fields_of(but={"type"}))
def test_a_missing_field(message_type: str, field: str) -> None:
    document = golden(message_type)
    del document[field]
    assert f"`{field}`" in reason(json.dumps(document), message_type)


@pytest.mark.parametrize(("message_type", "field"), fields_of(but={"type"}))
@pytest.mark.parametrize("written", ["null", "true", "false", "[]", "{}", "[1]"])
def test_a_value_of_a_type_that_no_field_has(message_type: str, field: str, written: str) -> None:
    assert f"`$.{field}`" in reason(body_with(message_type, field, written), message_type)


@pytest.mark.parametrize(("message_type", "field"), INTEGER_FIELDS)
@pytest.mark.parametrize(
    "written",
    [
        '"1"',
        '""',
        "1.0",
        "1.5",
        "1e0",
        "1E3",
        "-1.0",
        "1e400",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1" + "0" * 40,
        pytest.param("9" * 5000, id="5,000 digits"),
        pytest.param("-" + "9" * 5000, id="minus 5,000 digits"),
    ],
)
def test_not_a_64_bit_integer(message_type: str, field: str, written: str) -> None:
    assert f"`$.{field}`" in reason(body_with(message_type, field, written), message_type)


@pytest.mark.parametrize(("message_type", "field"), fields_of(only=TEXTS | MOMENTS))
@pytest.mark.parametrize("written", ["0", "1.5", "1704164645"])
def test_a_number_where_a_string_belongs(message_type: str, field: str, written: str) -> None:
    assert f"`$.{field}`" in reason(body_with(message_type, field, written), message_type)


@pytest.mark.parametrize(
    "written",
    [
        *('"1"', '"NaN"', "1e400", "-1e400", "1e309", "-1", "-1e-300", "-5e-324"),
        pytest.param("9" * 400, id="400 digits"),
        pytest.param("9" * 5000, id="5,000 digits"),
    ],
)
def test_not_a_finite_amount_that_is_not_negative(written: str) -> None:
    body = body_with("ConfigureAccount", "negligible_amount", written)
    assert "negligible_amount" in reason(body)


@pytest.mark.parametrize(
    "written", ["NaN", "Infinity", "-Infinity", "nan", "inf", "+1", ".5", "1."]
)
def test_numbers_that_json_does_not_have(written: str) -> None:
    body = body_with("ConfigureAccount", "negligible_amount", written)
    assert "malformed" in reason(body)


@pytest.mark.parametrize(
    ("message_type", "field", "value"),
    [
        ("ConfigureAccount", "config_flags", 2**31),
        ("ConfigureAccount", "config_flags", -(2**31) - 1),
        ("ConfigureAccount", "seqnum", 2**31),
        ("ConfigureAccount", "seqnum", -(2**31) - 1),
        ("PrepareTransfer", "min_locked_amount", -1),
        ("PrepareTransfer", "max_locked_amount", -1),
        ("PrepareTransfer", "max_commit_delay", -1),
        ("PrepareTransfer", "max_commit_delay", 2**31),
        ("FinalizeTransfer", "committed_amount", -1),
        ("PendingBalanceChange", "principal_delta", 0),
        ("PendingBalanceChange", "principal_delta", -(2**63)),
    ],
)
def test_a_number_outside_of_its_range(message_type: str, field: str, value: int) -> None:
    assert field in reason(body_with(message_type, field, str(value)), message_type)


def test_a_minimum_above_the_maximum() -> None:
    document = {**golden("PrepareTransfer"), "min_locked_amount": 8, "max_locked_amount": 7}
    text = reason(json.dumps(document), "PrepareTransfer")
    assert "`min_locked_amount` (8)" in text
    assert "`max_locked_amount` (7)" in text


# -- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message_type", "field"), fields_of(only=TEXTS - {"type"}))
@pytest.mark.parametrize("value", ["\0", "a\0", "\0a", "a\0b"], ids=ascii)
def test_a_nul_in_a_text(message_type: str, field: str, value: str) -> None:
    body = json.dumps({**golden(message_type), field: value})
    assert f"`{field}`" in reason(body, message_type)


COORDINATED = MESSAGE_TYPES[1:]


@pytest.mark.parametrize(
    ("message_types", "field", "value"),
    [
        pytest.param(["ConfigureAccount"], "config_data", "x" * 2001, id="2001 characters"),
        pytest.param(["ConfigureAccount"], "config_data", "ж" * 1000 + "x", id="2001 bytes"),
        pytest.param(["ConfigureAccount"], "config_data", "🙂" * 501, id="2004 bytes"),
        pytest.param(COORDINATED, "coordinator_type", "", id="no coordinator type"),
        pytest.param(COORDINATED, "coordinator_type", "x" * 31, id="31 characters"),
        pytest.param(COORDINATED, "coordinator_type", "ж", id="a type that is not ASCII"),
        pytest.param(COORDINATED, "coordinator_type", "direct\x80", id="a type just beyond ASCII"),
        pytest.param(["PrepareTransfer"], "recipient", "x" * 101, id="101 characters"),
        pytest.param(["PrepareTransfer"], "recipient", "٥", id="an Arabic digit"),
        pytest.param(COORDINATED[1:], "transfer_note", "x" * 501, id="501 characters"),
        pytest.param(COORDINATED[1:], "transfer_note", "ж" * 250 + "x", id="501 bytes"),
        pytest.param(COORDINATED[1:], "transfer_note", "🙂" * 126, id="504 bytes"),
        pytest.param(COORDINATED[1:], "transfer_note_format", "x" * 9, id="9 characters"),
        pytest.param(COORDINATED[1:], "transfer_note_format", "a b", id="a space"),
        pytest.param(COORDINATED[1:], "transfer_note_format", "a_b", id="an underscore"),
        pytest.param(COORDINATED[1:], "transfer_note_format", "a\n", id="a newline"),
        pytest.param(COORDINATED[1:], "transfer_note_format", "٥", id="a digit that is not ASCII"),
        pytest.param(COORDINATED[1:], "transfer_note_format", "é", id="a letter that is not ASCII"),
    ],
)
def test_a_text_outside_of_its_limits(message_types: list[str], field: str, value: str) -> None:
    for message_type in message_types:
        for ensure_ascii in (True, False):
            body = json.dumps({**golden(message_type), field: value}, ensure_ascii=ensure_ascii)
            assert field in reason(body, message_type)


# -- moments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("message_type", "field"), fields_of(only=MOMENTS))
@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "2024-01-02",
        "2024-01-02T03:04:05",
        "2024-01-02T03:04:05.678901",
        "2024-01-02T03:04Z",
        "2024-1-2T03:04:05Z",
        "2024-W01-2T03:04:05Z",
        "2024-01-02T03:04:05,5Z",
        "2024-01-02T03:04:60Z",
        "2024-01-02T24:00:00Z",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "-2024-01-01T00:00:00Z",
        "2024-01-02T03:04:05+24:00",
        "2024-01-02T03:04:05+2",
        "2024-01-02T03:04:05 UTC",
        "2024-01-02T03:04:05ZZ",
        " 2024-01-02T03:04:05Z",
        "2024-01-02T03:04:05Z\n",
        "２０２４-01-02T03:04:05Z",
        "1704164645",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T12:00:00-23:59",
        "0001-01-01T00:00:00+00:01",
        "0001-01-01T11:00:00+14:00",
        "2024-01-02T03:04:05\0Z",
    ],
    ids=ascii,
)
def test_not_a_moment_that_utc_has(message_type: str, field: str, value: str) -> None:
    body = json.dumps({**golden(message_type), field: value})
    text = reason(body, message_type)
    assert f"`$.{field}`" in text or f"`{field}`" in text


# -- coordinators -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coordinator_type", "debtor_id", "creditor_id", "coordinator_id"),
    [
        pytest.param("direct", 1, 2, 3, id="direct: another creditor"),
        pytest.param("direct", 1, 2, 1, id="direct: the debtor"),
        pytest.param("issuing", 1, 0, 2, id="issuing: another debtor"),
        pytest.param("issuing", 1, 2, 1, id="issuing: another account"),
        pytest.param("issuing", 1, 2, 2, id="issuing: everything wrong"),
        pytest.param("agent", 1, 0x20100000001, 0x30000000001, id="agent: another subnet"),
        pytest.param("agent", 1, 0x20100000001, 5, id="agent: no subnet"),
        pytest.param("agent", 1, 5, 0x20000000001, id="agent: a sender without a subnet"),
        pytest.param("agent", 1, 5, 6, id="agent: both without a subnet"),
        pytest.param("agent", 1, -1, 2**63 - 1, id="agent: ids of opposite signs"),
    ],
)
def test_a_coordinator_that_may_not_speak_for_the_sender(
    coordinator_type: str, debtor_id: int, creditor_id: int, coordinator_id: int
) -> None:
    document = {
        **golden("PrepareTransfer"),
        "coordinator_type": coordinator_type,
        "debtor_id": debtor_id,
        "creditor_id": creditor_id,
        "coordinator_id": coordinator_id,
    }
    text = reason(json.dumps(document), "PrepareTransfer")
    assert f'"{coordinator_type}"' in text
    assert f"`coordinator_id` ({coordinator_id})" in text
