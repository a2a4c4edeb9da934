"""The container's entry point, started as a person or an orchestrator would."""

import json
import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from swpt_accounts.cli import main
from tests.cli.programs import (
    BIN,
    ENTRYPOINT,
    ENVIRONMENT,
    ROOT,
    Program,
    children_of,
    free_port,
    run,
)
from tests.workers.waiting import eventually

MAPPED = re.compile(r"^    ([a-z_ |\\\n]+)\)\n", re.MULTILINE)


def test_what_is_not_a_command_is_executed() -> None:
    done = run("sh", "-c", 'echo "$1"; exit 7', "sh", "two  words")
    assert done.stdout == "two  words\n"
    assert done.returncode == 7


def test_what_cannot_be_executed_is_an_error() -> None:
    assert run("no_such_command").returncode == 127


def test_every_command_but_those_for_development_goes_to_the_command_line() -> None:
    mapped = {
        name for names in MAPPED.findall(ENTRYPOINT.read_text()) for name in names.split() if name
    } - {"|", "\\"}
    assert mapped - {"webserver", "test"} == set(main.commands)


@pytest.mark.parametrize("command", ["test", "develop-run-flask"])
def test_commands_for_development_tell_what_to_run_instead(command: str) -> None:
    done = run(command)
    assert done.returncode == 2
    assert "script/test" in done.stderr


@pytest.mark.parametrize(
    "command", ["configure", "webserver", "all", "flush_all", "consume_messages"]
)
def test_bad_settings_are_all_listed_before_anything_starts(command: str) -> None:
    done = run(
        command,
        POSTGRES_URL="",
        WEBSERVER_PORT="http",
        FLUSH_PERIOD="nan",
        PROTOCOL_BROKER_URL="amqp://user:s3cret@host:port",
    )
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "PROTOCOL_BROKER_URL",
        "WEBSERVER_PORT",
        "FLUSH_PERIOD",
        "POSTGRES_URL",
    ]
    assert "s3cret" not in done.stderr
    assert done.stdout == ""


def test_a_bad_option_is_a_usage_error() -> None:
    done = run("consume_messages", "--no-such-option")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_a_command_of_a_later_version_exits_with_2() -> None:
    done = run("verify_shard_content")
    assert done.returncode == 2
    assert "is not part of this version" in done.stderr


def test_it_finds_the_virtual_environment_beside_it(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "entrypoint.sh").write_text(ENTRYPOINT.read_text())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command = tmp_path / ".venv" / "bin" / "swpt_accounts"
    command.write_text('#!/bin/sh\necho "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["sh", "docker/entrypoint.sh", "subscribe", "-q", "x y"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "subscribe -q x y\n"


def test_it_is_executable() -> None:
    assert ENTRYPOINT.stat().st_mode & stat.S_IXOTH


# -- SUBSTITUTE_LOCALHOST_IN_VARS ----------------------------------------


def gateway() -> str:
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, address, *_ = line.split()
        if destination == "00000000" and address != "00000000":
            return ".".join(map(str, reversed(bytes.fromhex(address))))
    pytest.skip("this machine has no default route")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("amqp://guest:localhost@localhost:5672", "amqp://guest:localhost@{}:5672"),
        ("http://localhost", "http://{}"),
        ("http://localhost/localhost", "http://{}/localhost"),
        ("postgresql+psycopg://u@localhost/d?a=b&c", "postgresql+psycopg://u@{}/d?a=b&c"),
        ("amqp://localhost.example.com", "amqp://localhost.example.com"),
        ("amqp://mylocalhost:1", "amqp://mylocalhost:1"),
        ("$(touch x) `y` 'z' \\ *", "$(touch x) `y` 'z' \\ *"),
        ("", ""),
    ],
)
def test_localhost_becomes_the_gateway_where_it_is_the_host(value: str, expected: str) -> None:
    done = run("printenv", "FIRST", SUBSTITUTE_LOCALHOST_IN_VARS="UNSET FIRST", FIRST=value)
    assert done.stdout == expected.format(gateway()) + "\n"
    assert done.stderr == ""


def test_other_variables_keep_their_localhost() -> None:
    done = run(
        "printenv", "B", SUBSTITUTE_LOCALHOST_IN_VARS="A", A="x://localhost", B="x://localhost"
    )
    assert done.stdout == "x://localhost\n"


# -- idling --------------------------------------------------------------

CONSUME_NOTHING = {"PROTOCOL_BROKER_PROCESSES": "0"}


