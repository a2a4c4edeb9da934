"""Waiting for what other processes do, with a deadline."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

SECONDS = 60.0
"""Much longer than anything takes: only a failing test waits so long."""

_POLL_SECONDS = 0.01

T = TypeVar("T")


def eventually(what: str, condition: Callable[[], T], *, seconds: float = SECONDS) -> T:
    """Return what the condition returns, as soon as that is true; fail when the time is up."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        never.wait(_POLL_SECONDS)
    return value
