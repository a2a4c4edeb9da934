"""Whether the database has the tables that this version needs, and how it gets them.

Revisions are numbered: 0001, 0002 and so on. While a new version is rolled
out, processes of the old one work on the new schema, and every migration must
allow for that (migrations/script.py.mako). That is why a database at a higher
number than the newest one known here is as good as current.
"""

import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from swpt_accounts.store.connection import connect
from swpt_accounts.store.journal_months import add_journal_months

# Next to the package, both in a source checkout and in a container.
MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
POLL_SECONDS: Final = 10.0

_NUMBER: Final = re.compile(r"[0-9]{4,}")
_HAS_REVISIONS: Final = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISIONS: Final = "SELECT version_num FROM alembic_version"

# Whoever cannot lock the journal at once must not make others queue behind it, and
# nobody who only looks is to wait for a lock that somebody has forgotten.
_SESSION_OPTIONS: Final = " -c lock_timeout=5s"
_ANSWER_SECONDS_MAX: Final = 60.0

_logger = logging.getLogger(__name__)


def upgrade(postgres_url: str) -> None:
    """Bring the database to the newest schema, and prepare the journal for the months to come.

    Does nothing when there is nothing to do; may run twice, also at the same
    time. Raises `psycopg.Error`, `sqlalchemy.exc.SQLAlchemyError` or
    `alembic.util.CommandError` when the database is away, busy, or not ours.
    """
    if not is_current(postgres_url):
        config = _alembic_config()
        config.attributes["postgres_url"] = postgres_url
        command.upgrade(config, "head")
    with _connected(postgres_url) as session:
        add_journal_months(session, datetime.now(UTC))


def is_current(postgres_url: str) -> bool:
    """Tell whether the schema is the newest one known here, or newer.

    Only reads, so that a standby will do. Raises `psycopg.OperationalError`
    when the database is away, or somebody keeps the revision locked.
    """
    newest = newest_revision()
    return any(
        int(revision) >= int(newest)
        for revision in _revisions(postgres_url)
        if _NUMBER.fullmatch(revision)
    )


def await_current(postgres_url: str, *, wait: Callable[[float], object] = time.sleep) -> bool:
    """Look every 10 seconds until the schema is current; an absent database is waited for, too.

    There is no time limit. `wait` gets the seconds to pause, and ends the
    waiting by returning something true (as the `wait` of a set
    `threading.Event` does); then the answer is False.
    """
    said = ""
    while True:
        try:
            if is_current(postgres_url):
                return True
            state = f"does not have the schema of revision {newest_revision()} yet"
        except psycopg.OperationalError as error:
            state = f"cannot be reached ({str(error).strip()})"
        if state != said:
            _logger.warning("The database %s; looking again every %g seconds.", state, POLL_SECONDS)
            said = state
        if wait(POLL_SECONDS):
            return False


def newest_revision() -> str:
    """Return the number of the newest migration known here."""
    revision = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    if revision is None:
        raise FileNotFoundError(f"There are no migrations in {MIGRATIONS / 'versions'}.")
    return revision


def _revisions(postgres_url: str) -> list[str]:
    with _connected(postgres_url) as session:
        found = session.execute(_HAS_REVISIONS).fetchone()
        if found is None or not found[0]:
            return []
        return [str(revision) for (revision,) in session.execute(_REVISIONS)]


def _connected(postgres_url: str) -> psycopg.Connection:
    return connect(
        postgres_url,
        application_name="swpt_accounts schema",
        autocommit=True,
        session_options=_SESSION_OPTIONS,
        answer_seconds=_ANSWER_SECONDS_MAX,
    )


def _alembic_config() -> Config:
    if not (MIGRATIONS / "env.py").is_file():
        raise FileNotFoundError(
            f"The folder of migrations is missing: {MIGRATIONS}. It must lie next to the"
            " swpt_accounts package, as it does in a checkout and in the container."
        )
    config = Config()
    # Alembic expands percent signs in its options.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
