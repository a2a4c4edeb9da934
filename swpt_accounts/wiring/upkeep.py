"""Commands that find out what time has made due, and do it."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from swpt_accounts.wiring.parts import (
    CONFIRM_TIMEOUT_SECONDS,
    make_consumption,
    make_dead_letter_office,
    make_fetch_client,
    policy_of,
    realm_of,
    spare_the_garbage_collector,
    utc_now,
)

if TYPE_CHECKING:
    from swpt_accounts.settings import Settings
    from swpt_accounts.workers.scanner import Task

_LOWEST_PRIORITY = 19


def consume_chores(
    settings: "Settings", *, url: str, queue: str, processes: int, prefetch_count: int
) -> int:
    """Apply what the scans have found due, until stopped."""
    from swpt_accounts.store.transaction import Database
    from swpt_accounts.workers import supervisor
    from swpt_accounts.workers.chore_intake import ChoreIntake
    from swpt_accounts.workers.ledger_batch import LedgerBatch
    from swpt_accounts.workers.scanner import CLOCK_SKEW_MAX
    from swpt_accounts.workers.steady_clock import SteadyClock
    from swpt_accounts.workers.stopping import Stopping

    def work(stopping: Stopping) -> None:
        spare_the_garbage_collector()
        database = Database(settings.postgres_url, application_name="consume_chore_messages")
        intake = ChoreIntake(
            LedgerBatch(
                database,
                realm_of(settings),
                policy_of(settings),
                SteadyClock(utc_now),
                CLOCK_SKEW_MAX,
            )
        )
        try:
            office = make_dead_letter_office(url, queue)
            make_consumption(url, intake, office, prefetch_count).run(stopping)
        finally:
            database.close()

    return supervisor.run(processes, work)


def scan(settings: "Settings", name: str, *, pass_duration: timedelta, quit_early: bool) -> int:
    """Run the scan of that name until stopped; each pass takes `pass_duration`."""
    from swpt_accounts.broker.publisher import Publisher
    from swpt_accounts.workers import supervisor
    from swpt_accounts.workers.scanner import Scanner
    from swpt_accounts.workers.steady_clock import SteadyClock
    from swpt_accounts.workers.stopping import Stopping

    number, make_tasks = _SCANS[name]

    def work(stopping: Stopping) -> None:
        spare_the_garbage_collector()
        # Whatever else there is to do on this machine goes first.
        os.nice(_LOWEST_PRIORITY)
        with ExitStack() as resources:
            Scanner(
                name,
                number,
                make_tasks(settings, pass_duration, resources),
                postgres_url=settings.postgres_url,
                make_publisher=lambda: Publisher(
                    settings.chores_broker_url, confirm_timeout_seconds=CONFIRM_TIMEOUT_SECONDS
                ),
                chores_queue=settings.chores_broker_queue,
                clock=SteadyClock(utc_now),
                quit_early=quit_early,
            ).run(stopping)

    return supervisor.run(1, work)


def _look_at_accounts(
    settings: "Settings", pass_duration: timedelta, resources: ExitStack
) -> "Sequence[Task]":
    from swpt_accounts.workers.scan_accounts import AllAccounts, WaitingAccounts
    from swpt_accounts.workers.walk import Walk

    realm, policy = realm_of(settings), policy_of(settings)
    fetch_client = make_fetch_client(settings)
    resources.callback(fetch_client.close)
    rows = AllAccounts(realm, policy, fetch_client.gather)
    return (
        WaitingAccounts(realm, policy.account_update_delay),
        Walk("scan_accounts", rows, pass_duration),
    )


def _look_at_transfers(
    settings: "Settings", pass_duration: timedelta, _resources: ExitStack
) -> "Sequence[Task]":
    from swpt_accounts.workers.scan_transfers import AllTransfers
    from swpt_accounts.workers.walk import Walk

    rows = AllTransfers(realm_of(settings), policy_of(settings))
    return (Walk("scan_prepared_transfers", rows, pass_duration),)


def _look_at_changes(
    settings: "Settings", pass_duration: timedelta, _resources: ExitStack
) -> "Sequence[Task]":
    from swpt_accounts.workers.scan_changes import AllChanges
    from swpt_accounts.workers.walk import Walk

    rows = AllChanges(settings.remove_from_archive_threshold_date)
    return (Walk("scan_registered_balance_changes", rows, pass_duration),)


# The numbers never change: two versions of a scan must not run at the same time.
_SCANS: "dict[str, tuple[int, Callable[[Settings, timedelta, ExitStack], Sequence[Task]]]]" = {
    "scan_accounts": (1, _look_at_accounts),
    "scan_prepared_transfers": (2, _look_at_transfers),
    "scan_registered_balance_changes": (3, _look_at_changes),
}
