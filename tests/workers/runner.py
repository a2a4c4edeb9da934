"""Starts workers, put together by `wiring`, as processes that a test may kill.

They are forked by a process that has already imported everything, since a
test may need dozens of them. It reads one order per line, as JSON, and writes
one answer per line:

    {"words": ["consume"], "env": {...}, "log": "..."}    answered with a process id
    {"wait": 12345}                                       answered with its exit code

The words are the name of a worker ("consume", "flush", "consume_chores", or that
of a scan), and then, if the worker is to die by itself, one of the
`kill_points` and the number of times that it is reached.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from swpt_accounts import logs, wiring
from swpt_accounts.settings import Settings, load
from swpt_accounts.workers import walk
from tests.workers import kill_points, running


def consume(settings: Settings) -> int:
    return wiring.consume_messages(
        settings,
        url=settings.protocol_broker_url,
        queue=settings.protocol_broker_queue,
        processes=settings.protocol_broker_processes,
        prefetch_count=settings.protocol_broker_prefetch_count,
    )


def flush(settings: Settings) -> int:
    return wiring.flush(
        settings,
        message_types=None,
        processes=settings.flush_processes,
        wait_seconds=settings.flush_period,
        quit_early=False,
    )


def consume_chores(settings: Settings) -> int:
    return wiring.consume_chores(
        settings,
        url=settings.chores_broker_url,
        queue=settings.chores_broker_queue,
        processes=settings.chores_broker_processes,
        prefetch_count=settings.chores_broker_prefetch_count,
    )


PAGE_SIZE = 7
"""So few rows are read at once that a test's table has several pages."""


def scan_accounts(settings: Settings) -> int:
    setattr(walk, "PAGE_SIZE_MAX", PAGE_SIZE)  # noqa: B010 - it is declared to be final
    hours = settings.app_accounts_scan_hours
    return wiring.scan(
        settings, "scan_accounts", pass_duration=timedelta(hours=hours), quit_early=False
    )


def scan_prepared_transfers(settings: Settings) -> int:
    days = settings.app_prepared_transfers_scan_days
    return wiring.scan(
        settings, "scan_prepared_transfers", pass_duration=timedelta(days=days), quit_early=False
    )


_COMMANDS = {
    "consume": consume,
    "flush": flush,
    "consume_chores": consume_chores,
    "scan_accounts": scan_accounts,
    "scan_prepared_transfers": scan_prepared_transfers,
}


def run(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a worker in this process; return its exit code."""
    command, *kill_point = words
    settings = load(env)
    logs.set_up(settings.app_log_level, settings.app_log_format)
    if kill_point:
        name, time = kill_point
        kill_points.ALL[name](int(time))
    return _COMMANDS[command](settings)


def fork(words: Sequence[str], env: Mapping[str, str], log: str) -> int:
    child = os.fork()
    if not child:
        _become_worker(words, env, log)
    return child


def _become_worker(words: Sequence[str], env: Mapping[str, str], log: str) -> NoReturn:
    code = 70
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for place, file in enumerate((nothing, output, output)):
            os.dup2(file, place)
        code = run(words, env)
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    children: set[int] = set()
    assert running.make_consumption  # Imported for what it imports.
    try:
        for line in sys.stdin:
            order: dict[str, Any] = json.loads(line)
            if "wait" in order:
                _, status = os.waitpid(order["wait"], 0)
                children.discard(order["wait"])
                answer = os.waitstatus_to_exitcode(status)
            else:
                answer = fork(**order)
                children.add(answer)
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
