"""Chores to messages and back, and what is left in the queue by other versions of the node."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.chores import (
    CapitalizeInterest,
    ChangeInterestRate,
    Chore,
    PurgeAccount,
    RemindOfTransfer,
    SendAccountUpdate,
    TryToDeleteAccount,
    UpdateDebtorInfo,
)
from swpt_accounts.ledger.values import MAX_INT64, MIN_INT64
from swpt_accounts.protocol.chores import decode_chore, encode_chore
from swpt_accounts.protocol.decoding import BODY_BYTES_MAX, CONTENT_TYPE
from tests.factories import change_interest_rate, every_chore, update_debtor_info
from tests.protocol.chore_documents import DOCUMENTS, golden, reason

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)
HASH = bytes(range(32))

GOLDEN: dict[str, Chore] = {
    "TryToDeleteAccount": TryToDeleteAccount(1, -2),
    "CapitalizeInterest": CapitalizeInterest(1, -2),
    "ChangeInterestRate": ChangeInterestRate(1, -2, 5.5, MOMENT),
    "UpdateDebtorInfo": UpdateDebtorInfo(
        1, -2, "https://example.com/", "text/plain", HASH.hex().upper(), MOMENT
    ),
    "SendAccountUpdate": SendAccountUpdate(1, -2),
    "PurgeAccount": PurgeAccount(1, -2),
    "RemindOfTransfer": RemindOfTransfer(1, -2, 22489410834530305),
}


def decoded(document: dict[str, Any] | str) -> Chore:
    body = document if isinstance(document, str) else json.dumps(document)
    message_type = json.loads(body)["type"]
    return decode_chore(message_type, CONTENT_TYPE, body.encode())


# -- the golden documents ------------------------------------------------------------------------


@pytest.mark.parametrize("message_type", DOCUMENTS)
def test_golden_documents(message_type: str) -> None:
    assert decoded(golden(message_type)) == GOLDEN[message_type]


@pytest.mark.parametrize("message_type", DOCUMENTS)
def test_what_is_written_is_the_golden_document(message_type: str) -> None:
    written = json.loads(encode_chore(GOLDEN[message_type]))
    document = golden(message_type)
    assert written.keys() == document.keys()
    if "ts" in written:
        moments = [datetime.fromisoformat(it.pop("ts")) for it in (written, document)]
        assert moments == [MOMENT, MOMENT]
    assert written == document


@pytest.mark.parametrize("chore", every_chore(), ids=lambda chore: type(chore).__name__)
def test_what_is_written_can_be_read(chore: Chore) -> None:
    assert decode_chore(type(chore).__name__, CONTENT_TYPE, encode_chore(chore)) == chore


@pytest.mark.parametrize("rate", [0.0, -50.0, 100.0, 5e-324, 1e-50, 0.1, 3.123456789012345])
def test_no_digit_of_a_rate_is_lost(rate: float) -> None:
    chore = change_interest_rate(interest_rate=rate)
    assert decoded(encode_chore(chore).decode()) == chore


@pytest.mark.parametrize("ids", [(MIN_INT64, MAX_INT64), (MAX_INT64, MIN_INT64), (0, 0), (-1, -1)])
def test_no_digit_of_an_id_is_lost(ids: tuple[int, int]) -> None:
    for chore in (CapitalizeInterest(*ids), RemindOfTransfer(*ids, ids[1])):
        assert decoded(encode_chore(chore).decode()) == chore


@pytest.mark.parametrize("microsecond", [0, 1, 999999])
def test_no_microsecond_is_lost(microsecond: int) -> None:
    chore = change_interest_rate(ts=datetime(2026, 1, 1, microsecond=microsecond, tzinfo=UTC))
    assert decoded(encode_chore(chore).decode()) == chore


# -- what other versions have written --------------------------------------------------------------


@pytest.mark.parametrize("message_type", DOCUMENTS)
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda document: json.dumps(document, indent=8), id="with spaces"),
        pytest.param(lambda document: json.dumps(document, separators=(",", ":")), id="without"),
        pytest.param(lambda document: json.dumps(document, sort_keys=True), id="sorted"),
        pytest.param(lambda document: json.dumps({**document, "unknown": [1]}), id="and more"),
    ],
)
def test_spaces_order_and_unknown_fields_do_not_matter(message_type: str, written: Any) -> None:
    assert decoded(written(golden(message_type))) == GOLDEN[message_type]


@pytest.mark.parametrize(
    ("ts", "moment"),
    [
        ("2022-01-02T00:00:00Z", datetime(2022, 1, 2, tzinfo=UTC)),
        ("2024-01-02T03:04:05.678901+00:00", MOMENT),
        ("2024-01-02T05:34:05.678901+02:30", MOMENT),
        ("2024-01-01T03:04:05.678901-23:59", MOMENT - timedelta(minutes=1)),
        ("9999-12-31T23:59:59.999999+00:00", datetime.max.replace(tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("message_type", ["ChangeInterestRate", "UpdateDebtorInfo"])
def test_moments_are_read_with_any_offset_and_kept_in_utc(
    message_type: str, ts: str, moment: datetime
) -> None:
    chore = decoded({**golden(message_type), "ts": ts})
    assert isinstance(chore, ChangeInterestRate | UpdateDebtorInfo)
    assert chore.ts == moment
    assert chore.ts.tzinfo is UTC


@pytest.mark.parametrize(("written", "rate"), [("5", 5.0), ("-0.0", 0.0), ("1e2", 100.0)])
def test_rates_are_numbers_of_any_form(written: str, rate: float) -> None:
    body = json.dumps({**golden("ChangeInterestRate"), "interest_rate": 77})
    chore = decoded(body.replace("77", written))
    assert isinstance(chore, ChangeInterestRate)
    assert chore.interest_rate == rate
    assert isinstance(chore.interest_rate, float)


@pytest.mark.parametrize("rate", [-50.1, 100.1, 1e308])
def test_a_rate_beyond_its_range_is_for_the_ledger_to_contain(rate: float) -> None:
    chore = decoded({**golden("ChangeInterestRate"), "interest_rate": rate})
    assert isinstance(chore, ChangeInterestRate)
    assert chore.interest_rate == rate


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("debtor_info_iri", ""),
        ("debtor_info_iri", "x" * 200),
        ("debtor_info_iri", "ж" * 200),
        ("debtor_info_iri", "𝔻" * 200),
        ("debtor_info_content_type", ""),
        ("debtor_info_content_type", "x" * 100),
        ("debtor_info_sha256", ""),
        ("debtor_info_sha256", "0" * 64),
        ("debtor_info_sha256", "F" * 64),
        ("debtor_info_sha256", "f" * 64),
        ("debtor_info_sha256", "0123456789abcdef" * 4),
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_debtor_info_within_its_limits(field: str, text: str) -> None:
    for ensure_ascii in (True, False):
        document = {**golden("UpdateDebtorInfo"), field: text}
        chore = decoded(json.dumps(document, ensure_ascii=ensure_ascii))
        assert getattr(chore, field) == text


def test_the_longest_chore_is_far_from_the_longest_body() -> None:
    chore = update_debtor_info(
        debtor_id=MIN_INT64,
        creditor_id=MIN_INT64,
        debtor_info_iri="𝔻" * 200,
        debtor_info_content_type="x" * 100,
        ts=MOMENT,
    )
    escaped = json.dumps(msgspec.to_builtins(chore)).encode()
    assert len(encode_chore(chore)) < len(escaped) < BODY_BYTES_MAX / 4


# -- commands of peers are no chores ---------------------------------------------------------------


@pytest.mark.parametrize(
    "message_type", ["ConfigureAccount", "PrepareTransfer", "PendingBalanceChange", "Chore"]
)
def test_commands_of_peers_are_no_chores(message_type: str) -> None:
    text = reason({**golden("PurgeAccount"), "type": message_type}, message_type)
    assert "message type" in text
    for allowed in GOLDEN:
        assert allowed in text
