"""Messages that could not be applied when they came."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column as column

from swpt_accounts.store.models.base import SHORT_LIVED_ROWS, TIMESTAMP, db, kept_by_all, owned_by


class WaitingMessageRow(db.Model):  # type: ignore[name-defined,misc]
    """A message that could neither be applied nor refused yet, and was acked all the same."""

    __tablename__ = "waiting_message"

    debtor_id: Mapped[int] = column(
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="With `creditor_id`, the account that the message is for.",
    )
    creditor_id: Mapped[int] = column(sa.BigInteger, primary_key=True, autoincrement=False)
    message_type: Mapped[str] = column(sa.Text, primary_key=True)
    body_sha256: Mapped[bytes] = column(
        sa.LargeBinary,
        primary_key=True,
        comment="Tells two messages of one type for one account apart.",
    )
    body: Mapped[bytes] = column(sa.LargeBinary)
    reason: Mapped[str] = column(sa.Text)
    awaited_hash: Mapped[int | None] = column(
        sa.BigInteger,
        comment="The sharding hash of the account whose shard has to answer first; NULL when only"
        " time has to pass.",
    )
    attempts_count: Mapped[int] = column(
        sa.Integer, comment="How often the message was tried in vain."
    )
    waiting_since: Mapped[datetime] = column(TIMESTAMP)
    next_attempt_at: Mapped[datetime] = column(
        TIMESTAMP,
        comment="Not before this moment, and with an `awaited_hash` not before that shard answers"
        " either.",
    )

    __table_args__: tuple[Any, ...] = (
        sa.Index(
            "waiting_message_next_attempt_at_idx",
            "next_attempt_at",
            postgresql_where=sa.text("awaited_hash IS NULL"),
        ),
        sa.Index(
            "waiting_message_awaited_hash_idx",
            "awaited_hash",
            "next_attempt_at",
            postgresql_where=sa.text("awaited_hash IS NOT NULL"),
        ),
        {
            "comment": "Messages that could neither be applied nor refused yet: they are tried"
            " again when their time has come. A second copy joins the first.",
            "info": owned_by("debtor_id", "creditor_id"),
            "postgresql_with": SHORT_LIVED_ROWS,
        },
    )


class ParkedMessageRow(db.Model):  # type: ignore[name-defined,misc]
    """A message that waits for an operator."""

    __tablename__ = "parked_message"

    id: Mapped[int] = column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    kind: Mapped[str] = column(
        sa.Text,
        comment="`misrouted`: of another shard, to be sent on. `came_back`: was sent on and came"
        " again. `failed`: alone could not be applied. `dead_letter`: the"
        " stream of dead letters would not take it.",
    )
    reason: Mapped[str] = column(sa.Text)
    debtor_id: Mapped[int | None] = column(sa.BigInteger)
    creditor_id: Mapped[int | None] = column(sa.BigInteger)
    message_type: Mapped[str | None] = column(sa.Text)
    body_sha256: Mapped[bytes] = column(
        sa.LargeBinary, comment="Of the whole body, also where only its beginning was kept."
    )
    body: Mapped[bytes] = column(sa.LargeBinary)
    queue: Mapped[str | None] = column(
        sa.Text, comment="Of a dead letter: the stream that it is for."
    )
    properties: Mapped[bytes | None] = column(
        sa.LargeBinary, comment="Of a dead letter: its AMQP properties, encoded."
    )
    parked_at: Mapped[datetime] = column(TIMESTAMP)

    __table_args__: tuple[Any, ...] = (
        sa.Index("parked_message_kind_id_idx", "kind", "id"),
        sa.Index(
            "parked_message_key",
            "kind",
            "debtor_id",
            "creditor_id",
            "message_type",
            "body_sha256",
            unique=True,
            postgresql_where=sa.text("kind <> 'dead_letter'"),
        ),
        {
            "comment": "Messages that wait for an operator, in no shard's keeping.",
            "info": kept_by_all(),
        },
    )
