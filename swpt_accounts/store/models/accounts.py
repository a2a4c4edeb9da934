"""Accounts, and what is locked on them."""

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column as column

from swpt_accounts.store.models.base import (
    EMPTY,
    EPOCH,
    FALSE,
    SHORT_LIVED_ROWS,
    TIMESTAMP,
    UNUSED,
    ZERO,
    db,
    owned_by,
)


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
        comment="Not used any more: the version before this one wrote it.",
        info=UNUSED,
    )
    last_update_sent_ts: Mapped[datetime] = column(
        TIMESTAMP, comment="When the latest AccountUpdate was written to the outbox."
    )
    last_interest_capitalization_ts: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)
    last_deletion_attempt_ts: Mapped[datetime] = column(TIMESTAMP, server_default=EPOCH)
    update_pending_since: Mapped[datetime | None] = column(
        TIMESTAMP,
        comment="The moment of the first meaningful change that no AccountUpdate has announced.",
    )

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
        sa.Index(
            "account_update_pending_since_idx",
            "update_pending_since",
            "debtor_id",
            "creditor_id",
            postgresql_where=sa.text("update_pending_since IS NOT NULL"),
        ),
        {
            "comment": "Accounts, live and deleted ones.",
            "info": owned_by("debtor_id", "creditor_id"),
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
        # Adding zero keeps this index from being used where the primary key should
        # be: of two that fit, PostgreSQL has been seen to take the wrong one.
        sa.Index(
            "prepared_transfer_request_key",
            "coordinator_request_id",
            "coordinator_id",
            "coordinator_type",
            sa.text("(creditor_id + 0)"),
            sa.text("(debtor_id + 0)"),
            unique=True,
        ),
        {
            "comment": "Transfers that await their FinalizeTransfer message.",
            "info": owned_by("debtor_id", "creditor_id"),
            "postgresql_with": SHORT_LIVED_ROWS,
        },
    )
