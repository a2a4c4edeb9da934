"""The tables of a shard, with their constraints: the schema, and what migrations aim at.

The hot path does not use these classes; it speaks SQL of its own (see the
other modules of this folder). There are no foreign keys: rows that belong
together change together, under the lock of their account's row.
"""

from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped
from sqlalchemy.orm import mapped_column as column

TIMESTAMP = pg.TIMESTAMP(timezone=True)
EPOCH = sa.text("'1970-01-01 00:00:00+00'")
ZERO = sa.text("0")
EMPTY = sa.text("''")
FALSE = sa.text("false")

# Rows of these tables live for seconds, so that dead ones must be removed
# by their number, not by their share of the table.
SHORT_LIVED_ROWS = {
    "autovacuum_vacuum_scale_factor": "0.0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.1",
}


class Base(DeclarativeBase):
    """Gives every table the naming convention that migrations rely on."""

    metadata: ClassVar[sa.MetaData] = sa.MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )


db = SQLAlchemy(model_class=Base)

change_id_seq = sa.Sequence("change_id_seq", data_type=sa.BigInteger, metadata=db.metadata)
"""Never goes back: a reused change id would be taken for a repetition, and its money lost."""


class AccountRow(db.Model):  # type: ignore[name-defined,misc]
    """One account: what it holds, how it is configured, what has been announced."""

    __tablename__ = "account"

    debtor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    creditor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    creation_date: Mapped[date] = column(sa.Date)
    last_change_seqnum: Mapped[int] = column(sa.Integer, server_default=ZERO)
    last_change_ts: Mapped[datetime] = column(TIMESTAMP)
    principal: Mapped[int] = column(
        sa.BigInteger,
        server_default=ZERO,
        comment="Without the interest. Always the sum of `amount - clipped_amount` of the"
        " account's journal.",
    )
    interest_rate: Mapped[float] = column(sa.Double, server_default=ZERO, comment="In percents.")
    interest: Mapped[float] = column(
        sa.Double,
        server_default=ZERO,
        comment="Accumulated up to `last_change_ts`, not yet added to the principal.",
    )
    last_interest_rate_change_ts: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)
    previous_interest_rate: Mapped[float] = column(
        sa.Double,
        server_default=ZERO,
        comment="The rate before `last_interest_rate_change_ts`: late transfers are due interest"
        " by both rates.",
    )
    last_config_ts: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)
    last_config_seqnum: Mapped[int] = column(sa.Integer, server_default=ZERO)
    negligible_amount: Mapped[float] = column(sa.Double, server_default=ZERO)
    config_flags: Mapped[int] = column(
        sa.Integer, server_default=ZERO, comment="Bit 0: scheduled for deletion."
    )
    config_data: Mapped[str] = column(sa.Text, server_default=EMPTY)
    debtor_info_iri: Mapped[str] = column(sa.Text, server_default=EMPTY)
    debtor_info_content_type: Mapped[str] = column(sa.Text, server_default=EMPTY)
    debtor_info_sha256: Mapped[bytes] = column(sa.LargeBinary, server_default=EMPTY)
    last_transfer_number: Mapped[int] = column(sa.BigInteger, server_default=ZERO)
    last_transfer_committed_at: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)
    last_transfer_id: Mapped[int] = column(
        sa.BigInteger,
        comment="The id of the latest prepared transfer. Begins with the days since 1970 times"
        " 2^40, so that a re-created account never gives an id twice.",
    )
    total_locked_amount: Mapped[int] = column(sa.BigInteger, server_default=ZERO)
    pending_transfers_count: Mapped[int] = column(sa.Integer, server_default=ZERO)
    last_journal_number: Mapped[int] = column(
        sa.BigInteger, server_default=ZERO, comment="Of the account's latest journal row; no gaps."
    )
    is_deleted: Mapped[bool] = column(sa.Boolean, server_default=FALSE)
    is_overflown: Mapped[bool] = column(
        sa.Boolean, server_default=FALSE, comment="A change did not fit wholly into the principal."
    )
    pending_account_update: Mapped[bool] = column(
        sa.Boolean,
        server_default=FALSE,
        comment="A meaningful change has not been announced by an AccountUpdate yet.",
    )
    last_update_sent_ts: Mapped[datetime] = column(
        TIMESTAMP, comment="When the latest AccountUpdate was written to the outbox."
    )
    last_interest_capitalization_ts: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)
    last_deletion_attempt_ts: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)

    __table_args__: tuple[Any, ...] = (
        sa.CheckConstraint("principal <> '-9223372036854775808'::bigint", name="principal"),
        sa.CheckConstraint(
            "interest_rate BETWEEN -50 AND 100 AND previous_interest_rate BETWEEN -50 AND 100",
            name="interest_rate",
        ),
        sa.CheckConstraint("interest BETWEEN -1e24 AND 1e24", name="interest"),
        sa.CheckConstraint(
            "negligible_amount >= 0 AND negligible_amount < 'Infinity'", name="negligible_amount"
        ),
        sa.CheckConstraint("total_locked_amount >= 0", name="total_locked_amount"),
        sa.CheckConstraint("pending_transfers_count >= 0", name="pending_transfers_count"),
        sa.CheckConstraint("last_transfer_number >= 0", name="last_transfer_number"),
        sa.CheckConstraint("last_journal_number >= 0", name="last_journal_number"),
        sa.CheckConstraint("last_transfer_id >= 0", name="last_transfer_id"),
        sa.CheckConstraint("octet_length(config_data) <= 2000", name="config_data"),
        sa.CheckConstraint(
            "octet_length(debtor_info_sha256) IN (0, 32)", name="debtor_info_sha256"
        ),
        {
            "comment": "Accounts, live and deleted ones.",
            # Half-full pages let an updated row stay where it is (HOT), so
            # that its index entry needs no change.
            "postgresql_with": {
                "fillfactor": "50",
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_vacuum_cost_delay": "0",
            },
        },
    )


