"""Deliveries that are no chore: each is refused with a reason, and none can stop a consumer."""

import json
from typing import Any

import pytest

from swpt_accounts.protocol.decoding import BODY_BYTES_MAX
from tests.protocol.chore_documents import DOCUMENTS, body_with, golden, reason

FIELDS = [(name, field) for name, document in DOCUMENTS.items() for field in document]
FIELD_IDS = [f"{name}.{field}" for name, field in FIELDS]
TEXTS = ["debtor_info_iri", "debtor_info_content_type", "debtor_info_sha256"]

every_field = pytest.mark.parametrize(("message_type", "field"), FIELDS, ids=FIELD_IDS)


# -- the envelope ------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/json\n", 5])
def test_another_content_type(content_type: Any) -> None:
    text = reason(golden("PurgeAccount"), "PurgeAccount", content_type)
    assert "content type" in text


@pytest.mark.parametrize("message_type", [None, "", "purgeaccount", "PurgeAccount ", 5, "x" * 5000])
def test_another_message_type(message_type: Any) -> None:
    assert "message type" in reason(golden("PurgeAccount"), message_type)


@pytest.mark.parametrize("message_type", DOCUMENTS)
@pytest.mark.parametrize("other", DOCUMENTS)
def test_the_property_and_the_body_must_agree(message_type: str, other: str) -> None:
    if other != message_type:
        assert message_type in reason(golden(other), message_type)


@pytest.mark.parametrize("message_type", DOCUMENTS)
@pytest.mark.parametrize("written", ['"WrongType"', '""', "null", "5", "[]"])
def test_the_type_in_the_body_is_none(message_type: str, written: str) -> None:
    assert "`$.type`" in reason(body_with(message_type, "type", written), message_type)


@pytest.mark.parametrize("message_type", DOCUMENTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"5",
        b"\x00",
        b"\xff\xfe",
        b'{"type"',
        b"[" * 10_000,
        b'{"a":' * 5_000,
        '{"type": "PurgeAccount"}'.encode("utf-16"),
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_the_body_is_no_chore(message_type: str, body: bytes) -> None:
    reason(body, message_type)


@pytest.mark.parametrize("message_type", DOCUMENTS)
def test_something_follows_the_chore(message_type: str) -> None:
    reason(json.dumps(golden(message_type)).encode() + b"{}", message_type)


@pytest.mark.parametrize("message_type", DOCUMENTS)
def test_a_huge_body_is_not_even_read(message_type: str) -> None:
    document = {**golden(message_type), "unknown": "x" * BODY_BYTES_MAX}
    assert str(BODY_BYTES_MAX) in reason(document, message_type)


# -- the fields --------------------------------------------------------------------------------


@every_field
def test_every_field_is_required(message_type: str, field: str) -> None:
    document = golden(message_type)
    del document[field]
    assert f"`{field}`" in reason(document, message_type)


@every_field
@pytest.mark.parametrize("written", ["null", "true", "false", "[]", "{}", '[""]', '{"a": 1}'])
def test_no_field_is_of_these_kinds(message_type: str, field: str, written: str) -> None:
    assert f"$.{field}" in reason(body_with(message_type, field, written), message_type)


@every_field
@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "nan", "1e", "0x5", "05"])
def test_what_json_cannot_say(message_type: str, field: str, written: str) -> None:
    reason(body_with(message_type, field, written), message_type)


@pytest.mark.parametrize(
    ("message_type", "field"),
    [(name, field) for name, field in FIELDS if field.endswith("_id")],
)
@pytest.mark.parametrize(
    "written", ["9223372036854775808", "-9223372036854775809", "1e30", "1.5", '"1"', '""']
)
def test_ids_are_64_bit_integers(message_type: str, field: str, written: str) -> None:
    assert f"$.{field}" in reason(body_with(message_type, field, written), message_type)


@pytest.mark.parametrize("written", ["1e309", "-1e309", "1e999999", "9" * 400, '"5"', '"NaN"'])
def test_rates_are_finite_numbers(written: str) -> None:
    text = reason(body_with("ChangeInterestRate", "interest_rate", written))
    assert "interest_rate" in text or "out of range" in text


@pytest.mark.parametrize("message_type", ["ChangeInterestRate", "UpdateDebtorInfo"])
@pytest.mark.parametrize(
    "written",
    [
        '""',
        '"yesterday"',
        '"2024-01-02"',
        '"2024-01-02T03:04:05"',
        '"2024-13-02T03:04:05Z"',
        '"2024-01-02T25:04:05Z"',
        '"10000-01-01T00:00:00Z"',
        "1704164645",
    ],
)
def test_moments_are_whole(message_type: str, written: str) -> None:
    assert "`$.ts`" in reason(body_with(message_type, "ts", written), message_type)


@pytest.mark.parametrize("message_type", ["ChangeInterestRate", "UpdateDebtorInfo"])
@pytest.mark.parametrize("ts", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_moments_have_a_date_in_utc(message_type: str, ts: str) -> None:
    text = reason({**golden(message_type), "ts": ts}, message_type)
    assert text.startswith(f"`ts` is {ts}")


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("text", ["a\0b", "\0"])
def test_texts_have_no_nul(field: str, text: str) -> None:
    """PostgreSQL has no place for it, so a consumer would fail on it for ever."""
    why = reason({**golden("UpdateDebtorInfo"), field: text}, "UpdateDebtorInfo")
    assert f"`{field}`" in why or f"`$.{field}`" in why


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("written", [r'"\ud800"', r'"\udfff"', r'"x\ud83dx"', r'"\ude00\ud83d"'])
def test_texts_have_no_lone_surrogates(field: str, written: str) -> None:
    reason(body_with("UpdateDebtorInfo", field, written), "UpdateDebtorInfo")


def test_texts_are_utf8() -> None:
    body = body_with("UpdateDebtorInfo", "debtor_info_iri", '"<byte>"')
    text = reason(body.replace(b"<byte>", b"\xff"), "UpdateDebtorInfo")
    assert "UTF-8" in text


@pytest.mark.parametrize("text", ["x" * 201, "ж" * 201, "𝔻" * 201])
def test_the_iri_is_too_long(text: str) -> None:
    document = {**golden("UpdateDebtorInfo"), "debtor_info_iri": text}
    assert "debtor_info_iri" in reason(document, "UpdateDebtorInfo")


@pytest.mark.parametrize("text", ["x" * 101, "ж", "text/html é", "tеxt/html", "\u2028"])
def test_the_content_type_is_too_long_or_not_ascii(text: str) -> None:
    document = {**golden("UpdateDebtorInfo"), "debtor_info_content_type": text}
    assert "debtor_info_content_type" in reason(document, "UpdateDebtorInfo")


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0" * 63,
        "0" * 65,
        "0" * 128,
        "G" * 64,
        " " * 64,
        "0" * 63 + "g",
        "g" + "0" * 63,
        "0" * 64 + "\n",
        "\n",
        "٠" * 64,
        "０" * 64,
        "0x" + "0" * 62,
    ],
    ids=ascii,
)
def test_the_hash_is_none(text: str) -> None:
    document = {**golden("UpdateDebtorInfo"), "debtor_info_sha256": text}
    assert "debtor_info_sha256" in reason(document, "UpdateDebtorInfo")
