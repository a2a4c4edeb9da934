"""Where the scans stand."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column as column

from swpt_accounts.store.models.base import TIMESTAMP, ZERO, db, kept_by_all


class ScanRow(db.Model):  # type: ignore[name-defined,misc]
    """How far a scan has come, so that it goes on from there after a restart."""

    __tablename__ = "scan"

    name: Mapped[str] = column(sa.Text, primary_key=True)
    position: Mapped[list[int]] = column(
        pg.ARRAY(sa.BigInteger),
        server_default=sa.text("'{}'"),
        comment="The key of the last row looked at in this pass; empty at its beginning.",
    )
    rows_count: Mapped[int] = column(
        sa.BigInteger, server_default=ZERO, comment="Rows looked at in this pass."
    )
    previous_rows_count: Mapped[int] = column(
        sa.BigInteger, server_default=ZERO, comment="Rows looked at in the whole pass before."
    )
    began_at: Mapped[datetime] = column(TIMESTAMP, comment="When this pass began.")
    saved_at: Mapped[datetime] = column(TIMESTAMP, comment="When this row was written.")

    __table_args__: tuple[Any, ...] = (
        {
            "comment": "Where the scans of this shard stand. To lose it only costs some"
            " repetition.",
            "info": kept_by_all(),
        },
    )
