"""${message}

TODO: explain in a few sentences what changes, and why.

Remember: while a new version is rolled out, processes of the OLD version go
on working on the NEW schema. So in one release, only do what the old code
survives:

- Add tables, indexes, and columns that are nullable or have a default.
- Drop or rename nothing that the previous release still reads or writes;
  drop it in a later release.
- Add a constraint only if everything that the old code writes satisfies it;
  add it as NOT VALID, and validate it in another migration.
- Create an index on a big table CONCURRENTLY
  (`with op.get_context().autocommit_block():`).
- Do not import application code: it changes, this file does not.
- Statements give up waiting for locks after a few seconds, and running after
  a minute (see env.py). What takes longer sets its own timeout with SET LOCAL.
- Change `swpt_accounts/store/models.py` in the same commit.

Then delete this reminder.

Number: ${up_revision}, after ${down_revision | comma,n}
Created: ${create_date}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
