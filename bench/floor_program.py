"""The leanest program that moves what transfers move: the same messages and rows, and no rules.

It believes every message, and knows beforehand nearly all bytes of its answers. So it shows what
RabbitMQ, PostgreSQL and a Python process between them cost when nothing has to be decided. The
node's environment names the servers, and the argument a schema with tables like the node's.
"""

import gc
import os
import sys
from collections import Counter
from collections.abc import Sequence

import msgspec
import psycopg

from bench.floor_rows import (
    FINALIZED_TRANSFER,
    FIRST_TRANSFER_ID,
    JOURNAL,
    PREPARED_TRANSFER,
    PREPARED_TRANSFERS,
    RECIPIENT_TRANSFER,
    SENDER_TRANSFER,
    Answer,
)
from swpt_accounts.broker.consumer import Consumer, Delivery
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.store.arrays import numbers
from swpt_accounts.store.connection import LOOK_UPS_ONLY, connect
from swpt_accounts.workers import supervisor
from swpt_accounts.workers.stopping import Stopping

_BATCH_SIZE_MAX = 2000
_WAIT_SECONDS = 0.5
_CONFIRM_SECONDS = 60.0

_LOCK_AMOUNTS = """
    UPDATE account
    SET total_locked_amount = total_locked_amount + new.count,
        pending_transfers_count = pending_transfers_count + new.count,
        last_transfer_id = last_transfer_id + new.count
    FROM unnest(%s::bigint[], %s::bigint[], %s::integer[]) AS new (debtor_id, creditor_id, count)
    WHERE account.debtor_id = new.debtor_id AND account.creditor_id = new.creditor_id
"""
_MOVE_AMOUNTS = """
    UPDATE account
    SET principal = principal + new.received_count - new.sent_count,
        total_locked_amount = total_locked_amount - new.sent_count,
        pending_transfers_count = pending_transfers_count - new.sent_count,
        last_change_seqnum = last_change_seqnum + 1,
        last_change_ts = transaction_timestamp(),
        last_transfer_number = last_transfer_number + new.received_count + new.sent_count,
        last_transfer_committed_at = transaction_timestamp(),
        last_journal_number = last_journal_number + new.received_count + new.sent_count
    FROM unnest(%s::bigint[], %s::bigint[], %s::integer[], %s::integer[])
        AS new (debtor_id, creditor_id, received_count, sent_count)
    WHERE account.debtor_id = new.debtor_id AND account.creditor_id = new.creditor_id
"""
_REMOVE_PREPARED = """
    DELETE FROM prepared_transfer AS p
    USING unnest(%s::bigint[], %s::bigint[], %s::bigint[])
        AS key (debtor_id, creditor_id, transfer_id)
    WHERE p.debtor_id = key.debtor_id
        AND p.creditor_id = key.creditor_id
        AND p.transfer_id = key.transfer_id
    RETURNING p.debtor_id, p.creditor_id, p.recipient_creditor_id, p.transfer_id
"""
_LAST_OUTBOX_ID = "SELECT coalesce(max(id), 0) FROM outbox"
_DELETE_SENT = "DELETE FROM outbox WHERE id BETWEEN %s AND %s"
_COPY_BEGIN = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = b"\xff\xff"


class _Request(msgspec.Struct, gc=False):
    """As much of a PrepareTransfer as one must know."""

    debtor_id: int
    creditor_id: int
    number: int = msgspec.field(name="coordinator_request_id")
    recipient: int


class _Commit(msgspec.Struct, gc=False):
    """As much of a FinalizeTransfer as one must know."""

    debtor_id: int
    creditor_id: int
    transfer_id: int


_read_request = msgspec.json.Decoder(_Request, strict=False).decode
_read_commit = msgspec.json.Decoder(_Commit).decode


