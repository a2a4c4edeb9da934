"""What each command asks of wiring, what it refuses, and how it ends."""

from typing import Any

import pytest

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.cli import main, preparing
from swpt_accounts.cli.flushing import MESSAGE_TYPES
from swpt_accounts.protocol.routing import MESSAGE_TYPES as ALL_MESSAGE_TYPES
from swpt_accounts.settings import reference
from tests.cli.stand_in import BROKER_URL, Call, Wiring, run


@pytest.mark.parametrize(
    ("command", "environment", "call"),
    [
        ("subscribe", {}, ("subscribe", BROKER_URL, "swpt_accounts", "#")),
        (
            "subscribe",
            {
                "PROTOCOL_BROKER_URL": "amqp://a",
                "PROTOCOL_BROKER_QUEUE": "b",
                "PROTOCOL_BROKER_QUEUE_ROUTING_KEY": "1.#",
            },
            ("subscribe", "amqp://a", "b", "1.#"),
        ),
        ("subscribe -u amqp://x -q y -k 0.#", {}, ("subscribe", "amqp://x", "y", "0.#")),
        (
            "subscribe --url amqp://x --queue y --queue-routing-key 0.#",
            {"PROTOCOL_BROKER_QUEUE": "b"},
            ("subscribe", "amqp://x", "y", "0.#"),
        ),
        ("subscribe --queue=", {}, ("subscribe", BROKER_URL, "swpt_accounts", "#")),
        (
            "unsubscribe",
            {},
            (
                "unsubscribe",
                BROKER_URL,
                "swpt_accounts",
                "#",
                BROKER_URL,
                "swpt_accounts_chores",
            ),
        ),
        (
            "unsubscribe -u amqp://x -q y -k 0.# -U amqp://z -Q c",
            {},
            ("unsubscribe", "amqp://x", "y", "0.#", "amqp://z", "c"),
        ),
        (
            "unsubscribe --chores-url amqp://z --chores-queue c",
            {},
            ("unsubscribe", BROKER_URL, "swpt_accounts", "#", "amqp://z", "c"),
        ),
        ("delete_queue", {}, ("delete_queue", BROKER_URL, "swpt_accounts")),
        ("delete_queue -u amqp://x -q y", {}, ("delete_queue", "amqp://x", "y")),
        ("await_migrations", {}, ("await_migrations",)),
    ],
)
def test_commands_that_prepare_servers_exit_with_0(
    asked: Wiring, command: str, environment: dict[str, str], call: Call
) -> None:
    result = run(command, **environment)
    assert asked.calls == [call]
    assert result.exit_code == 0
    assert result.stdout


CONSUMED = {
    "url": BROKER_URL,
    "queue": "swpt_accounts",
    "processes": 1,
    "prefetch_count": 1000,
}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ("", {}, {}),
        (
            "",
            {"PROTOCOL_BROKER_PROCESSES": "3", "PROTOCOL_BROKER_PREFETCH_COUNT": "7"},
            {"processes": 3, "prefetch_count": 7},
        ),
        ("-p 2 -c 50", {"PROTOCOL_BROKER_PROCESSES": "3"}, {"processes": 2, "prefetch_count": 50}),
        ("--processes 2 --prefetch-count 50", {}, {"processes": 2, "prefetch_count": 50}),
        ("-u amqp://x -q y", {}, {"url": "amqp://x", "queue": "y"}),
        ("--url amqp://x --queue y", {}, {"url": "amqp://x", "queue": "y"}),
        # Zero stands for what the environment says.
        ("-p 0 -c 0", {"PROTOCOL_BROKER_PROCESSES": "3"}, {"processes": 3}),
        ("-p 2", {"PROTOCOL_BROKER_PROCESSES": "0"}, {"processes": 2}),
        ("-t 5 -s 0", {}, {}),
        ("--threads 5 --prefetch-size 0", {}, {}),
    ],
)
def test_consume_messages_asks_for_this_and_exits_with_1(
    asked: Wiring, options: str, environment: dict[str, str], expected: dict[str, Any]
) -> None:
    result = run(f"consume_messages {options}", **environment)
    assert asked.calls == [("consume_messages", CONSUMED | expected)]
    assert result.exit_code == 1


