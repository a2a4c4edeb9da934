"""The whole node under supervisord, and its web server, without any server behind them.

Consuming and flushing idle here: what they do with real servers is tested elsewhere.
"""

import http.client
import json
import os
import signal
import socket
import textwrap
import time
from pathlib import Path

import pytest

from tests.cli.programs import (
    DEADLINE_SECONDS,
    ENTRYPOINT,
    ROOT,
    Program,
    children_of,
    descendants_of,
    free_port,
    wait_for_end,
)

PROGRAMS = (
    "consume_messages",
    "flush_all",
    "webserver",
    "consume_chore_messages",
    "scan_accounts",
    "scan_prepared_transfers",
    "scan_registered_balance_changes",
)
IDLE = {
    "PROTOCOL_BROKER_PROCESSES": "0",
    "CHORES_BROKER_PROCESSES": "0",
    "FLUSH_PROCESSES": "0",
}
SLOW_TO_LOAD = textwrap.dedent("""
    import sys, time

    class Slow:
        def find_spec(name, path=None, target=None):
            if name == "swpt_accounts.asgi":
                print("the application is being loaded", flush=True)
                time.sleep(1)

    sys.meta_path.insert(0, Slow)
""")
STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def node(port: int, *, directory: Path | None = None, **options: object) -> Program:
    environment = IDLE | {"WEBSERVER_PORT": str(port)}
    if directory is not None:
        environment |= {"HOME": str(directory), "TMPDIR": str(directory)}
    return Program([ENTRYPOINT, "all"], environment, cwd=directory, **options)


def wait_until_running(program: Program) -> None:
    # The scans cannot be told to be idle; here they wait for a database.
    program.wait_for_line("idling until signalled", "Booting worker", count=len(IDLE) + 1)


def answer(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def test_all_programs_run_and_end_without_a_trace(tmp_path: Path) -> None:
    port = free_port()
    with node(port, directory=tmp_path) as program:
        wait_until_running(program)
        assert answer(port, "/accounts/healthz") == (200, "I am healthy")
        processes = descendants_of(program.process.pid)
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 0
        wait_for_end(processes)
        assert {json.loads(line)["name"].split(".")[0] for line in program.lines} == {
            "swpt_accounts",
            "gunicorn",
        }
        for name in PROGRAMS:
            assert any(f"spawned: '{name}'" in line for line in program.lines)
            assert any(f"stopped: {name}" in line for line in program.lines)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_dies_is_started_again() -> None:
    with node(free_port()) as program:
        wait_until_running(program)
        for child in children_of(program.process.pid):
            os.kill(child, signal.SIGKILL)
        wait_until_running(program)
        exited = [line for line in program.lines if "terminated by SIGKILL" in line]
        assert len(exited) == len(PROGRAMS)
        assert all(json.loads(line)["levelname"] == "WARNING" for line in exited)


def test_programs_that_die_at_the_same_moment_are_all_started_again_at_once() -> None:
    """That others have died too is nothing that a new process has to end for."""
    with node(free_port()) as program:
        wait_until_running(program)
        pauses = (0, 0.0002, 0.001)  # They may die together, or one by one.
        for pause in pauses:
            victims = [pid for pid in children_of(program.process.pid) if is_idle(pid)]
            assert len(victims) == len(IDLE)
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
                time.sleep(pause)
            program.wait_for_line("idling until signalled", count=len(victims))
        exits = [line for line in program.lines if "exited: " in line]
        assert len(exits) == len(pauses) * len(IDLE)
        assert all("terminated by SIGKILL" in line for line in exits)


def is_idle(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"consume_" in words or b"flush_all" in words


def test_the_programs_do_not_outlive_the_one_that_watches_them() -> None:
    port = free_port()
    with node(port) as program:
        wait_until_running(program)
        processes = descendants_of(program.process.pid)
        assert len(processes) > len(PROGRAMS)
        program.process.kill()
        wait_for_end(processes)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))


def test_two_nodes_of_one_user_do_not_disturb_each_other(tmp_path: Path) -> None:
    first_port, second_port = free_port(), free_port()
    with (
        node(first_port, directory=tmp_path) as first,
        node(second_port, directory=tmp_path) as second,
    ):
        wait_until_running(first)
        wait_until_running(second)
        second.process.terminate()
        assert second.wait() == 0
        assert answer(first_port, "/accounts/healthz")[0] == 200
        assert not any("exited: " in line for line in first.lines)


