"""Doing nothing, until a signal asks to end."""

import signal
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def idle_until_signalled() -> None:
    """Return when SIGTERM, SIGINT or SIGHUP arrives."""
    # A signal that is ignored, as a shell arranges for background commands,
    # would never be waited for with success.
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.sigwait(_SIGNALS)


def hold_signals() -> None:
    """Keep signals waiting for `idle_until_signalled`, from before one says that one is ready."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
