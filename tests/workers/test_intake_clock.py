"""While the clocks differ by more than ten minutes, messages wait; none of them is to blame."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import psycopg
import pytest

from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import Database
from swpt_accounts.wiring import messages, utc_now
from swpt_accounts.workers import consume
from swpt_accounts.workers.consume import Consumption
from swpt_accounts.workers.intake import MessageIntake
from swpt_accounts.workers.ledger_batch import LedgerBatch
from tests.factories import configure_account
from tests.workers.deliveries import deliveries, tags
from tests.workers.running import make_message_intake, make_office, running
from tests.workers.waiting import eventually
from tests.workers.wire import Wire

TEN_MINUTES = timedelta(minutes=10)
ERRORS = {
    "a bit more": TEN_MINUTES + timedelta(seconds=2),
    "an hour": timedelta(hours=1),
    "ten years": timedelta(days=3652),
}

Make = Callable[[Callable[[], datetime]], MessageIntake]


@pytest.fixture
def make(postgres_url: str) -> Iterator[Make]:
    """Call it with a clock for an intake that compares it with the database's, as `wiring` does."""
    database = Database(postgres_url, application_name="tests: intake")

    def make(clock: Callable[[], datetime]) -> MessageIntake:
        ledger_batch = LedgerBatch(
            database, Realm.parse("#"), Policy(), clock, messages._CLOCK_SKEW_MAX
        )
        return make_message_intake(ledger_batch)

    yield make
    database.close()


def accounts_count(shard: psycopg.Connection) -> int:
    row = shard.execute("SELECT count(*) FROM account").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("direction", [1, -1], ids=["fast", "slow"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_nothing_is_applied_and_the_batch_is_not_taken_apart(
    make: Make, shard: psycopg.Connection, error: timedelta, direction: int
) -> None:
    looks_count = 0

    def clock() -> datetime:
        nonlocal looks_count
        looks_count += 1
        return utc_now() + direction * error

    with pytest.raises(TimeUncertain, match="the database's clock is "):
        make(clock).handle(deliveries(configure_account(creditor_id=n) for n in range(1, 101)))

    assert accounts_count(shard) == 0
    assert looks_count == 2  # Before and after the one question.


@pytest.mark.parametrize("seconds", [598, -598, 61, 0])
def test_a_difference_of_minutes_is_no_reason_to_stop_payments(
    make: Make, shard: psycopg.Connection, seconds: int
) -> None:
    intake = make(lambda: utc_now() + timedelta(seconds=seconds))
    commands = [configure_account(creditor_id=n, ts=utc_now()) for n in (1, 2, 3)]
    assert tags(intake.handle(deliveries(commands)).accepted) == [1, 2, 3]
    assert accounts_count(shard) == 3


def test_messages_wait_without_being_acked_until_the_clock_is_right(
    make: Make,
    shard: psycopg.Connection,
    broker_url: str,
    queue: str,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consume, "CLOCK_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(consume, "WAIT_SECONDS", 0.01)
    error = timedelta(days=3652)
    wire.send(*(configure_account(creditor_id=n, ts=utc_now()) for n in range(1, 21)), to=queue)
    consumption = Consumption(
        lambda: Consumer(broker_url, queue, prefetch_count=100),
        make(lambda: utc_now() + error),
        make_office(broker_url, queue),
        batch_size_max=100,
    )

    with running(consumption):
        eventually("it says so", lambda: "applied: the database's clock is " in caplog.text)
        assert accounts_count(shard) == 0
        assert wire.consumers_count(queue) == 0
    assert wire.ready_count(queue) == 20
    assert wire.dead_letters(queue) == []

    error = timedelta(0)
    with running(consumption):
        eventually("all are applied", lambda: accounts_count(shard) == 20)
    assert wire.dead_letters(queue) == []
