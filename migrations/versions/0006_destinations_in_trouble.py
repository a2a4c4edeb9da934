"""Messages set aside are kept by where they go

When a peer's queue takes nothing, what goes there is set aside, and one message
is tried from time to time. When that is taken, all others of the destination
follow at full speed. So they have to be found by their destination, whichever
flusher has the lane. A flusher of the version before leaves the column empty.

The index is made while messages are set aside and sent; a half-made one that an
interrupted attempt has left behind is removed first.

Number: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEX = """
CREATE INDEX CONCURRENTLY undelivered_message_destination_idx ON undelivered_message
(lane, destination, attempts_count, id)
"""

TABLE_COMMENT = (
    "Messages whose destinations take nothing (there is no queue, or it is full, or without a"
    " majority), kept out of the others' way until they do."
)

COLUMN_COMMENTS = {
    "destination": "The exchange, and the part of the routing key that a peer binds. Empty in rows"
    " of the version before, until a flusher fills it in.",
    "attempts_count": "1 for being set aside, perhaps only because others could not be delivered to"
    " its destination, and 1 for each time that the broker would not take this very message.",
    "next_attempt_at": "When a flusher of the version before tries it again.",
}


def upgrade() -> None:
    # An interrupted attempt leaves the column behind, too.
    op.execute("ALTER TABLE undelivered_message ADD COLUMN IF NOT EXISTS destination text")
    op.execute(f"COMMENT ON TABLE undelivered_message IS {literal(TABLE_COMMENT)}")
    for column, comment in COLUMN_COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN undelivered_message.{column} IS {literal(comment)}")
    with op.get_context().autocommit_block():
        timeout = op.get_bind().scalar(sa.text("SHOW statement_timeout"))
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS undelivered_message_destination_idx")
        op.execute(INDEX)
        op.execute(f"SET statement_timeout = '{timeout}'")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
