"""Several processes doing the same work: fork, signals, children's deaths, exit codes.

Children that were forked before any thread or connection exists share nothing.
When one of them ends, the others are stopped too and the whole command ends,
so that whoever started it (a container, a process manager) starts it afresh;
a command never lives on with fewer workers than it was asked for. Children
whose parent was killed stop too, instead of working on unseen.
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from swpt_accounts.workers.stopping import STOP_SIGNALS, Stopping, on_signals

logger = logging.getLogger(__name__)

STOPPED: Final = 0
"""The work ended because it was asked to."""
FAILED: Final = 1
"""The work ended by itself, or with an error."""

Work = Callable[[Stopping], None]


def run(count: int, work: Work) -> int:
    """Run `work` in `count` processes until a stop signal comes or one of them ends.

    One process is this one. With a count of zero there is nothing to do, and
    this idles until it is signalled. Returns STOPPED or FAILED.
    """
    if count == 0:
        logger.info("there is nothing to do: the number of processes is set to 0")
        with on_signals(Stopping()) as stopping:
            stopping.wait()
        return STOPPED
    return _run_here(work) if count == 1 else _run_children(count, work)


def _run_here(work: Work) -> int:
    with on_signals(Stopping()) as stopping:
        work(stopping)
    return STOPPED if stopping.requested else FAILED


def _run_children(count: int, work: Work) -> int:
    # A stop signal may come at any moment from here on; it is remembered, and
    # passed on to the children that exist by then.
    children: set[int] = set()
    stop_requested = False

    def handle(_signal_number: int, _frame: FrameType | None) -> None:
        nonlocal stop_requested
        stop_requested = True
        for child in children:
            os.kill(child, signal.SIGTERM)

    # The parent keeps one end of this pipe open for as long as it lives.
    lifeline, parents_end = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    for _ in range(count):
        children.add(_fork(work, lifeline, parents_end))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    failed = False
    try:
        while children:
            child, status = os.wait()
            children.discard(child)
            if not stop_requested:
                code = os.waitstatus_to_exitcode(status)
                logger.error("worker process %d has ended with code %d", child, code)
                failed = stop_requested = True
                for other in children:
                    os.kill(other, signal.SIGTERM)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(lifeline)
        os.close(parents_end)
    return FAILED if failed else STOPPED


def _fork(work: Work, lifeline: int, parents_end: int) -> int:
    """Fork a child that runs the work and exits; return its process id."""
    child = os.fork()
    if child:
        return child
    code = FAILED
    try:
        os.close(parents_end)
        stopping = Stopping()
        threading.Thread(target=_await_orphanhood, args=(lifeline, stopping), daemon=True).start()
        with on_signals(stopping):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            work(stopping)
        code = STOPPED if stopping.requested else FAILED
    except BaseException:  # noqa: BLE001 - a child ends here, whatever happens
        logger.critical("worker process failed:\n%s", traceback.format_exc())
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


def _await_orphanhood(lifeline: int, stopping: Stopping) -> None:
    """Request to stop when the parent is gone: only then can the pipe be read to its end."""
    os.read(lifeline, 1)
    logger.error("the parent process is gone, so this one stops too")
    stopping.request()
