"""What periodic work needs to find its way

Accounts that have changed are announced some time later, all changes of that
time at once. So the first of them must be known, and which accounts wait for
longest: `account.update_pending_since`, which the next migration fills. It
takes the place of the flag `pending_account_update`, which stays for the
version before this one, and is to be dropped after it. A change that such an
old process makes meanwhile is announced with the account's next change, or its
next heartbeat.

The table `scan` remembers how far each scan has come.

Number: 0002, after 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCAN = """
CREATE TABLE scan (
    name text NOT NULL CONSTRAINT scan_pkey PRIMARY KEY,
    position bigint[] NOT NULL DEFAULT '{}',
    rows_count bigint NOT NULL DEFAULT 0,
    previous_rows_count bigint NOT NULL DEFAULT 0,
    began_at timestamptz NOT NULL,
    saved_at timestamptz NOT NULL
)
"""

TABLE_COMMENTS = {
    "scan": "Where the scans of this shard stand. To lose it only costs some repetition.",
}

COLUMN_COMMENTS = {
    "account.pending_account_update": "Not used any more: the version before this one wrote it.",
    "account.update_pending_since": "The moment of the first meaningful change that no"
    " AccountUpdate has announced.",
    "journal.change_id": "Joins the rows of the two parties, where they are in different shards,"
    " or where there was no prepared transfer.",
    "scan.position": "The key of the last row looked at in this pass; empty at its beginning.",
    "scan.rows_count": "Rows looked at in this pass.",
    "scan.previous_rows_count": "Rows looked at in the whole pass before.",
    "scan.began_at": "When this pass began.",
    "scan.saved_at": "When this row was written.",
}


def upgrade() -> None:
    op.execute(SCAN)
    op.execute("ALTER TABLE account ADD COLUMN update_pending_since timestamptz")
    for table, comment in TABLE_COMMENTS.items():
        op.execute(f"COMMENT ON TABLE {table} IS {literal(comment)}")
    for column, comment in COLUMN_COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS {literal(comment)}")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
