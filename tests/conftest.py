"""The fixtures that tests of every folder may ask for. Each topic has a file of its own."""

import signal
from collections.abc import Iterator, Sequence

import pytest

from steps.long import GROUPS

pytest_plugins = ["tests.fix_database", "tests.fix_broker"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A test marked for a group that does not exist would never run."""
    for item in items:
        for mark in item.iter_markers("long"):
            group = mark.kwargs.get("group")
            if mark.args or group not in GROUPS:
                raise pytest.UsageError(
                    f"{item.nodeid}: write pytest.mark.long(group=NAME), with a name from "
                    f"script/steps/long.py: {', '.join(GROUPS)}."
                )


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Commands decide how their process answers to signals, and tests call commands.

    A signal that one test has left blocked or ignored would be so in all processes that later
    tests start, which then could not be stopped.
    """
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in handlers.items():
        signal.signal(number, handler)
