"""Events on the wire, compared with documents written by hand (protocol.rst, JSON)."""

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger import events
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.values import EPOCH
from swpt_accounts.protocol import outgoing
from swpt_accounts.protocol.outgoing import LANES_PER_MESSAGE_TYPE, encode, headers, lanes_of
from swpt_accounts.protocol.routing import MESSAGE_TYPES
from tests.factories import FAR_FUTURE, event, every_event
from tests.protocol.documents import GOLDEN, golden

TS = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WHOLE_SECOND = TS.replace(microsecond=0)
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

_COORDINATED = {
    "debtor_id": 1,
    "creditor_id": 2,
    "transfer_id": 3,
    "coordinator_type": "agent",
    "coordinator_id": 4,
    "coordinator_request_id": 5,
}
EVENTS: list[events.Event] = [
    events.RejectedConfig(
        debtor_id=1,
        creditor_id=-2,
        config_ts=TS,
        config_seqnum=-5,
        config_flags=-(2**31),
        negligible_amount=1e-7,
        config_data='не е валидно 🙂 "\\',
        rejection_code="INVALID_CONFIGURATION",
        ts=TS.replace(second=6, microsecond=0),
    ),
    events.RejectedTransfer(
        debtor_id=MIN_INT64,
        creditor_id=MAX_INT64,
        coordinator_type="direct",
        coordinator_id=MAX_INT64,
        coordinator_request_id=MIN_INT64,
        status_code="INSUFFICIENT_AVAILABLE_AMOUNT",
        total_locked_amount=MAX_INT64,
        ts=TS,
    ),
    events.PreparedTransfer(
        **_COORDINATED,  # type: ignore[arg-type]
        locked_amount=6,
        recipient="18446744073709551609",
        prepared_at=TS,
        demurrage_rate=-50.0,
        deadline=datetime(2024, 1, 2, 1, 4, 5, 123000, tzinfo=UTC),
        final_interest_rate_ts=FAR_FUTURE,
        ts=WHOLE_SECOND,
    ),
    events.FinalizedTransfer(
        debtor_id=1,
        creditor_id=0,
        transfer_id=3,
        coordinator_type="issuing",
        coordinator_id=1,
        coordinator_request_id=5,
        committed_amount=0,
        status_code="TIMEOUT",
        total_locked_amount=17,
        prepared_at=TS,
        ts=TS.replace(month=4, microsecond=678902),
    ),
    events.AccountUpdate(
        debtor_id=1,
        creditor_id=-2,
        creation_date=date(2024, 1, 1),
        last_change_ts=TS,
        last_change_seqnum=1,
        principal=10,
        interest=1e-7,
        interest_rate=5.0,
        last_interest_rate_change_ts=EPOCH,
        last_config_ts=TS,
        last_config_seqnum=-5,
        negligible_amount=1e30,
        config_flags=1,
        config_data="",
        account_id="18446744073709551614",
        debtor_info_iri="",
        debtor_info_content_type="",
        debtor_info_sha256=bytes(range(32)),
        last_transfer_number=0,
        last_transfer_committed_at=EPOCH,
        demurrage_rate=-50.0,
        commit_period=7_776_000,
        transfer_note_max_bytes=500,
        ts=TS,
        ttl=604_800,
    ),
    events.AccountPurge(
        debtor_id=1, creditor_id=2, creation_date=date(2024, 1, 1), ts=WHOLE_SECOND
    ),
    events.AccountTransfer(
        debtor_id=1,
        creditor_id=2,
        creation_date=date(2024, 1, 1),
        transfer_number=8,
        coordinator_type="direct",
        sender="2",
        recipient="18446744073709551613",
        acquired_amount=-5,
        transfer_note="",
        transfer_note_format="",
        committed_at=TS,
        principal=-MAX_INT64,
        previous_transfer_number=7,
        ts=TS,
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

FLOATS = {"negligible_amount", "interest", "interest_rate", "demurrage_rate"}
MOMENTS = {
    "ts",
    "config_ts",
    "prepared_at",
    "deadline",
    "final_interest_rate_ts",
    "last_change_ts",
    "last_interest_rate_change_ts",
    "last_config_ts",
    "last_transfer_committed_at",
    "committed_at",
}
TEXTS = {
    "type",
    "config_data",
    "rejection_code",
    "coordinator_type",
    "status_code",
    "recipient",
    "sender",
    "account_id",
    "debtor_info_iri",
    "debtor_info_content_type",
    "debtor_info_sha256",
    "transfer_note",
    "transfer_note_format",
    "creation_date",
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00")


class Literal(str):
    """A number as it is written in the document."""


def name_of(message: events.Event) -> str:
    return type(message).__name__


def literals(body: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(body, parse_int=Literal, parse_float=Literal)
    return document


def test_there_is_a_document_for_every_message_type() -> None:
    assert [name_of(message) for message in EVENTS] == list(MESSAGE_TYPES)
    incoming = {"ConfigureAccount", "PrepareTransfer", "FinalizeTransfer"}
    assert {path.stem for path in GOLDEN.iterdir()} == {*MESSAGE_TYPES, *incoming}


@pytest.mark.parametrize("message", EVENTS, ids=name_of)
def test_an_event_gives_the_document(message: events.Event) -> None:
    expected = golden(name_of(message))
    document = json.loads(encode(message).body)
    assert document == expected
    assert set(document) == set(expected)
    assert {n: type(v) for n, v in document.items()} == {n: type(v) for n, v in expected.items()}


@pytest.mark.parametrize("message", EVENTS, ids=name_of)
def test_every_field_is_written_in_the_way_of_its_type(message: events.Event) -> None:
    for name, written in literals(encode(message).body).items():
        if name in FLOATS:
            assert isinstance(written, Literal)
            assert set(written) & set(".e"), f"{name} is {written}, which looks like an integer"
        elif name in MOMENTS:
            assert MOMENT.fullmatch(written), f"{name} is {written}"
        elif name in TEXTS:
            assert not isinstance(written, Literal)
        else:
            assert isinstance(written, Literal)
            assert re.fullmatch(r"-?\d+", written), f"{name} is {written}"


@pytest.mark.parametrize("message", EVENTS, ids=name_of)
def test_bodies_are_compact_utf_8_with_nothing_escaped_needlessly(message: events.Event) -> None:
    body = encode(message).body
    document = json.loads(body)
    assert len(body) <= len(
        json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    )
    assert b"\\u" not in body


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, 1.0, -1.0, 0.1, 33.333333333333336, 1234567.0, 123456789.0, 1e15, 1e16, 1e17),
        *(2.0**53, 2.0**63, 1e22, 1e30, 1.7976931348623157e308, 1e-7, 5e-324),
    ],
)
def test_floats_look_like_floats_and_keep_all_their_bits(value: float) -> None:
    update = event(
        events.AccountUpdate, negligible_amount=abs(value), interest=value, interest_rate=value
    )
    body = encode(update).body
    for name in ("negligible_amount", "interest", "interest_rate"):
        assert set(literals(body)[name]) & set(".e")
    assert json.loads(body)["interest"] == value
    assert json.loads(body)["negligible_amount"] == abs(value)


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (EPOCH, "1970-01-01T00:00:00+00:00"),
        (FAR_FUTURE, "9999-12-31T23:59:59+00:00"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999+00:00"),
        (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00+00:00"),
        (datetime(2024, 1, 2, 3, 4, 5, 1, tzinfo=UTC), "2024-01-02T03:04:05.000001+00:00"),
        (datetime(2024, 1, 2, 3, 4, 5, 100000, tzinfo=UTC), "2024-01-02T03:04:05.100000+00:00"),
    ],
)
def test_moments_have_six_digits_of_a_second_or_none(moment: datetime, written: str) -> None:
    assert json.loads(encode(event(events.AccountPurge, ts=moment)).body)["ts"] == written


@pytest.mark.parametrize(
    ("sha256", "written"), [(b"", ""), (b"\xab" * 32, "AB" * 32), (bytes(32), "00" * 32)]
)
def test_hashes_are_upper_case_digits_or_nothing(sha256: bytes, written: str) -> None:
    body = encode(event(events.AccountUpdate, debtor_info_sha256=sha256)).body
    assert json.loads(body)["debtor_info_sha256"] == written


@pytest.mark.parametrize("text", ["", "конфигурация", "🙂", "\x7f\x80\u2028", 'quote " \\ \n\t'])
def test_texts_are_echoed_to_the_byte(text: str) -> None:
    body = encode(event(events.RejectedConfig, config_data=text)).body
    assert json.loads(body)["config_data"] == text


# -- what surrounds the body ---------------------------------------------------------------


@pytest.mark.parametrize("message", EVENTS, ids=name_of)
def test_headers_name_type_account_and_coordinator(message: events.Event) -> None:
    row = encode(message)
    expected: dict[str, Any] = {
        "message-type": name_of(message),
        "debtor-id": message.debtor_id,
        "creditor-id": message.creditor_id,
    }
    if isinstance(
        message, events.RejectedTransfer | events.PreparedTransfer | events.FinalizedTransfer
    ):
        expected["coordinator-id"] = message.coordinator_id
        expected["coordinator-type"] = message.coordinator_type
    assert (
        headers(
            row.message_type,
            row.debtor_id,
            row.creditor_id,
            row.coordinator_type,
            row.coordinator_id,
        )
        == expected
    )


def test_a_coordinator_id_of_zero_is_told() -> None:
    assert headers("RejectedTransfer", 0, 0, "direct", 0) == {
        "message-type": "RejectedTransfer",
        "debtor-id": 0,
        "creditor-id": 0,
        "coordinator-id": 0,
        "coordinator-type": "direct",
    }


def test_the_application_is_named_as_peers_know_it() -> None:
    assert outgoing.APP_ID == "swpt_accounts"


@pytest.mark.parametrize(
    ("message", "exchange", "routing_key", "mandatory"),
    [
        (EVENTS[0], "to_creditors", "ff.ff.ff.ff.ff.ff.ff.fe", True),
        (EVENTS[1], "to_coordinators", "7f.ff.ff.ff.ff.ff.ff.ff", True),
        (EVENTS[2], "to_coordinators", "00.00.00.00.00.00.00.04", True),
        (EVENTS[3], "to_coordinators", "00.00.00.00.00.00.00.01", True),
        (EVENTS[4], "to_creditors", "ff.ff.ff.ff.ff.ff.ff.fe", True),
        (EVENTS[5], "to_creditors", "00.00.00.00.00.00.00.02", True),
        (EVENTS[6], "to_creditors", "00.00.00.00.00.00.00.02", True),
        (EVENTS[7], "accounts_in", "1.1.1.1.0.0.0.0.0.0.0.1.0.1.0.0.1.1.0.0.0.1.0.0", True),
        (
            event(events.AccountUpdate, debtor_id=1, creditor_id=0, config_flags=1),
            "to_debtors",
            "00.00.00.00.00.00.00.01",
            False,
        ),
    ],
    ids=[*MESSAGE_TYPES, "AccountUpdate of a deactivated debtor"],
)
def test_a_message_knows_where_it_goes(
    message: events.Event, exchange: str, routing_key: str, mandatory: bool
) -> None:
    row = encode(message)
    assert (row.exchange, row.routing_key, row.mandatory) == (exchange, routing_key, mandatory)
    assert row.message_type == name_of(message)
    assert (row.debtor_id, row.creditor_id) == (message.debtor_id, message.creditor_id)


@pytest.mark.parametrize("message", EVENTS, ids=name_of)
def test_a_message_belongs_to_the_account_that_caused_it(message: events.Event) -> None:
    """After a split, it tells which of the two shards has to send the message."""
    caused_by = 3 if isinstance(message, PendingBalanceChange) else message.creditor_id
    assert encode(message).origin_creditor_id == caused_by


# -- lanes ---------------------------------------------------------------------------------


def test_every_message_type_has_lanes_of_its_own() -> None:
    lanes = [lane for message_type in MESSAGE_TYPES for lane in lanes_of(message_type)]
    assert lanes == list(range(len(MESSAGE_TYPES) * LANES_PER_MESSAGE_TYPE))


@pytest.mark.parametrize("message", every_event(), ids=name_of)
@pytest.mark.parametrize(
    ("debtor_id", "creditor_id"), [(0, 0), (MIN_INT64, MIN_INT64), (MAX_INT64, MAX_INT64), (-1, 0)]
)
def test_a_message_travels_in_a_lane_of_its_type(
    message: events.Event, debtor_id: int, creditor_id: int
) -> None:
    moved = msgspec.structs.replace(message, debtor_id=debtor_id, creditor_id=creditor_id)
    assert encode(moved).lane in lanes_of(name_of(message))


def test_accounts_spread_over_all_lanes_of_a_type() -> None:
    lanes = {
        encode(event(events.AccountPurge, debtor_id=1, creditor_id=n)).lane for n in range(100)
    }
    assert lanes == set(lanes_of("AccountPurge"))
