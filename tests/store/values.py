"""Strategies for what columns may hold, the extremes included."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.values import MAX_INT32, MAX_INT64, MIN_INT32, MIN_INT64

EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)
MOMENTS: Final = (
    EARLIEST,
    EARLIEST + timedelta(microseconds=1),
    datetime(1582, 10, 10, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 59, 59, 999999, tzinfo=UTC),
    LATEST.replace(microsecond=0),
    LATEST,
)
FLOATS: Final = (
    0.0,
    -0.0,
    5e-324,
    -2.2250738585072014e-308,
    0.1,
    1 / 3,
    1e16 + 2,
    123456789.12345679,
    -1e24,
    1.7976931348623157e308,
)
INTEGERS: Final = (MIN_INT64, -(2**53) - 1, -1, 0, 1, 2**53 + 1, MAX_INT64)
TEXTS: Final = ("", "NULL", "null", "{}", '{"a":"\\"}', "a,b", " ", "'%s'", "\\", "\n", "☕ кафе")

moments = st.one_of(
    st.sampled_from(MOMENTS),
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
)
dates = st.dates(date(1, 1, 1), date(9999, 12, 31))
int64s = st.one_of(st.sampled_from(INTEGERS), st.integers(MIN_INT64, MAX_INT64))
int32s = st.integers(MIN_INT32, MAX_INT32)
counts = st.integers(0, MAX_INT64)
rates = st.floats(-50.0, 100.0)
storable_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.one_of(st.sampled_from(TEXTS), st.text(storable_characters))

# What the table's constraints allow.
ACCOUNT_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "last_change_seqnum": int32s,
    "last_change_ts": moments,
    "principal": st.integers(-MAX_INT64, MAX_INT64),
    "interest": st.floats(-1e24, 1e24),
    "last_transfer_number": counts,
    "last_transfer_committed_at": moments,
    "last_transfer_id": counts,
    "total_locked_amount": counts,
    "pending_transfers_count": st.integers(0, MAX_INT32),
    "last_journal_number": counts,
    "is_overflown": st.booleans(),
    "update_pending_since": st.none() | moments,
    "last_update_sent_ts": moments,
    "interest_rate": rates,
    "last_interest_rate_change_ts": moments,
    "previous_interest_rate": rates,
    "last_config_ts": moments,
    "last_config_seqnum": int32s,
    "negligible_amount": st.floats(0.0, allow_infinity=False),
    "config_flags": int32s,
    "config_data": st.one_of(st.just("ж" * 1000), texts.filter(lambda t: len(t.encode()) <= 2000)),
    "debtor_info_iri": texts,
    "debtor_info_content_type": texts,
    "debtor_info_sha256": st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)),
    "is_deleted": st.booleans(),
    "last_interest_capitalization_ts": moments,
    "last_deletion_attempt_ts": moments,
}

accounts = st.builds(
    Account, debtor_id=int64s, creditor_id=int64s, creation_date=dates, **ACCOUNT_FIELDS
)
