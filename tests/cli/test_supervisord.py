"""What this package takes from supervisor beyond its documented interface is still there."""

import inspect
import time
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.loggers import Handler, Logger, LogRecord
from supervisor.options import ServerOptions, SignalReceiver
from supervisor.process import Subprocess
from supervisor.states import ProcessStates
from supervisor.supervisord import Supervisor, go

from swpt_accounts.cli import node


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (ServerOptions.make_logger, ["self"]),
        (ServerOptions.write_pidfile, ["self"]),
        (ServerOptions.setsignals, ["self"]),
        (ServerOptions.get_signal, ["self"]),
        (ServerOptions.setpgrp, ["self"]),
        (SignalReceiver.get_signal, ["self"]),
        (Handler.emit, ["self", "record"]),
        (Logger, ["level", "handlers"]),
        (events.subscribe, ["type", "callback"]),
        (go, ["options"]),
    ],
)
def test_supervisor_still_has_the_seams(function: Any, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_a_program_is_in_a_group_of_its_own_before_it_begins() -> None:
    source = inspect.getsource(Subprocess._spawn_as_child)
    assert 0 < source.index("options.setpgrp()") < source.index("options.execve(")
    assert isinstance(ServerOptions().signal_receiver, SignalReceiver)


def test_signals_are_set_up_after_all_that_was_subscribed_to_is_forgotten() -> None:
    source = inspect.getsource(Supervisor.run)
    assert 0 < source.index("events.clear()") < source.index("self.options.setsignals()")


@pytest.mark.parametrize(
    ("message", "is_warning"),
    [
        ("received SIGTERM indicating exit request", False),
        ("stopped: flush_all (exit status 1)", False),
        ("stopped: flush_all (terminated by SIGTERM)", False),
        ("stopped: flush_all (terminated by SIGKILL)", True),
        ("stopped: flush_all (exit status 3)", True),
        ("exited: flush_all (exit status 1; not expected)", True),
        ("killing 'flush_all' (123) with SIGKILL", True),
    ],
)
def test_a_clean_end_is_no_warning(message: str, is_warning: bool) -> None:
    record = LogRecord(30, message)
    assert (node._NO_WARNING.fullmatch(record.asdict()["message"]) is None) == is_warning


def test_a_program_that_cannot_start_for_long_is_tried_again_soon() -> None:
    process = Subprocess(SimpleNamespace(name="webserver"))
    events.subscribe(events.ProcessStateBackoffEvent, node._shorten_backoff)
    try:
        for _ in range(100):
            process.change_state(ProcessStates.STARTING)
            process.change_state(ProcessStates.BACKOFF)
    finally:
        events.clear()
    assert process.backoff <= node._BACKOFF_SECONDS_MAX
    assert process.delay <= time.time() + node._BACKOFF_SECONDS_MAX