class PreparedTransferRow(db.Model):  # type: ignore[name-defined,misc]
    """An amount locked on the sender's account, until the transfer is finalized."""

    __tablename__ = "prepared_transfer"

    debtor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    creditor_id: Mapped[int] = column(sa.BigInteger, primary_key=True, comment="The sender.")
    transfer_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    coordinator_type: Mapped[str] = column(sa.String(30))
    coordinator_id: Mapped[int] = column(sa.BigInteger)
    coordinator_request_id: Mapped[int] = column(sa.BigInteger)
    locked_amount: Mapped[int] = column(sa.BigInteger)
    recipient_creditor_id: Mapped[int] = column(sa.BigInteger)
    prepared_at: Mapped[datetime] = column(TIMESTAMP)
    final_interest_rate_ts: Mapped[datetime] = column(TIMESTAMP)
    demurrage_rate: Mapped[float] = column(sa.Double)
    deadline: Mapped[datetime] = column(TIMESTAMP)
    last_reminder_ts: Mapped[datetime | None] = column(TIMESTAMP)

    __table_args__: tuple[Any, ...] = (
        sa.CheckConstraint("locked_amount >= 0", name="locked_amount"),
        sa.CheckConstraint("demurrage_rate BETWEEN -100 AND 0", name="demurrage_rate"),
        sa.Index(
            "prepared_transfer_coordinator_key",
            "debtor_id",
            "creditor_id",
            "coordinator_type",
            "coordinator_id",
            "coordinator_request_id",
            unique=True,
        ),
        {
            "comment": "Transfers that await their FinalizeTransfer message.",
            "postgresql_with": SHORT_LIVED_ROWS,
        },
    )


class RegisteredBalanceChangeRow(db.Model):  # type: ignore[name-defined,misc]
    """Remembers that a PendingBalanceChange message has been applied."""

    __tablename__ = "registered_balance_change"

    debtor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    other_creditor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    change_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    committed_at: Mapped[datetime] = column(TIMESTAMP)

    __table_args__: tuple[Any, ...] = (
        {
            "comment": "Balance changes received from other shards: each is applied once,"
            " however often its message is delivered.",
            "postgresql_with": {"autovacuum_vacuum_insert_scale_factor": "0.2"},
        },
    )


