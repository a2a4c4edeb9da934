"""Money that has moved: the journal, and what comes from other shards."""

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column as column

from swpt_accounts.store.models.base import TIMESTAMP, db, owned_by

change_id_seq = sa.Sequence("change_id_seq", data_type=sa.BigInteger, metadata=db.metadata)
"""Never goes back: a reused change id would be taken for a repetition, and its money lost."""


class RegisteredBalanceChangeRow(db.Model):  # type: ignore[name-defined,misc]
    """Remembers that a PendingBalanceChange message has been applied."""

    __tablename__ = "registered_balance_change"

    debtor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    other_creditor_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    change_id: Mapped[int] = column(sa.BigInteger, primary_key=True)
    committed_at: Mapped[datetime] = column(TIMESTAMP)

    __table_args__: tuple[Any, ...] = (
        {
            "info": owned_by("debtor_id", "other_creditor_id"),
            "comment": "Balance changes received from other shards: each is applied once,"
            " however often its message is delivered.",
            "postgresql_with": {"autovacuum_vacuum_insert_scale_factor": "0.2"},
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
        sa.BigInteger,
        comment="Joins the rows of the two parties, where they are in different shards, or where"
        " there was no prepared transfer.",
    )
    transfer_note_format: Mapped[str] = column(sa.String(8))
    transfer_note: Mapped[str] = column(sa.Text)

    __table_args__: tuple[Any, ...] = (
        sa.CheckConstraint("journal_number > 0", name="journal_number"),
        sa.CheckConstraint("amount <> 0", name="amount"),
        sa.CheckConstraint("transfer_id IS NOT NULL OR change_id IS NOT NULL", name="reference"),
        {
            "info": owned_by("debtor_id", "creditor_id"),
            "comment": "Every change of a principal, append-only. Partitioned by the month of"
            " `applied_at`, with a default partition for what no month covers.",
            "postgresql_partition_by": "RANGE (applied_at)",
        },
    )
