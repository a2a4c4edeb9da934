"""From revision 0005 to where messages set aside are found by their destination."""

from collections.abc import Callable

import pytest
from alembic import command

from swpt_accounts.store import schema
from swpt_accounts.store.connection import connect
from tests.migrations.catalog import describe

INDEX = "undelivered_message_destination_idx"


def upgrade_to(revision: str, url: str) -> None:
    config = schema._alembic_config()
    config.attributes["postgres_url"] = url
    command.upgrade(config, revision)


@pytest.mark.parametrize("has_index", [True, False])
def test_what_an_interrupted_attempt_has_left_behind_is_no_obstacle(
    database: str, make_database: Callable[[], str], *, has_index: bool
) -> None:
    upgrade_to("0005", database)
    with connect(database, application_name="tests", autocommit=True) as session:
        session.execute("ALTER TABLE undelivered_message ADD COLUMN destination text")
        if has_index:
            session.execute(f"CREATE INDEX {INDEX} ON undelivered_message (lane)")  # type: ignore[arg-type]
        schema.upgrade(database)
        found = describe(session)
    expected = make_database()
    schema.upgrade(expected)
    with connect(expected, application_name="tests", autocommit=True) as session:
        assert found == describe(session)
