"""What all tables have in common."""

from typing import ClassVar

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase

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

# What a split does with the rows of a table, declared in the `info` of its model.


def owned_by(*columns: str, unless: str | None = None) -> dict[str, object]:
    """Return the mark of a table whose rows belong to the account that these columns name.

    After a split, the row stays with the shard that keeps the account. Rows in
    which the column `unless` is true belong to nobody, and both shards keep them.
    """
    return {"owner": columns, "unless": unless}


def kept_by_all() -> dict[str, object]:
    """Return the mark of a table whose rows belong to no account: both shards keep them."""
    return {"owner": None, "unless": None}


# Marks a column that only the version before this one reads and writes. It is
# to be dropped when that one cannot be running any more.
UNUSED = {"is_unused": True}


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
