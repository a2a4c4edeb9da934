"""How commands that have no workers answer to signals."""

import signal
from types import FrameType
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ENDED_BY_SIGNAL: Final = 1


def end_on_signals() -> None:
    """Have signals end the process, until workers or servers install their own handlers.

    The kernel keeps a signal without a handler from the first process of a
    container, which would then go on until it is killed.
    """

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(_ENDED_BY_SIGNAL)

    for number in _SIGNALS:
        signal.signal(number, end)
    # Whoever has started this may have had a reason to block them; we have none.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def hold_signals() -> None:
    """Keep signals waiting for `idle_until_signalled`, from before one says that one is ready."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def idle_until_signalled() -> None:
    """Return when SIGTERM, SIGINT or SIGHUP arrives."""
    signal.sigwait(_SIGNALS)
