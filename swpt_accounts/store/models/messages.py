"""Messages to be published."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column as column

from swpt_accounts.store.models.base import FALSE, SHORT_LIVED_ROWS, TIMESTAMP, db, owned_by


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
    is_forwarded: Mapped[bool] = column(
        sa.Boolean,
        server_default=FALSE,
        comment="A message of another shard that is sent on, with a header telling so.",
    )

    __table_args__: tuple[Any, ...] = (
        {
            "info": owned_by("debtor_id", "origin_creditor_id", unless="is_forwarded"),
            "comment": "Messages written in the transactions that caused them, and deleted when"
            " the broker has confirmed them.",
            "postgresql_with": SHORT_LIVED_ROWS,
        },
    )


class UndeliveredMessageRow(db.Model):  # type: ignore[name-defined,misc]
    """A message whose destination takes nothing: set aside until it does."""

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
    attempts_count: Mapped[int] = column(
        sa.Integer,
        comment="1 for being set aside, perhaps only because others could not be delivered to its"
        " destination, and 1 for each time that the broker would not take this very message.",
    )
    next_attempt_at: Mapped[datetime] = column(
        TIMESTAMP, comment="When a flusher of the version before tries it again."
    )
    is_forwarded: Mapped[bool] = column(
        sa.Boolean, server_default=FALSE, comment="As it was in the outbox."
    )
    destination: Mapped[str | None] = column(
        sa.Text,
        comment="The exchange, and the part of the routing key that a peer binds. Empty in rows of"
        " the version before, until a flusher fills it in.",
    )

    __table_args__: tuple[Any, ...] = (
        sa.Index("undelivered_message_next_attempt_at_idx", "next_attempt_at"),
        sa.Index(
            "undelivered_message_destination_idx", "lane", "destination", "attempts_count", "id"
        ),
        {
            "info": owned_by("debtor_id", "origin_creditor_id", unless="is_forwarded"),
            "comment": "Messages whose destinations take nothing (there is no queue, or it is full,"
            " or without a majority), kept out of the others' way until they do.",
        },
    )
