"""The index that finds a coordinator's request serves nothing else

Its columns began with the account, as those of the primary key do. PostgreSQL
could therefore look for a transfer in either of the two, found them equally
good as long as it knew little about the table, and with the wrong one it read
all transfers of the account in order to find one. Now the account is in it as
an expression, which only the query about requests uses: each of the two ways
of looking for a transfer has one index that can serve it.

The new index is made while transfers come and go; a half-made one that an
interrupted attempt has left behind is removed first.

Number: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEX = """
CREATE UNIQUE INDEX CONCURRENTLY prepared_transfer_request_key ON prepared_transfer
    (coordinator_request_id, coordinator_id, coordinator_type, (creditor_id + 0), (debtor_id + 0))
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        timeout = op.get_bind().scalar(sa.text("SHOW statement_timeout"))
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS prepared_transfer_request_key")
        op.execute(INDEX)
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS prepared_transfer_coordinator_key")
        op.execute(f"SET statement_timeout = '{timeout}'")


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
