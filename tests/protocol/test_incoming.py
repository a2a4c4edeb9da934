"""Bodies that are commands, also unusual ones (protocol.rst, JSON)."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.protocol.decoding import BODY_BYTES_MAX, CONTENT_TYPE
from swpt_accounts.protocol.incoming import decode
from swpt_accounts.protocol.outgoing import encode
from tests.factories import FAR_FUTURE
from tests.protocol.documents import golden, golden_body

TS = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

COMMANDS: list[Command] = [
    ConfigureAccount(
        debtor_id=1,
        creditor_id=-2,
        negligible_amount=1e30,
        config_flags=-(2**31),
        config_data="конфигурация",
        ts=TS,
        seqnum=2**31 - 1,
    ),
    PrepareTransfer(
        debtor_id=MIN_INT64,
        creditor_id=MAX_INT64,
        coordinator_type="direct",
        coordinator_id=MAX_INT64,
        coordinator_request_id=MIN_INT64,
        min_locked_amount=0,
        max_locked_amount=MAX_INT64,
        recipient="18446744073709551609",
        final_interest_rate_ts=FAR_FUTURE,
        max_commit_delay=2**31 - 1,
        ts=TS.replace(microsecond=0),
    ),
    FinalizeTransfer(
        debtor_id=1,
        creditor_id=2,
        transfer_id=3,
        coordinator_type="agent",
        coordinator_id=4,
        coordinator_request_id=5,
        committed_amount=6,
        transfer_note='бележка 🙂 "\\\n',
        transfer_note_format="a.Z-9",
        ts=TS.replace(microsecond=1),
    ),
    PendingBalanceChange(
        debtor_id=1,
        creditor_id=2,
        change_id=1,
        coordinator_type="direct",
        transfer_note_format="",
        transfer_note="",
        committed_at=TS,
        principal_delta=5,
        other_creditor_id=3,
    ),
]


def name_of(command: Command) -> str:
    return type(command).__name__


def decoded(message_type: str, /, **fields: Any) -> Any:
    """Decode the golden document of a type with some fields replaced or added."""
    document = {**golden(message_type), **fields}
    return decode(message_type, CONTENT_TYPE, json.dumps(document).encode())


def moments(command: Command) -> list[datetime]:
    values = msgspec.structs.asdict(command).values()
    return [value for value in values if isinstance(value, datetime)]


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_a_document_gives_the_command(command: Command) -> None:
    body = golden_body(name_of(command))
    result = decode(name_of(command), "application/json", body)
    assert result == command
    assert type(result) is type(command)
    assert all(moment.tzinfo is UTC for moment in moments(result))


def test_a_balance_change_reads_as_another_shard_has_written_it() -> None:
    change = COMMANDS[3]
    assert isinstance(change, PendingBalanceChange)
    assert decode("PendingBalanceChange", CONTENT_TYPE, encode(change).body) == change


# -- as the STOMP server re-serialises messages ------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
@pytest.mark.parametrize(
    ("offset", "moment"),
    [
        ("+00:00", "2024-01-02T03:04:05.678901+00:00"),
        ("Z", "2024-01-02T03:04:05.678901Z"),
        ("+02:00", "2024-01-02T05:04:05.678901+02:00"),
        ("-11:30", "2024-01-01T15:34:05.678901-11:30"),
        ("+14:00", "2024-01-02T17:04:05.678901+14:00"),
    ],
)
def test_spaces_escapes_and_other_offsets_make_no_difference(
    command: Command, offset: str, moment: str
) -> None:
    assert moment.endswith(offset)
    document = golden(name_of(command))
    fields = {
        name: moment
        for name in ("ts", "committed_at", "final_interest_rate_ts")
        if name in document
    }
    body = json.dumps({**document, **fields})
    assert ": " in body
    assert ", " in body
    assert body.isascii()
    result = decode(name_of(command), CONTENT_TYPE, body.encode())
    expected = msgspec.structs.replace(command, **dict.fromkeys(fields, TS))
    assert result == expected
    assert all(moment.tzinfo is UTC for moment in moments(result))


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        pytest.param("2024-01-02T03:04:05Z", TS.replace(microsecond=0), id="no fraction"),
        pytest.param("2024-01-02T03:04:05.6Z", TS.replace(microsecond=600000), id="one digit"),
        pytest.param("2024-01-02T03:04:05.678901Z", TS, id="six digits"),
        pytest.param("2024-01-02 03:04:05.678901+00:00", TS, id="a space for the T"),
        pytest.param("9999-12-31T23:59:59Z", FAR_FUTURE, id="the end of time"),
        pytest.param(
            "9999-12-31T23:59:59.999999Z", FAR_FUTURE.replace(microsecond=999999), id="the very end"
        ),
        pytest.param("9999-12-31T23:59:59+00:00", FAR_FUTURE, id="the end of time with an offset"),
        pytest.param(
            "9999-12-31T23:59:59+12:00", FAR_FUTURE.replace(hour=11), id="shortly before the end"
        ),
        pytest.param(
            "0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), id="the beginning of time"
        ),
        pytest.param(
            "0001-01-01T00:00:00-01:00",
            datetime(1, 1, 1, 1, tzinfo=UTC),
            id="shortly after the beginning",
        ),
        pytest.param(
            "2024-02-29T23:59:59-00:00",
            datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
            id="a leap day",
        ),
    ],
)
@pytest.mark.parametrize(
    ("message_type", "field"),
    [
        ("ConfigureAccount", "ts"),
        ("PrepareTransfer", "ts"),
        ("PrepareTransfer", "final_interest_rate_ts"),
        ("FinalizeTransfer", "ts"),
        ("PendingBalanceChange", "committed_at"),
    ],
)
def test_moments_are_understood_in_utc(
    message_type: str, field: str, written: str, moment: datetime
) -> None:
    result = getattr(decoded(message_type, **{field: written}), field)
    assert result == moment
    assert result.tzinfo is UTC


def test_digits_beyond_a_microsecond_are_not_needed() -> None:
    result = decoded("ConfigureAccount", ts="2024-01-02T03:04:05.678901000Z")
    assert result.ts == TS


# -- extremes ---------------------------------------------------------------------------------

INTEGERS = {
    "ConfigureAccount": {"debtor_id": 64, "creditor_id": 64, "config_flags": 32, "seqnum": 32},
    "PrepareTransfer": {"debtor_id": 64, "coordinator_request_id": 64},
    "FinalizeTransfer": {
        "debtor_id": 64,
        "creditor_id": 64,
        "transfer_id": 64,
        "coordinator_id": 64,
        "coordinator_request_id": 64,
    },
    "PendingBalanceChange": {
        "debtor_id": 64,
        "creditor_id": 64,
        "change_id": 64,
        "other_creditor_id": 64,
    },
}


@pytest.mark.parametrize(
    ("message_type", "field", "bits"),
    [(name, field, bits) for name, fields in INTEGERS.items() for field, bits in fields.items()],
)
def test_integers_may_use_all_their_bits(message_type: str, field: str, bits: int) -> None:
    for value in (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, -1, 0):
        result = getattr(decoded(message_type, **{field: value}), field)
        assert result == value
        assert type(result) is int


@pytest.mark.parametrize(
    ("message_type", "fields"),
    [
        ("PrepareTransfer", {"min_locked_amount": MAX_INT64, "max_locked_amount": MAX_INT64}),
        ("PrepareTransfer", {"max_commit_delay": 0}),
        ("PrepareTransfer", {"max_commit_delay": 2**31 - 1}),
        ("PrepareTransfer", {"recipient": ""}),
        ("PrepareTransfer", {"recipient": "x" * 100}),
        ("PrepareTransfer", {"recipient": "+5"}),
        ("PrepareTransfer", {"coordinator_type": "x"}),
        ("PrepareTransfer", {"coordinator_type": "x" * 30}),
        ("FinalizeTransfer", {"committed_amount": 0}),
        ("FinalizeTransfer", {"committed_amount": MAX_INT64}),
        ("FinalizeTransfer", {"transfer_note": ""}),
        ("FinalizeTransfer", {"transfer_note": "x" * 500}),
        ("FinalizeTransfer", {"transfer_note": "ж" * 250}),
        ("FinalizeTransfer", {"transfer_note": "🙂" * 125}),
        ("FinalizeTransfer", {"transfer_note_format": ""}),
        ("FinalizeTransfer", {"transfer_note_format": "09AZaz.-"}),
        ("PendingBalanceChange", {"principal_delta": MAX_INT64}),
        ("PendingBalanceChange", {"principal_delta": -MAX_INT64}),
        ("PendingBalanceChange", {"coordinator_type": "interest"}),
        ("ConfigureAccount", {"config_data": "x" * 2000}),
        ("ConfigureAccount", {"config_data": "ж" * 1000}),
        ("ConfigureAccount", {"config_data": "\x01\x7f\x80\uffff"}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:50],
)
def test_values_up_to_the_limits_are_accepted(message_type: str, fields: dict[str, Any]) -> None:
    command = decoded(message_type, **fields)
    for name, value in fields.items():
        assert getattr(command, name) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0.0", 0.0),
        ("5", 5.0),
        ("1e308", 1e308),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("1e-50", 1e-50),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("1E+30", 1e30),
        ("9007199254740993", 9007199254740992.0),
        ("0." + "3" * 400, 1 / 3),
    ],
)
def test_a_negligible_amount_may_be_any_finite_number(written: str, value: float) -> None:
    document = json.dumps({**golden("ConfigureAccount"), "negligible_amount": 0.125})
    body = document.replace("0.125", written).encode()
    result = decode("ConfigureAccount", CONTENT_TYPE, body)
    assert isinstance(result, ConfigureAccount)
    assert result.negligible_amount == value
    assert type(result.negligible_amount) is float


@pytest.mark.parametrize("message_type", INTEGERS)
def test_unknown_fields_are_ignored(message_type: str) -> None:
    unknown = {"future": {"a": [None, True, 1e300, "x"]}, "": 1, "Ж": -1, "TS": "not a moment"}
    assert decoded(message_type, **unknown) == decoded(message_type)


def test_of_a_repeated_field_the_last_one_counts() -> None:
    body = json.dumps(golden("ConfigureAccount"))[:-1] + ', "seqnum": 7, "seqnum": 8}'
    result = decode("ConfigureAccount", CONTENT_TYPE, body.encode())
    assert isinstance(result, ConfigureAccount)
    assert result.seqnum == 8


def test_white_space_around_the_document_is_allowed() -> None:
    body = (" \r\n\t" + json.dumps(golden("ConfigureAccount"), indent=4) + "\n").encode()
    assert decode("ConfigureAccount", CONTENT_TYPE, body) == COMMANDS[0]


def test_a_body_may_be_as_long_as_the_limit() -> None:
    body = json.dumps(golden("ConfigureAccount")).encode()
    padded = body + b" " * (BODY_BYTES_MAX - len(body))
    assert decode("ConfigureAccount", CONTENT_TYPE, padded) == COMMANDS[0]


def test_the_longest_message_fits_well_into_the_limit() -> None:
    """Two thousand bytes of configuration, each written as an escape of six characters."""
    body = json.dumps({**golden("ConfigureAccount"), "config_data": "\x01" * 2000}).encode()
    assert len(body) < BODY_BYTES_MAX / 2
    decode("ConfigureAccount", CONTENT_TYPE, body)


# -- coordinators -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"coordinator_type": "direct", "creditor_id": -3, "coordinator_id": -3},
            id="direct: the sender itself",
        ),
        pytest.param(
            {
                "coordinator_type": "issuing",
                "debtor_id": 9,
                "creditor_id": 0,
                "coordinator_id": 9,
            },
            id="issuing: the debtor from its root account",
        ),
        pytest.param(
            {
                "coordinator_type": "agent",
                "creditor_id": 0x20100000001,
                "coordinator_id": 0x200FFFFFFFF,
            },
            id="agent: the same subnet",
        ),
        pytest.param(
            {"coordinator_type": "agent", "creditor_id": -1, "coordinator_id": -(2**40)},
            id="agent: the highest subnet",
        ),
        pytest.param(
            {"coordinator_type": "something", "creditor_id": 5, "coordinator_id": 6},
            id="others: anybody",
        ),
    ],
)
def test_coordinators_that_may_speak_for_the_sender(fields: dict[str, Any]) -> None:
    command = decoded("PrepareTransfer", **fields)
    for name, value in fields.items():
        assert getattr(command, name) == value