FLUSHED = {"processes": 1, "wait_seconds": 2.0, "quit_early": False}


@pytest.mark.parametrize(("command", "types"), MESSAGE_TYPES.items())
def test_each_flush_command_sends_its_message_types_and_exits_with_1(
    asked: Wiring, command: str, types: tuple[str, ...] | None
) -> None:
    result = run(command)
    assert asked.calls == [("flush", FLUSHED | {"message_types": types})]
    assert result.exit_code == 1


def test_there_is_a_flush_command_for_each_message_type() -> None:
    single = [types[0] for types in MESSAGE_TYPES.values() if types is not None]
    assert sorted(single) == sorted(ALL_MESSAGE_TYPES)


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ("-p 2 -w 0.5 --quit-early", {}, {"processes": 2, "wait_seconds": 0.5, "quit_early": True}),
        ("--processes 2 --wait 0", {}, {"processes": 2, "wait_seconds": 0.0}),
        (
            "",
            {"FLUSH_PROCESSES": "4", "FLUSH_PERIOD": "1.5"},
            {"processes": 4, "wait_seconds": 1.5},
        ),
    ],
)
def test_options_of_flush_commands(
    asked: Wiring, options: str, environment: dict[str, str], expected: dict[str, Any]
) -> None:
    run(f"flush_all {options}", **environment)
    assert asked.calls == [("flush", FLUSHED | {"message_types": None} | expected)]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "no_such_command",
        "consume-messages",
        "consume_messages --no-such-option",
        "consume_messages -p -1",
        "consume_messages -p many",
        "consume_messages -c 65536",
        "consume_messages -u http://localhost",
        "consume_messages -q amq.gen",
        "consume_messages superfluous",
        "flush_all -p -1",
        "flush_all -w soon",
        "flush_all -w -1",
        "flush_all -w nan",
        "flush_account_updates --no-such-option",
        "subscribe -k 2.#",
        "subscribe -u localhost",
        "unsubscribe -Q amq.gen",
        "unsubscribe -q same -Q same",
        "delete_queue -k #",
        "configure now",
        "process_balance_changes -w soon",
    ],
)
def test_a_bad_command_line_is_a_usage_error_that_says_what_is_wrong(
    asked: Wiring, command: str
) -> None:
    result = run(command)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert asked.calls == []


def test_a_password_on_a_bad_command_line_is_not_shown(asked: Wiring) -> None:
    result = run("subscribe -u http://user:s3cret@host")
    assert result.exit_code == 2
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    "command",
    [
        "verify_shard_content",
        "consume_messages --draining-mode",
    ],
)
def test_a_command_of_a_later_version_says_so_and_exits_with_2(asked: Wiring, command: str) -> None:
    result = run(command)
    assert result.exit_code == 2
    assert "is not part of this version" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("command", "needs_database"),
    [
        ("configure", True),
        ("await_migrations", True),
        ("consume_messages", True),
        ("flush_all", True),
        ("process_transfer_requests --quit-early", True),
        ("settings --check", True),
        ("settings", False),
        ("subscribe", False),
        ("unsubscribe", False),
        ("delete_queue", False),
    ],
)
def test_only_some_commands_need_the_database(
    asked: Wiring, command: str, needs_database: bool
) -> None:
    result = run(command, POSTGRES_URL="")
    assert ("POSTGRES_URL: it is not set" in result.stderr) == needs_database
    assert (asked.calls == []) or not needs_database


@pytest.mark.parametrize("command", ["subscribe", "consume_messages", "flush_all", "configure"])
def test_bad_settings_are_all_listed_and_nothing_is_done(asked: Wiring, command: str) -> None:
    result = run(command, WEBSERVER_PORT="x", APP_LOG_FORMAT="xml")
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "WEBSERVER_PORT",
        "APP_LOG_FORMAT",
    ]
    assert asked.calls == []


@pytest.mark.parametrize("command", ["subscribe", "unsubscribe", "delete_queue"])
def test_a_lost_broker_is_told_in_one_line(asked: Wiring, command: str) -> None:
    asked.failures[command] = [BrokerLost("localhost:5672 refuses\nconnections")]
    result = run(command)
    assert result.exit_code == 1
    assert result.stderr == "Failed: localhost:5672 refuses connections\n"


