"""All programs of a node in one container, started, watched and stopped by supervisord.

supervisord is used as a library, to differ from the command in five ways: its
own lines go through our log, it leaves no file behind, SIGHUP ends it, programs
that cannot start are tried again soon, and none outlives it.
"""

import ctypes
import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from swpt_accounts.cli.start import DONE, begin

logger = logging.getLogger("swpt_accounts.supervisord")

_PR_SET_PDEATHSIG: Final = 1
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_BACKOFF_SECONDS_MAX: Final = 5
"""A program that cannot start now is started again after this time at the latest."""

# supervisord warns of these, but they are how a node ends when it is told to.
_NO_WARNING: Final = re.compile(
    r"received \w+ indicating exit request"
    r"|stopped: \w+ \((exit status [01]|terminated by SIGTERM)\)"
)


@click.command("all")
@click.option(
    "-c",
    "--configuration",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="supervisord's configuration: the programs to run.",
)
def all_programs(configuration: Path) -> None:
    """Run all programs of a node, until signalled. `docker/entrypoint.sh all` calls this."""
    begin()
    _make_stdout_reopenable()
    _supervise(configuration)
    raise SystemExit(DONE)


def _supervise(configuration: Path) -> None:
    # supervisor has no types, so mypy knows nothing of what is imported or derived from it.
    from supervisor import events  # type: ignore[import-untyped]
    from supervisor.loggers import Handler, Logger  # type: ignore[import-untyped]
    from supervisor.options import ServerOptions  # type: ignore[import-untyped]
    from supervisor.supervisord import go  # type: ignore[import-untyped]

    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    class OurLog(Handler):  # type: ignore[misc]
        def emit(self, record: Any) -> None:
            # Both use the same numbers for the levels.
            message = record.asdict()["message"]
            level = logging.INFO if _NO_WARNING.fullmatch(message) else record.level
            logger.log(level, "%s", message)

    class Options(ServerOptions):  # type: ignore[misc]
        def make_logger(self) -> None:
            self.logger = Logger(self.loglevel, [OurLog()])

        def write_pidfile(self) -> None:
            pass

        def setsignals(self) -> None:
            super().setsignals()
            # What has been subscribed to before that is forgotten.
            events.subscribe(events.ProcessStateBackoffEvent, _shorten_backoff)

        def get_signal(self) -> int | None:
            number: int | None = super().get_signal()
            # supervisord would stop everything and begin anew.
            return signal.SIGTERM if number == signal.SIGHUP else number

        def setpgrp(self) -> None:
            # This runs in each program's process, before the program.
            super().setpgrp()
            _end_if_told_to_stop(self.signal_receiver)
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    options = Options()
    options.realize(["--configuration", str(configuration)], doc=__doc__)
    options.first, options.test = True, False
    go(options)


def _end_if_told_to_stop(receiver: Any) -> None:
    """Hear a signal to stop in a process that is about to be replaced by a program.

    It still has supervisord's handlers, which note signals, to be forgotten. Signals
    that supervisord had noted before are among them, also that children have ended.
    """
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    while (number := receiver.get_signal()) is not None:
        if number in _STOP_SIGNALS:
            os._exit(DONE)


def _shorten_backoff(event: Any) -> None:
    """Start a program again soon, however often it could not start: supervisord waits longer."""
    process = event.process
    process.backoff = min(process.backoff, _BACKOFF_SECONDS_MAX)
    process.delay = min(process.delay, time.time() + _BACKOFF_SECONDS_MAX)


def _make_stdout_reopenable() -> None:
    """See to it that /dev/stdout can be opened, which is where supervisord sends all output.

    That fails if stdout is a socket, as it is where systemd starts a program.
    Then a pipe takes its place, and `cat` copies from there.
    """
    try:
        os.close(os.open("/dev/stdout", os.O_WRONLY | os.O_APPEND))
    except OSError:
        reading_end, writing_end = os.pipe()
        # It ends after the last writer, and not by a signal to the whole group.
        subprocess.Popen(["sh", "-c", "trap '' HUP INT TERM; exec cat"], stdin=reading_end)  # noqa: S607
        os.dup2(writing_end, 1)
        os.close(reading_end)
        os.close(writing_end)
    else:
        # A file that is opened twice would be written over, not added to.
        fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)
