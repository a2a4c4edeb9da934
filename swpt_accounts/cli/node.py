"""All programs of a node in one container, started, watched and stopped by supervisord.

supervisord is used as a library, to differ from the command in four ways: its
own lines go through our log, it leaves no file behind, SIGHUP ends it, and the
programs do not outlive it.
"""

import ctypes
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click

from swpt_accounts.cli.start import DONE, begin

logger = logging.getLogger("swpt_accounts.supervisord")

_PR_SET_PDEATHSIG: Final = 1
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
    from supervisor.loggers import Handler, Logger  # type: ignore[import-untyped]
    from supervisor.options import ServerOptions  # type: ignore[import-untyped]
    from supervisor.supervisord import go  # type: ignore[import-untyped]

    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    class OurLog(Handler):  # type: ignore[misc]
        def emit(self, record: Any) -> None:
            # Both use the same numbers for the levels.
            logger.log(record.level, "%s", record.asdict()["message"])

    class Options(ServerOptions):  # type: ignore[misc]
        def make_logger(self) -> None:
            self.logger = Logger(self.loglevel, [OurLog()])

        def write_pidfile(self) -> None:
            pass

        def get_signal(self) -> int | None:
            number: int | None = super().get_signal()
            # supervisord would stop everything and begin anew.
            return signal.SIGTERM if number == signal.SIGHUP else number

        def setpgrp(self) -> None:
            # This runs in each program's process, before the program.
            super().setpgrp()
            # Until it is replaced by the program, this process has supervisord's
            # handlers, which would note a signal to stop, and forget it.
            for number in _STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            if self.signal_receiver.get_signal() is not None:
                os._exit(DONE)
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    options = Options()
    options.realize(["--configuration", str(configuration)], doc=__doc__)
    options.first, options.test = True, False
    go(options)


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
