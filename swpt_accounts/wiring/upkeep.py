"""Commands that find out what time has made due, and do it."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from swpt_accounts.wiring.parts import (
    CONFIRM_TIMEOUT_SECONDS,
    make_consumption,
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

# These never change: two versions of a scan must not run at the same time.
_SCAN_NUMBERS = {
    "scan_accounts": 1,
    "scan_prepared_transfers": 2,
    "scan_registered_balance_changes": 3,
}


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
            make_consumption(url, queue, intake.handle, prefetch_count).run(stopping)
        finally:
            database.close()

    return supervisor.run(processes, work)


def scan_accounts(settings: "Settings", *, pass_duration: timedelta, quit_early: bool) -> int:
    """Find out what is due on accounts, until stopped."""
    from swpt_accounts.workers.scan_accounts import AllAccounts, WaitingAccounts
    from swpt_accounts.workers.walk import Walk

    realm, policy = realm_of(settings), policy_of(settings)
    fetch_client = make_fetch_client(settings)
    tasks = (
        WaitingAccounts(realm, policy.account_update_delay),
        Walk(
            "scan_accounts",
            AllAccounts(realm, policy, fetch_client.gather),
            pass_duration,
        ),
    )
    try:
        return _scan(settings, "scan_accounts", tasks, quit_early=quit_early)
    finally:
        fetch_client.close()


def scan_prepared_transfers(
    settings: "Settings", *, pass_duration: timedelta, quit_early: bool
) -> int:
    """Find out which coordinators are to be reminded of prepared transfers, until stopped."""
    from swpt_accounts.workers.scan_transfers import AllTransfers
    from swpt_accounts.workers.walk import Walk

    rows = AllTransfers(realm_of(settings), policy_of(settings))
    task = Walk("scan_prepared_transfers", rows, pass_duration)
    return _scan(settings, "scan_prepared_transfers", (task,), quit_early=quit_early)


def scan_registered_balance_changes(
    settings: "Settings", *, pass_duration: timedelta, quit_early: bool
) -> int:
    """Forget registered balance changes that cannot come again, until stopped."""
    from swpt_accounts.workers.scan_changes import AllChanges
    from swpt_accounts.workers.walk import Walk

    rows = AllChanges(settings.remove_from_archive_threshold_date)
    task = Walk("scan_registered_balance_changes", rows, pass_duration)
    return _scan(settings, "scan_registered_balance_changes", (task,), quit_early=quit_early)


def _scan(settings: "Settings", name: str, tasks: "Sequence[Task]", *, quit_early: bool) -> int:
    from swpt_accounts.broker.publisher import Publisher
    from swpt_accounts.workers import supervisor
    from swpt_accounts.workers.scanner import Scanner
    from swpt_accounts.workers.steady_clock import SteadyClock
    from swpt_accounts.workers.stopping import Stopping

    def work(stopping: Stopping) -> None:
        spare_the_garbage_collector()
        # Whatever else there is to do on this machine goes first.
        os.nice(_LOWEST_PRIORITY)
        Scanner(
            name,
            _SCAN_NUMBERS[name],
            tasks,
            postgres_url=settings.postgres_url,
            make_publisher=lambda: Publisher(
                settings.chores_broker_url, confirm_timeout_seconds=CONFIRM_TIMEOUT_SECONDS
            ),
            chores_queue=settings.chores_broker_queue,
            clock=SteadyClock(utc_now),
            quit_early=quit_early,
        ).run(stopping)

    return supervisor.run(1, work)