class OutboxRow(db.Model):  # type: ignore[name-defined,misc]
    """A message waiting to be published: its ready bytes, and where they go."""

    __tablename__ = "outbox"

    id: Mapped[int] = column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    lane: Mapped[int] = column(
        sa.Integer,
        comment="Which of the concurrent flushers sends the row: its message type, and a spread"
        " by account.",
    )
    exchange: Mapped[str] = column(sa.Text)
    routing_key: Mapped[str] = column(sa.Text)
    mandatory: Mapped[bool] = column(sa.Boolean)
    message_type: Mapped[str] = column(sa.Text)
    debtor_id: Mapped[int] = column(sa.BigInteger)
    creditor_id: Mapped[int] = column(sa.BigInteger)
    coordinator_type: Mapped[str | None] = column(sa.Text)
    coordinator_id: Mapped[int | None] = column(sa.BigInteger)
    origin_creditor_id: Mapped[int] = column(
        sa.BigInteger,
        comment="The account that caused the message. After a split, it tells which of the two"
        " shards the message belongs to.",
    )
    body: Mapped[bytes] = column(sa.LargeBinary)
    inserted_at: Mapped[datetime] = column(TIMESTAMP)

    __table_args__: tuple[Any, ...] = (
        {
            "comment": "Messages written in the transactions that caused them, and deleted when"
            " the broker has confirmed them.",
            "postgresql_with": SHORT_LIVED_ROWS,
        },
    )


class UndeliveredMessageRow(db.Model):  # type: ignore[name-defined,misc]
    """A message that the broker would not take: set aside, and tried again from time to time."""

    __tablename__ = "undelivered_message"

    id: Mapped[int] = column(
        sa.BigInteger, primary_key=True, autoincrement=False, comment="As it was in the outbox."
    )
    lane: Mapped[int] = column(sa.Integer)
    exchange: Mapped[str] = column(sa.Text)
    routing_key: Mapped[str] = column(sa.Text)
    mandatory: Mapped[bool] = column(sa.Boolean)
    message_type: Mapped[str] = column(sa.Text)
    debtor_id: Mapped[int] = column(sa.BigInteger)
    creditor_id: Mapped[int] = column(sa.BigInteger)
    coordinator_type: Mapped[str | None] = column(sa.Text)
    coordinator_id: Mapped[int | None] = column(sa.BigInteger)
    origin_creditor_id: Mapped[int] = column(sa.BigInteger)
    body: Mapped[bytes] = column(sa.LargeBinary)
    inserted_at: Mapped[datetime] = column(TIMESTAMP)
    reason: Mapped[str] = column(sa.Text, comment="Why the broker would not take it, last time.")
    attempts_count: Mapped[int] = column(sa.Integer)
    next_attempt_at: Mapped[datetime] = column(TIMESTAMP)

    __table_args__: tuple[Any, ...] = (
        sa.Index("undelivered_message_next_attempt_at_idx", "next_attempt_at"),
        {
            "comment": "Messages that were unroutable or refused, kept out of the others' way"
            " until they can be delivered.",
        },
    )


class JournalRow(db.Model):  # type: ignore[name-defined,misc]
    """One change of one account's principal; never updated, never deleted."""

    __tablename__ = "journal"

    debtor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    creditor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    creation_date: Mapped[date] = column(
        sa.Date, primary_key=True, comment="Tells an account from an earlier one of the same ids."
    )
    journal_number: Mapped[int] = column(
        sa.BigInteger, primary_key=True, comment="1, 2, 3 and so on for each account, no gaps."
    )
    applied_at: Mapped[datetime] = column(TIMESTAMP, primary_key=True)
    committed_at: Mapped[datetime] = column(TIMESTAMP)
    amount: Mapped[int] = column(sa.BigInteger, comment="The change that was asked for.")
    clipped_amount: Mapped[int] = column(
        sa.BigInteger, comment="The part of `amount` that did not fit into the principal."
    )
    principal: Mapped[int] = column(sa.BigInteger, comment="After the change.")
    coordinator_type: Mapped[str] = column(sa.String(30))
    other_creditor_id: Mapped[int] = column(sa.BigInteger, comment="The other party.")
    transfer_id: Mapped[int | None] = column(
        sa.BigInteger, comment="The sender's prepared transfer that was committed."
    )
    change_id: Mapped[int | None] = column(
        sa.BigInteger, comment="The PendingBalanceChange that joins the two parties' shards."
    )
    transfer_note_format: Mapped[str] = column(sa.String(8))
    transfer_note: Mapped[str] = column(sa.Text)

    __table_args__: tuple[Any, ...] = (
        sa.CheckConstraint("journal_number > 0", name="journal_number"),
        sa.CheckConstraint("amount <> 0", name="amount"),
        sa.CheckConstraint("transfer_id IS NOT NULL OR change_id IS NOT NULL", name="reference"),
        {
            "comment": "Every change of a principal, append-only. Partitioned by the month of"
            " `applied_at`, with a default partition for what no month covers.",
            "postgresql_partition_by": "RANGE (applied_at)",
        },
    )