class _Floor:
    """One batch after the other, each in one transaction; then its answers, then the acks."""

    def __init__(self, connection: psycopg.Connection, publisher: Publisher) -> None:
        self._connection = connection
        self._publisher = publisher
        row = connection.execute(_LAST_OUTBOX_ID).fetchone()
        assert row is not None
        self._last_id: int = row[0]

    def move(self, deliveries: Sequence[Delivery]) -> None:
        """All of them are of the first one's type."""
        before = self._last_id
        with self._connection.transaction(), self._connection.cursor() as cursor:
            if deliveries[0].message_type == "PrepareTransfer":
                answers = self._prepare(cursor, deliveries)
            else:
                answers = self._finalize(cursor, deliveries)
        self._publisher.publish([answer.message for answer in answers])
        self._connection.execute(_DELETE_SENT, (before + 1, self._last_id), prepare=True)

    def _prepare(self, cursor: psycopg.Cursor, deliveries: Sequence[Delivery]) -> list[Answer]:
        requests = [_read_request(delivery.body) for delivery in deliveries]
        counts = Counter([(request.debtor_id, request.creditor_id) for request in requests])
        debtor_ids, creditor_ids = zip(*counts, strict=True)
        arrays = numbers(debtor_ids), numbers(creditor_ids), numbers(counts.values())
        cursor.execute(_LOCK_AMOUNTS, arrays, prepare=True)
        encode = PREPARED_TRANSFERS.encode
        rows = [
            encode(r.debtor_id, r.creditor_id, FIRST_TRANSFER_ID + r.number, r.number, r.recipient)
            for r in requests
        ]
        _copy(cursor, PREPARED_TRANSFERS.copy, rows)
        return self._answer(cursor, [PREPARED_TRANSFER] * len(requests))

    def _finalize(self, cursor: psycopg.Cursor, deliveries: Sequence[Delivery]) -> list[Answer]:
        commits = [_read_commit(delivery.body) for delivery in deliveries]
        keys = (
            numbers([commit.debtor_id for commit in commits]),
            numbers([commit.creditor_id for commit in commits]),
            numbers([commit.transfer_id for commit in commits]),
        )
        removed = cursor.execute(_REMOVE_PREPARED, keys, prepare=True, binary=True).fetchall()
        sent = Counter([(debtor, sender) for debtor, sender, _, _ in removed])
        received = Counter([(debtor, recipient) for debtor, _, recipient, _ in removed])
        accounts = list(sent.keys() | received.keys())
        debtor_ids, creditor_ids = zip(*accounts, strict=True)
        counts = (
            numbers([received[key] for key in accounts]),
            numbers([sent[key] for key in accounts]),
        )
        arrays = numbers(debtor_ids), numbers(creditor_ids), *counts
        cursor.execute(_MOVE_AMOUNTS, arrays, prepare=True)
        encode = JOURNAL.encode
        # An id that no other transfer of the account has will also do as a journal number.
        rows = [
            encode(debtor, sender, id_, recipient, id_)
            for debtor, sender, recipient, id_ in removed
        ]
        rows += [
            encode(debtor, recipient, id_, sender, id_)
            for debtor, sender, recipient, id_ in removed
        ]
        _copy(cursor, JOURNAL.copy, rows)
        answers = [FINALIZED_TRANSFER, SENDER_TRANSFER, RECIPIENT_TRANSFER]
        return self._answer(cursor, answers * len(removed))

    def _answer(self, cursor: psycopg.Cursor, answers: list[Answer]) -> list[Answer]:
        """Chooses the ids of the outbox rows, so that the database need not be asked for them."""
        rows = [answer.row(id_) for id_, answer in enumerate(answers, self._last_id + 1)]
        _copy(cursor, answers[0].copy, rows)
        self._last_id += len(rows)
        return answers


def _copy(cursor: psycopg.Cursor, statement: str, rows: Sequence[bytes]) -> None:
    with cursor.copy(statement) as copy:
        copy.write(b"".join([_COPY_BEGIN, *rows, _COPY_END]))


def _work(stopping: Stopping) -> None:
    gc.disable()
    broker_url, queue = os.environ["PROTOCOL_BROKER_URL"], os.environ["PROTOCOL_BROKER_QUEUE"]
    publisher = Publisher(broker_url, confirm_timeout_seconds=_CONFIRM_SECONDS)
    consumer = Consumer(broker_url, queue, prefetch_count=2 * _BATCH_SIZE_MAX)
    with connect(
        os.environ["POSTGRES_URL"],
        application_name="floor",
        autocommit=True,
        session_options=f"{LOOK_UPS_ONLY} -c search_path={sys.argv[1]}",
    ) as connection:
        publisher.start()
        floor = _Floor(connection, publisher)
        consumer.start()
        try:
            while not stopping.requested:
                if deliveries := consumer.take(_BATCH_SIZE_MAX, _WAIT_SECONDS):
                    floor.move(deliveries)
                    consumer.settle([delivery.tag for delivery in deliveries])
        finally:
            consumer.stop()
            publisher.stop()


if __name__ == "__main__":
    raise SystemExit(supervisor.run(1, _work))
