"""What the commands of scans, and the one that does what they find, ask of wiring."""

from datetime import timedelta
from typing import Any

import pytest

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.cli import consuming
from swpt_accounts.store.transaction import DatabaseUnavailable
from tests.cli.stand_in import BROKER_URL, Wiring, run

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

SCANS = {
    "scan_accounts": ("APP_ACCOUNTS_SCAN_HOURS", HOUR, 8),
    "scan_prepared_transfers": ("APP_PREPARED_TRANSFERS_SCAN_DAYS", DAY, 1),
    "scan_registered_balance_changes": ("APP_REGISTERED_BALANCE_CHANGES_SCAN_DAYS", DAY, 7),
}
OPTIONS = {HOUR: ("-h", "--hours"), DAY: ("-d", "--days")}

each_scan = pytest.mark.parametrize("name", SCANS)


def one_scan(name: str, pass_duration: timedelta, *, quit_early: bool = False) -> list[Any]:
    return [("scan", name, {"pass_duration": pass_duration, "quit_early": quit_early})]


@each_scan
def test_a_scan_takes_its_time_from_the_settings_and_exits_with_1(asked: Wiring, name: str) -> None:
    variable, unit, default = SCANS[name]
    assert run(name).exit_code == 1
    assert asked.calls == one_scan(name, default * unit)
    asked.calls.clear()
    run(name, **{variable: "0.001"})
    assert asked.calls == one_scan(name, 0.001 * unit)


@each_scan
@pytest.mark.parametrize("length", [0, 0.5, 12, 48])
def test_options_take_the_place_of_a_scans_settings(
    asked: Wiring, name: str, length: float
) -> None:
    variable, unit, _ = SCANS[name]
    short, long = OPTIONS[unit]
    for words in (f"{short} {length}", f"{long} {length}", f"{long}={length}"):
        asked.calls.clear()
        assert run(f"{name} {words}", **{variable: "3"}).exit_code == 1
        assert asked.calls == one_scan(name, length * unit)


@each_scan
def test_a_scan_can_be_told_to_quit_early(asked: Wiring, name: str) -> None:
    _, unit, default = SCANS[name]
    assert run(f"{name} --quit-early").exit_code == 1
    assert asked.calls == one_scan(name, default * unit, quit_early=True)


@each_scan
@pytest.mark.parametrize(
    "options", ["{} -1", "{} many", "{} nan", "{} inf", "{} 100000", "{}", "-p 2", "superfluous"]
)
def test_bad_options_of_scans_are_usage_errors(asked: Wiring, name: str, options: str) -> None:
    _, unit, _ = SCANS[name]
    for option in OPTIONS[unit]:
        result = run(f"{name} {options.format(option)}")
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith(("Usage: ", "Error: Option "))
    assert asked.calls == []


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("scan_accounts", "-d 1"),
        ("scan_prepared_transfers", "-h 1"),
        ("scan_registered_balance_changes", "--hours 1"),
    ],
)
def test_hours_and_days_are_not_mixed_up(asked: Wiring, name: str, option: str) -> None:
    assert run(f"{name} {option}").exit_code == 2
    assert asked.calls == []


@each_scan
def test_help_tells_which_setting_is_the_default_and_that_there_can_be_only_one(name: str) -> None:
    result = run(f"{name} --help", POSTGRES_URL="")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert f"[default: {SCANS[name][0]}]" in said
    assert "There can be only one such scan for a database; a second one waits." in said


# -- doing what is due ----------------------------------------------------------

CONSUMED = {
    "url": BROKER_URL,
    "queue": "swpt_accounts_chores",
    "processes": 1,
    "prefetch_count": 1000,
}
ENVIRONMENT = {
    "CHORES_BROKER_URL": "amqp://a",
    "CHORES_BROKER_QUEUE": "b",
    "CHORES_BROKER_PROCESSES": "3",
    "CHORES_BROKER_PREFETCH_COUNT": "7",
}
FROM_ENVIRONMENT = {"url": "amqp://a", "queue": "b", "processes": 3, "prefetch_count": 7}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ("", {}, {}),
        ("", ENVIRONMENT, FROM_ENVIRONMENT),
        # The other queue's settings say nothing about this one.
        ("", {"PROTOCOL_BROKER_PROCESSES": "0", "PROTOCOL_BROKER_QUEUE": "x"}, {}),
        (
            "-u amqp://x -q y -p 2 -c 50",
            ENVIRONMENT,
            {"url": "amqp://x", "queue": "y", "processes": 2, "prefetch_count": 50},
        ),
        (
            "--url amqp://x --queue y --processes 2 --prefetch-count 50",
            {},
            {"url": "amqp://x", "queue": "y", "processes": 2, "prefetch_count": 50},
        ),
        ("-p 0 -c 0", ENVIRONMENT, FROM_ENVIRONMENT),
        ("-p 2", {"CHORES_BROKER_PROCESSES": "0"}, {"processes": 2}),
        ("-t 5 -s 0 --threads 5 --prefetch-size 0", {}, {}),
    ],
)
def test_consume_chore_messages_asks_for_this_and_exits_with_1(
    asked: Wiring, options: str, environment: dict[str, str], expected: dict[str, Any]
) -> None:
    result = run(f"consume_chore_messages {options}", **environment)
    assert asked.calls == [("consume_chores", CONSUMED | expected)]
    assert result.exit_code == 1


@pytest.mark.parametrize("options", ["", "-p 0"])
def test_with_no_processes_the_chores_wait_and_the_command_idles(
    asked: Wiring, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    idled = []
    monkeypatch.setattr(consuming, "hold_signals", lambda: None)
    monkeypatch.setattr(consuming, "idle_until_signalled", lambda: idled.append(True))
    result = run(f"consume_chore_messages {options}", CHORES_BROKER_PROCESSES="0")
    assert result.exit_code == 1
    assert idled == [True]
    assert asked.calls == []


@pytest.mark.parametrize("options", ["--draining-mode", "-p -1", "-c 65536", "-u ftp://x", "-k #"])
def test_bad_options_of_consume_chore_messages_are_usage_errors(
    asked: Wiring, options: str
) -> None:
    result = run(f"consume_chore_messages {options}")
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert asked.calls == []


@pytest.mark.parametrize("command", [*SCANS, "consume_chore_messages"])
def test_periodic_work_needs_the_database(asked: Wiring, command: str) -> None:
    result = run(command, POSTGRES_URL="")
    assert "POSTGRES_URL: it is not set" in result.stderr
    assert result.exit_code == 1
    assert asked.calls == []


@pytest.mark.parametrize("failure", [BrokerLost("gone"), DatabaseUnavailable("gone")])
@pytest.mark.parametrize("command", [*SCANS, "consume_chore_messages"])
def test_periodic_work_that_loses_its_servers_for_good_exits_with_1(
    asked: Wiring, command: str, failure: Exception
) -> None:
    name = "scan" if command in SCANS else "consume_chores"
    asked.failures[name] = [failure]
    assert run(command).exit_code == 1
