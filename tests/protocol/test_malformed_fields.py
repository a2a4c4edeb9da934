"""Messages with wrong fields: each is refused with a reason that names the field."""

import json

import pytest

from tests.protocol.documents import (
    FLOATS,
    MESSAGE_TYPES,
    MOMENTS,
    TEXTS,
    body_with,
    fields_of,
    golden,
    reason,
)

INTEGER_FIELDS = fields_of(but=FLOATS | TEXTS | MOMENTS)


# -- missing and wrong values -----------------------------------------------------------------


@pytest.mark.parametrize(("message_type", "field"), fields_of())
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
