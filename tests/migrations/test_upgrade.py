"""A database gets the tables of the models, however often and by however many it is upgraded."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError

from swpt_accounts.store import schema
from swpt_accounts.store.connection import connect, conninfo
from swpt_accounts.store.models import db
from tests.migrations.catalog import describe

UPGRADE = "import sys; from swpt_accounts.store.schema import upgrade; upgrade(sys.argv[1])"


def engine_for(url: str) -> sa.Engine:
    return sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo(url)),
        poolclass=sa.NullPool,
    )


def catalog_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with connect(url, application_name="tests", autocommit=True) as session:
        return describe(session)


def revisions_of(url: str) -> list[str]:
    with connect(url, application_name="tests", autocommit=True) as session:
        return [name for (name,) in session.execute("SELECT version_num FROM alembic_version")]


def execute(url: str, statement: str) -> None:
    with connect(url, application_name="tests", autocommit=True) as session:
        session.execute(statement)


def test_migrations_leave_nothing_for_alembic_to_find(database: str) -> None:
    schema.upgrade(database)
    with engine_for(database).connect() as connection:
        partitions = set(
            connection.scalars(sa.text("SELECT relname FROM pg_class WHERE relispartition"))
        )
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _parents: name not in partitions,
            },
        )
        assert compare_metadata(context, db.metadata) == []


def test_migrations_make_exactly_what_the_models_declare(
    make_database: Callable[[], str],
) -> None:
    migrated, declared = make_database(), make_database()
    schema.upgrade(migrated)
    with engine_for(declared).begin() as connection:
        db.metadata.create_all(connection)

    expected, found = catalog_of(declared), catalog_of(migrated)
    for kind in expected:
        assert found[kind] == expected[kind], kind


def test_all_tables_reach_a_standby_through_the_write_ahead_log(database: str) -> None:
    schema.upgrade(database)
    with connect(database, application_name="tests", autocommit=True) as session:
        unlogged = session.execute(
            "SELECT relname FROM pg_class WHERE relpersistence <> 'p'"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert unlogged == []


def test_a_second_upgrade_changes_nothing(database: str) -> None:
    schema.upgrade(database)
    before = catalog_of(database)
    schema.upgrade(database)
    assert catalog_of(database) == before
    assert revisions_of(database) == [schema.newest_revision()]


def test_two_upgrades_at_the_same_time_both_succeed(database: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, database], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert revisions_of(database) == [schema.newest_revision()]


def test_the_table_of_the_shard_splitter_is_left_alone(database: str) -> None:
    execute(
        database,
        "CREATE TABLE shard_split_guard (id smallint PRIMARY KEY, value text);"
        "INSERT INTO shard_split_guard VALUES (1, 'x')",
    )
    schema.upgrade(database)
    with connect(database, application_name="tests", autocommit=True) as session:
        assert session.execute("SELECT * FROM shard_split_guard").fetchall() == [(1, "x")]
    assert schema.is_current(database)


def test_a_database_ahead_of_this_version_is_left_as_it_is(database: str) -> None:
    schema.upgrade(database)
    execute(database, "UPDATE alembic_version SET version_num = '9999'")
    assert schema.is_current(database)
    schema.upgrade(database)
    assert revisions_of(database) == ["9999"]


def test_a_database_of_another_program_is_refused(database: str) -> None:
    execute(
        database,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
        "INSERT INTO alembic_version VALUES ('a5202da9c3ad')",
    )
    assert not schema.is_current(database)
    with pytest.raises(CommandError, match="a5202da9c3ad"):
        schema.upgrade(database)
    assert revisions_of(database) == ["a5202da9c3ad"]


def test_the_schema_does_not_go_backwards(database: str) -> None:
    schema.upgrade(database)
    config = schema._alembic_config()
    config.attributes["postgres_url"] = database
    with pytest.raises(NotImplementedError, match="only goes forward"):
        command.downgrade(config, "base")
    assert schema.is_current(database)


def test_a_failing_migration_leaves_no_trace(database: str) -> None:
    execute(database, "CREATE TABLE journal (id int)")  # in the way of the last table
    with pytest.raises(sa.exc.ProgrammingError, match="journal"):
        schema.upgrade(database)
    with connect(database, application_name="tests", autocommit=True) as session:
        assert session.execute("SELECT to_regclass('account')").fetchone() == (None,)
    assert not schema.is_current(database)
