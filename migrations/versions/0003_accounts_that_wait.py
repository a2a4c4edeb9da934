"""An index of the accounts that wait to be announced

Accounts are announced in the order in which they began to wait. The index
holds only those that do, so that finding them takes no longer when there are
millions of others. It is made while the accounts go on changing; a half-made
one that an interrupted attempt has left behind is removed first.

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


def upgrade() -> None:
    with op.get_context().autocommit_block():
        timeout = op.get_bind().scalar(sa.text("SHOW statement_timeout"))
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS account_update_pending_since_idx")
        op.execute(INDEX)
        op.execute(f"SET statement_timeout = '{timeout}'")


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