def test_an_error_that_nobody_foresaw_keeps_its_traceback(asked: Wiring) -> None:
    asked.failures["subscribe"] = [ZeroDivisionError()]
    result = run("subscribe")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("quit_early", ["process_balance_changes", "process_transfer_requests"])
def test_a_stage_that_does_not_exist_ends_at_once_if_asked_to(
    asked: Wiring, quit_early: str
) -> None:
    assert run(f"{quit_early} -t 3 -w 2.0 --quit-early").exit_code == 0


# -- configure -----------------------------------------------------------

STEPS = [("configure_database",), ("configure_chores_queue",)]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(preparing, "pause", taken.append)
    return taken


def test_configure_prepares_the_database_and_the_queue_of_chores(asked: Wiring) -> None:
    result = run("configure")
    assert asked.calls == STEPS
    assert result.exit_code == 0


@pytest.mark.parametrize(("value", "is_done"), [("yes", True), ("no", False), ("true", False)])
def test_configure_subscribes_only_if_told_so_exactly(
    asked: Wiring, value: str, is_done: bool
) -> None:
    result = run("configure", SETUP_RABBITMQ_BINDINGS=value)
    subscription = ("subscribe", BROKER_URL, "swpt_accounts", "#")
    assert asked.calls == [*STEPS, *([subscription] if is_done else [])]
    assert result.exit_code == 0


def test_configure_tries_a_failed_step_again(asked: Wiring, pauses: list[float]) -> None:
    lost = [BrokerLost("not yet"), BrokerLost("not yet")]
    asked.failures["configure_chores_queue"] = list(lost)
    result = run("configure")
    assert asked.calls == [STEPS[0], STEPS[1], STEPS[1], STEPS[1]]
    assert pauses == [1, 2]
    assert result.exit_code == 0
    assert "not yet. Trying again in 1 s." in result.stdout


def test_configure_gives_up_in_the_end(
    asked: Wiring, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    asked.failures["configure_database"] = [BrokerLost("away")] * 10
    result = run("configure")
    assert asked.calls == [STEPS[0]] * 6
    assert pauses == [1, 2, 4, 8, 16]
    assert result.exit_code == 1
    assert "giving up on the database's schema: away" in caplog.text


# -- what is said in the log ---------------------------------------------


def test_settings_without_effect_are_named_in_one_line_of_the_log(
    asked: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    run("consume_messages -t 5", PROCESS_BALANCE_CHANGES_THREADS="1", SQLALCHEMY_ECHO="true")
    run("flush_all", SQLALCHEMY_ECHO="true")
    [message] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert message.endswith("PROCESS_BALANCE_CHANGES_THREADS, SQLALCHEMY_ECHO, --threads")


@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ({}, False),
        ({"PROTOCOL_BROKER_QUEUE_ROUTING_KEY": "1.#"}, True),
        ({"PROTOCOL_BROKER_QUEUE_ROUTING_KEY": "1.#", "FETCH_API_URL": "http://proxy"}, False),
    ],
)
def test_a_shard_that_cannot_ask_the_others_says_so(
    asked: Wiring, caplog: pytest.LogCaptureFixture, environment: dict[str, str], is_told: bool
) -> None:
    run("consume_messages", **environment)
    assert ("FETCH_API_URL is not set" in caplog.text) == is_told


# -- settings ------------------------------------------------------------


def test_the_table_of_settings_has_every_setting(asked: Wiring) -> None:
    result = run("settings")
    assert result.exit_code == 0
    for row in reference():
        assert f"\n{row.name}  (" in result.stdout
        assert row.meaning.split(" ")[0] in result.stdout


def test_good_settings_pass_the_check(asked: Wiring) -> None:
    result = run("settings --check")
    assert result.exit_code == 0
    assert result.stdout == "The settings are all right.\n"


def test_help_needs_no_settings(asked: Wiring) -> None:
    for name in main.commands:
        assert run(f"{name} --help", POSTGRES_URL="", WEBSERVER_PORT="x").exit_code == 0
