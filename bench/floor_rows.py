"""Rows and messages of the floor: like those of the node, but all bytes known beforehand."""

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from bench import workload
from swpt_accounts.ledger.events import AccountTransfer, Event, FinalizedTransfer, PreparedTransfer
from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.workers.amqp import to_amqp

FIRST_TRANSFER_ID = 20_000 << 40
"""Transfers are numbered from here, by their requests: ids as long as the node's."""

_POSTGRESQL_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NOW = datetime.now(UTC)
_FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_PRINCIPAL = 1_000_000_000
_CURRENCY = workload.new_currency(2)
_SENDER, _RECIPIENT = _CURRENCY.creditor_ids
_TRANSFER_ID = FIRST_TRANSFER_ID + 10_000
_REQUEST_ID = 10_000

_OWN_COUNT = 5

_integer = struct.Struct(">i").pack
_bigint = struct.Struct(">q").pack
_double = struct.Struct(">d").pack


class Rows:
    """COPY of rows that have five 64-bit integers each of its own, and all else in common."""

    def __init__(
        self, table: str, own: Sequence[str], in_common: Mapping[str, bytes | None]
    ) -> None:
        columns = (*own, *in_common)
        assert len(own) == _OWN_COUNT
        self.copy = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        self._columns_count = len(columns)
        self._tail = b"".join(map(_field, in_common.values()))
        self._pack = struct.Struct(f">h{'iq' * _OWN_COUNT}{len(self._tail)}s").pack

    def encode(self, a: int, b: int, c: int, d: int, e: int) -> bytes:
        """The row whose own columns have these values."""
        return self._pack(self._columns_count, 8, a, 8, b, 8, c, 8, d, 8, e, self._tail)


class Answer:
    """A message that is always the same, and its outbox row, of which only the id changes."""

    def __init__(self, event: Event) -> None:
        outgoing = encode(event)
        coordinator_type, coordinator_id = outgoing.coordinator_type, outgoing.coordinator_id
        in_common = {
            "lane": _integer(outgoing.lane),
            "exchange": outgoing.exchange.encode(),
            "routing_key": outgoing.routing_key.encode(),
            "mandatory": bytes([outgoing.mandatory]),
            "message_type": outgoing.message_type.encode(),
            "debtor_id": _bigint(outgoing.debtor_id),
            "creditor_id": _bigint(outgoing.creditor_id),
            "coordinator_type": None if coordinator_type is None else coordinator_type.encode(),
            "coordinator_id": None if coordinator_id is None else _bigint(coordinator_id),
            "origin_creditor_id": _bigint(outgoing.origin_creditor_id),
            "body": outgoing.body,
            "inserted_at": _moment(_NOW),
        }
        columns = ("id", *in_common)
        self.message = to_amqp(outgoing)
        self.copy = f"COPY outbox ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        self._head = struct.pack(">hi", len(columns), 8)
        self._tail = b"".join(map(_field, in_common.values()))

    def row(self, id_: int) -> bytes:
        """The row in the outbox with this id."""
        return self._head + _bigint(id_) + self._tail


def _field(value: bytes | None) -> bytes:
    return _integer(-1) if value is None else _integer(len(value)) + value


def _moment(moment: datetime) -> bytes:
    return _bigint((moment - _POSTGRESQL_EPOCH) // timedelta(microseconds=1))


PREPARED_TRANSFERS = Rows(
    "prepared_transfer",
    ["debtor_id", "creditor_id", "transfer_id", "coordinator_request_id", "recipient_creditor_id"],
    {
        "coordinator_type": b"direct",
        "coordinator_id": _bigint(_SENDER),
        "locked_amount": _bigint(1),
        "prepared_at": _moment(_NOW),
        "final_interest_rate_ts": _moment(_FOREVER),
        "demurrage_rate": _double(-50.0),
        "deadline": _moment(_NOW),
        "last_reminder_ts": None,
    },
)

JOURNAL = Rows(
    "journal",
    ["debtor_id", "creditor_id", "journal_number", "other_creditor_id", "transfer_id"],
    {
        "creation_date": _integer((_NOW - _POSTGRESQL_EPOCH).days),
        "applied_at": _moment(_NOW),
        "committed_at": _moment(_NOW),
        "amount": _bigint(1),
        "clipped_amount": _bigint(0),
        "principal": _bigint(_PRINCIPAL),
        "coordinator_type": b"direct",
        "change_id": None,
        "transfer_note_format": b"",
        "transfer_note": b"",
    },
)

PREPARED_TRANSFER = Answer(
    PreparedTransfer(
        debtor_id=_CURRENCY.debtor_id,
        creditor_id=_SENDER,
        transfer_id=_TRANSFER_ID,
        coordinator_type="direct",
        coordinator_id=_SENDER,
        coordinator_request_id=_REQUEST_ID,
        locked_amount=1,
        recipient=str(_RECIPIENT),
        prepared_at=_NOW,
        demurrage_rate=-50.0,
        deadline=_NOW,
        final_interest_rate_ts=_FOREVER,
        ts=_NOW,
    )
)

FINALIZED_TRANSFER = Answer(
    FinalizedTransfer(
        debtor_id=_CURRENCY.debtor_id,
        creditor_id=_SENDER,
        transfer_id=_TRANSFER_ID,
        coordinator_type="direct",
        coordinator_id=_SENDER,
        coordinator_request_id=_REQUEST_ID,
        committed_amount=1,
        status_code="OK",
        total_locked_amount=0,
        prepared_at=_NOW,
        ts=_NOW,
    )
)


def _account_transfer(creditor_id: int, amount: int) -> Answer:
    return Answer(
        AccountTransfer(
            debtor_id=_CURRENCY.debtor_id,
            creditor_id=creditor_id,
            creation_date=_NOW.date(),
            transfer_number=10,
            coordinator_type="direct",
            sender=str(_SENDER),
            recipient=str(_RECIPIENT),
            acquired_amount=amount,
            transfer_note="",
            transfer_note_format="",
            committed_at=_NOW,
            principal=_PRINCIPAL,
            previous_transfer_number=10,
            ts=_NOW,
        )
    )


SENDER_TRANSFER = _account_transfer(_SENDER, -1)
RECIPIENT_TRANSFER = _account_transfer(_RECIPIENT, 1)
