"""Which accounts wait to be announced, and an index of them

Accounts are announced in the order in which they began to wait. The index
holds only those that do, so that finding them takes no longer when there are
millions of others. It is made while the accounts go on changing; a half-made
one that an interrupted attempt has left behind is removed first.

Those that wait already are marked after that, a thousand blocks of the
table at a time, so that nobody waits for long for an account that is marked.

Number: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEX = """
CREATE INDEX CONCURRENTLY account_update_pending_since_idx
    ON account (update_pending_since, debtor_id, creditor_id)
    WHERE update_pending_since IS NOT NULL
"""

# Where the table ends is found out anew for each piece, since it may grow.
MARK_WAITING = """
DO $$
DECLARE
    first_block bigint := 0;
    blocks_count CONSTANT bigint := 1000;
BEGIN
    WHILE first_block * current_setting('block_size')::bigint < pg_relation_size('account') LOOP
        UPDATE account
        SET update_pending_since = last_change_ts
        WHERE pending_account_update
            AND update_pending_since IS NULL
            AND ctid >= format('(%s,0)', first_block)::tid
            AND ctid < format('(%s,0)', first_block + blocks_count)::tid;
        COMMIT;
        first_block := first_block + blocks_count;
    END LOOP;
END $$
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        timeout = op.get_bind().scalar(sa.text("SHOW statement_timeout"))
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS account_update_pending_since_idx")
        op.execute(INDEX)
        op.execute(MARK_WAITING)
        op.execute(f"SET statement_timeout = '{timeout}'")


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
