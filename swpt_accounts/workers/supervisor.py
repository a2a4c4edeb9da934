"""Several processes doing the same work: fork, signals, children's deaths, exit codes.

Children that were forked before any thread or connection exists share nothing.
When one of them ends, the others are stopped too and the whole command ends,
so that whoever started it (a container, a process manager) starts it afresh;
a command never lives on with fewer workers than it was asked for. Children
whose parent was killed stop too, instead of working on unseen. A child that is
frozen or stuck, and does not end when it is told to, is killed. A single
process, which has no parent here, ends itself.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from swpt_accounts.workers.stopping import STOP_SIGNALS, Stopping, on_signals

logger = logging.getLogger(__name__)

STOPPED: Final = 0
"""The work ended because it was asked to."""
FAILED: Final = 1
"""The work ended by itself, or with an error."""

STOP_SECONDS: Final = 15.0
"""So long workers have to end. It is longer than any of them takes for what it has begun, and
shorter than what supervisord and orchestrators grant (docker/supervisord.conf)."""

_STDERR: Final = 2
_AWAITED: Final = (*STOP_SIGNALS, signal.SIGCHLD, signal.SIGALRM)

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
    try:
        with on_signals(Stopping(), _limit_the_end) as stopping:
            work(stopping)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return STOPPED if stopping.requested else FAILED


def _limit_the_end() -> None:
    """Have this process end in time, even when it is stuck; then it tells where that was."""
    faulthandler.dump_traceback_later(STOP_SECONDS, exit=True, file=_STDERR)


def _run_children(count: int, work: Work) -> int:
    # Signals are waited for, not handled: there is no moment at which one
    # could come too early to be noticed.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    # The parent keeps one end of this pipe open for as long as it lives.
    lifeline, parents_end = os.pipe()
    try:
        children = {_fork(work, lifeline, parents_end) for _ in range(count)}
        return _await(children)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(lifeline)
        os.close(parents_end)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def _await(children: set[int]) -> int:
    """Wait until all children have ended; when one ends or a stop signal comes, stop the others."""
    outcome = None
    while children:
        received = signal.sigwait(_AWAITED)
        if received == signal.SIGALRM:
            _kill(children)
        elif received in STOP_SIGNALS:
            _stop(children, is_first_time=outcome is None)
            outcome = STOPPED if outcome is None else outcome
        for child, code in _ended(children):
            children.discard(child)
            if outcome is None:
                logger.error("worker process %d has ended with code %d", child, code)
                outcome = FAILED
                _stop(children, is_first_time=True)
    return FAILED if outcome is None else outcome


def _ended(children: set[int]) -> list[tuple[int, int]]:
    """Return (process id, exit code) of the children that have ended since the last time."""
    ended = []
    for child in children:
        process_id, status = os.waitpid(child, os.WNOHANG)
        if process_id:
            ended.append((child, os.waitstatus_to_exitcode(status)))
    return ended


def _stop(children: set[int], *, is_first_time: bool) -> None:
    for child in children:
        os.kill(child, signal.SIGTERM)
    if is_first_time:
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)


def _kill(children: set[int]) -> None:
    for child in children:
        logger.error(
            "worker process %d has not ended within %g seconds, and is killed", child, STOP_SECONDS
        )
        os.kill(child, signal.SIGKILL)


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
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            work(stopping)
        code = STOPPED if stopping.requested else FAILED
    except BaseException:  # noqa: BLE001 - a child ends here, whatever happens
        logger.critical("worker process failed:\n%s", traceback.format_exc())
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


def _await_orphanhood(lifeline: int, stopping: Stopping) -> None:
    """Stop when the parent is gone: only then can the pipe be read to its end."""
    os.read(lifeline, 1)
    logger.error("the parent process is gone, so this one stops too")
    stopping.request()
    time.sleep(STOP_SECONDS)
    logger.error("this process has not ended within %g seconds, and is cut off", STOP_SECONDS)
    os._exit(FAILED)