@pytest.mark.parametrize(
    ("command", "environment", "number", "code"),
    [
        ("consume_messages", CONSUME_NOTHING, signal.SIGTERM, 1),
        ("consume_messages", CONSUME_NOTHING, signal.SIGINT, 1),
        ("consume_messages", CONSUME_NOTHING, signal.SIGHUP, 1),
        ("flush_all", {"FLUSH_PROCESSES": "0"}, signal.SIGTERM, 1),
        ("flush_account_updates -p 0", {}, signal.SIGTERM, 1),
        ("process_balance_changes", {}, signal.SIGTERM, 0),
    ],
)
def test_a_command_with_nothing_to_do_idles_until_signalled(
    command: str, environment: dict[str, str], number: signal.Signals, code: int
) -> None:
    with Program([ENTRYPOINT, *command.split()], environment) as program:
        program.wait_for_line("idling" if code else "has nothing to do")
        assert program.process.poll() is None
        program.process.send_signal(number)
        assert program.wait() == code
        assert [json.loads(line)["levelname"] for line in program.lines] == ["INFO"]


def test_a_signal_that_was_ignored_from_the_start_ends_it_too() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = [ENTRYPOINT, "flush_all", "-p", "0"]
    with Program(command, {}, preexec_fn=ignore) as program:
        program.wait_for_line("idling")
        program.process.send_signal(signal.SIGINT)
        assert program.wait() == 1


def test_settings_without_effect_are_said_once_at_the_default_level() -> None:
    environment = {
        "PROTOCOL_BROKER_PROCESSES": "0",
        "APP_LOG_LEVEL": "warning",
        "PROCESS_TRANSFER_REQUESTS_THREADS": "10",
    }
    with Program([ENTRYPOINT, "consume_messages"], environment) as program:
        line = json.loads(program.wait_for_line("have no effect"))
    assert line["levelname"] == "WARNING"
    assert line["message"].endswith(": PROCESS_TRANSFER_REQUESTS_THREADS")


# -- servers that are away -----------------------------------------------


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("command", ["subscribe", "unsubscribe"])
def test_a_broker_that_is_away_is_told_in_one_line(command: str, log_format: str) -> None:
    done = run(command, POSTGRES_URL="", APP_LOG_FORMAT=log_format)
    assert done.returncode == 1
    [line] = (done.stderr if log_format == "text" else done.stdout).splitlines()
    assert "ailed: " in line
    assert "s3cret" not in done.stderr + done.stdout
    if log_format == "json":
        assert json.loads(line)["levelname"] == "ERROR"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_waits_for_a_server_ends_by_a_signal_without_a_traceback(
    number: signal.Signals,
) -> None:
    with Program([ENTRYPOINT, "await_migrations"], {}) as program:
        program.wait_for_line("cannot be reached")
        program.process.send_signal(number)
        assert program.wait() == 1
        assert len(program.lines) == len([json.loads(line) for line in program.lines]) == 2


def test_importing_the_package_does_nothing() -> None:
    code = "import sys, swpt_accounts; print([m for m in sys.modules if 'swpt' in m])"
    done = subprocess.run(
        [BIN / "python", "-c", code], env={}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "['swpt_accounts']\n"


def test_help_is_there_without_importing_what_is_slow() -> None:
    code = (
        "import sys\nfrom swpt_accounts.cli import main\n"
        "slow = ('pika', 'psycopg', 'sqlalchemy', 'alembic', 'flask', 'aiohttp', 'supervisor')\n"
        "print([m for m in slow if m in sys.modules])"
    )
    done = subprocess.run(
        [BIN / "python", "-c", code],
        env=dict(os.environ, **ENVIRONMENT),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"


# -- as the first process of a container ----------------------------------------

CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]


@pytest.mark.parametrize("command", ["webserver", "consume_messages", "await_migrations", "all"])
def test_the_first_process_of_a_container_hears_a_signal_that_comes_before_it_can_listen(
    command: str,
) -> None:
    if subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a PID namespace")
    environment = {"WEBSERVER_PORT": str(free_port())}
    with Program([*CONTAINER, ENTRYPOINT, command], environment) as program:
        first = eventually("there is a process", lambda: children_of(program.process.pid))[0]
        words = Path(f"/proc/{first}/cmdline")
        eventually("it has just become a program", lambda: b"python" in words.read_bytes())
        os.kill(first, signal.SIGTERM)
        program.wait()