def test_a_file_gets_every_line_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    # The file is opened without O_APPEND, as by `>` in a shell.
    with (
        log.open("r+b") as file,
        Program(["tail", "-n", "+1", "-F", log], {}) as tail,
        Program(
            [ENTRYPOINT, "all"], IDLE | {"WEBSERVER_PORT": str(free_port())}, stdout=file
        ) as program,
    ):
        wait_until_running(tail)
        program.process.send_signal(signal.SIGINT)
        assert program.wait() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len([line for line in lines if "spawned: " in line["message"]]) == len(PROGRAMS)


def test_stdout_may_be_a_socket_as_systemd_makes_it() -> None:
    ours, theirs = socket.socketpair()
    with (
        theirs,
        Program(
            [ENTRYPOINT, "all"], IDLE | {"WEBSERVER_PORT": str(free_port())}, stdout=theirs.fileno()
        ) as program,
    ):
        theirs.close()
        program.read(ours.makefile("rb"))
        ours.close()
        wait_until_running(program)
        program.process.send_signal(signal.SIGHUP)
        assert program.wait() == 0
        assert any("stopped: webserver" in line for line in program.lines)


def test_the_programs_are_those_that_supervisord_is_told_to_run() -> None:
    text = (ROOT / "docker" / "supervisord.conf").read_text()
    assert f"programs = {','.join(PROGRAMS)}\n" in text


# -- the web server ------------------------------------------------------

SLOW_APPLICATION = """
    import asyncio
    import os

    def wait():
        # Both wait for the other end: the test knows when the request has come,
        # and says when it is to be answered.
        open(os.environ["ARRIVED"], "w").close()
        open(os.environ["RELEASED"]).close()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await asyncio.to_thread(wait)
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_web_server_answers_what_it_has_begun_to_answer(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(textwrap.dedent(SLOW_APPLICATION))
    arrived, released = tmp_path / "arrived", tmp_path / "released"
    os.mkfifo(arrived)
    os.mkfifo(released)
    port = free_port()
    command = ["gunicorn", "-c", ROOT / "docker" / "gunicorn.conf.py", "slow:app"]
    environment = {
        "WEBSERVER_PORT": str(port),
        "ARRIVED": str(arrived),
        "RELEASED": str(released),
    }
    with Program([ENTRYPOINT, *command], environment, cwd=tmp_path) as program:
        program.wait_for_line("Booting worker")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        connection.request("GET", "/")
        with arrived.open():
            pass
        # Ctrl-C reaches the workers too.
        for process in (program.process.pid, *descendants_of(program.process.pid)):
            if number is signal.SIGINT or process == program.process.pid:
                os.kill(process, number)
        program.wait_for_line("Handling signal: term")
        with released.open("w"):
            pass
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"done")
        connection.close()
        assert program.wait() == 0


def test_requests_are_logged_at_the_level_debug_only() -> None:
    for level, is_logged in (("info", False), ("debug", True)):
        port = free_port()
        environment = {"WEBSERVER_PORT": str(port), "APP_LOG_LEVEL": level}
        with Program([ENTRYPOINT, "webserver"], environment) as program:
            program.wait_for_line("Booting worker")
            assert answer(port, "/accounts/healthz")[0] == 200
            program.process.terminate()
            assert program.wait() == 0
            lines = [json.loads(line) for line in program.lines]
            requests = [line for line in lines if line["name"] == "gunicorn.access"]
            assert len(requests) == is_logged
            assert all('"GET /accounts/healthz HTTP/1.1" 200' in r["message"] for r in requests)


def test_variables_of_gunicorn_are_passed_on_but_do_not_replace_ours() -> None:
    port = free_port()
    environment = {
        "WEBSERVER_PORT": str(port),
        "WEBSERVER_PROCESSES": "2",
        "GUNICORN_WORKERS": "1",
        "GUNICORN_BIND": "127.0.0.1:1",
        "GUNICORN_PROC_NAME": "named",
        "GUNICORN_UNKNOWN": "ignored",
    }
    with Program([ENTRYPOINT, "webserver"], environment) as program:
        assert f":{port} " in program.wait_for_line("Listening at")
        program.wait_for_line("Booting worker", count=2)
        program.process.terminate()
        assert "named" in program.wait_for_line("Shutting down") or program.wait() == 0


def test_a_worker_that_is_told_to_stop_while_it_begins_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_TO_LOAD)
    environment = {"WEBSERVER_PORT": str(free_port()), "PYTHONPATH": str(tmp_path)}
    with Program([ENTRYPOINT, "webserver"], environment) as program:
        program.wait_for_line("the application is being loaded")
        program.process.terminate()
        assert program.wait() == 0
        assert any("Worker shutting down" in line for line in program.lines)
