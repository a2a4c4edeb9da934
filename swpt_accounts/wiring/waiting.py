"""What an operator asks about messages that wait."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swpt_accounts.wiring.parts import realm_of, utc_now

if TYPE_CHECKING:
    from swpt_accounts.settings import Settings
    from swpt_accounts.store.parked import Kind, ParkedMessage
    from swpt_accounts.store.transaction import Database
    from swpt_accounts.store.waiting import WaitingSummary

_SUMMARY_LINES_MAX = 100


def count_parked(settings: "Settings") -> "dict[Kind, int]":
    """Return how many messages of each kind are parked."""
    from swpt_accounts.store import parked

    with _database(settings) as database, database.transaction() as transaction:
        return parked.count_by_kind(transaction)


def read_parked(settings: "Settings", after_id: int, count_max: int) -> "list[ParkedMessage]":
    """Return the parked messages that follow the number."""
    from swpt_accounts.store import parked

    with _database(settings) as database, database.transaction() as transaction:
        return parked.read_page(transaction, after_id, count_max)


def send_parked(settings: "Settings", ids: Sequence[int]) -> dict[int, str]:
    """Let parked messages go on; return in words what becomes of each."""
    from swpt_accounts.workers import operator_orders

    with _database(settings) as database:
        return operator_orders.send(database, realm_of(settings), ids, utc_now)


def drop_parked(settings: "Settings", ids: Sequence[int]) -> dict[int, str]:
    """Forget parked messages; return in words what becomes of each."""
    from swpt_accounts.workers import operator_orders

    with _database(settings) as database:
        return operator_orders.drop(database, ids)


def summarize_waiting(settings: "Settings") -> "list[WaitingSummary]":
    """Return how many messages wait, by reason."""
    from swpt_accounts.store import waiting

    with _database(settings) as database, database.transaction() as transaction:
        return waiting.summarize(transaction, _SUMMARY_LINES_MAX)


@contextmanager
def _database(settings: "Settings") -> "Iterator[Database]":
    from swpt_accounts.store.transaction import Database

    database = Database(settings.postgres_url, application_name="swpt_accounts operator")
    try:
        yield database
    finally:
        database.close()
