"""How migrations are run: one at a time, each in a transaction of its own, never blocking for long.

`swpt_accounts.store.schema` passes the address of the database in
`config.attributes`; whoever runs `alembic` by hand sets POSTGRES_URL.
"""

import os
import time
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic import context
from alembic.operations import MigrationScript
from alembic.script import ScriptDirectory

from swpt_accounts.store.connection import HOLDS_LOCKS, conninfo
from swpt_accounts.store.models import db

# Any number will do, as long as it stays the same in all versions: it keeps
# two `configure` commands from working on one database at the same time.
ADVISORY_LOCK_KEY = 7_277_816_997_830_721_647
ADVISORY_LOCK_TIMEOUT_SECONDS = 600.0
ADVISORY_LOCK_POLL_SECONDS = 0.2

# A statement that waits for a lock makes everyone who comes later wait too.
# It is better to give up soon, and to let `configure` try again.
LOCK_TIMEOUT = "5s"
# A migration that is known to take longer says so with SET LOCAL.
STATEMENT_TIMEOUT = "60s"

# The tool that splits shards keeps this table of its own in our database.
FOREIGN_TABLES = frozenset({"shard_split_guard"})

PARTITIONS = sa.text(
    "SELECT relname FROM pg_class"
    " WHERE relispartition AND relnamespace = current_schema()::regnamespace"
)


def connect() -> psycopg.Connection:
    url = context.config.attributes.get("postgres_url") or os.environ.get("POSTGRES_URL")
    if not url:
        raise SystemExit("POSTGRES_URL is not set: it must name the database to be migrated.")
    return psycopg.connect(conninfo(url, HOLDS_LOCKS), application_name="swpt_accounts migrations")


def run_migrations() -> None:
    engine = sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=sa.NullPool)
    with engine.connect() as connection:
        await_turn(connection)
        set_timeouts(connection, lock_timeout=LOCK_TIMEOUT, statement_timeout=STATEMENT_TIMEOUT)
        partitions = set(connection.scalars(PARTITIONS))
        connection.commit()

        def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
            return kind != "table" or (name not in FOREIGN_TABLES and name not in partitions)

        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            transaction_per_migration=True,
            include_name=is_ours,
            compare_type=True,
            compare_server_default=True,
            process_revision_directives=number_the_revision,
        )
        with context.begin_transaction():
            context.run_migrations()


def await_turn(connection: sa.Connection) -> None:
    """Wait until no other `configure` works on the database, but not in a statement.

    A statement that waits has a snapshot, for the end of which CREATE INDEX
    CONCURRENTLY would wait in its turn. Closing the connection gives the lock
    back, whatever happens.
    """
    deadline = time.monotonic() + ADVISORY_LOCK_TIMEOUT_SECONDS
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK_KEY))):
        connection.rollback()
        if time.monotonic() > deadline:
            raise SystemExit(
                "Another `configure` has been working on the database for"
                f" {ADVISORY_LOCK_TIMEOUT_SECONDS:g} seconds. Try again when it is done."
            )
        time.sleep(ADVISORY_LOCK_POLL_SECONDS)


def set_timeouts(connection: sa.Connection, *, lock_timeout: str, statement_timeout: str) -> None:
    connection.execute(
        sa.select(
            sa.func.set_config("lock_timeout", lock_timeout, False),  # noqa: FBT003 - SQL has no keywords
            sa.func.set_config("statement_timeout", statement_timeout, False),  # noqa: FBT003 - see above
        )
    )


def number_the_revision(_context: Any, _revision: Any, directives: list[MigrationScript]) -> None:
    """Give a new revision the number after the newest one: 0001, 0002 and so on."""
    newest = ScriptDirectory.from_config(context.config).get_current_head()
    for directive in directives:
        directive.rev_id = f"{int(newest or '0') + 1:04d}"


if context.is_offline_mode():
    raise SystemExit("Migrations need a database to look at; there is no offline mode.")
run_migrations()
