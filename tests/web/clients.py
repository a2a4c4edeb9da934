"""Clients to ask other shards with, and a clock for what they remember."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from swpt_accounts.protocol.sharding import GROUP_BITS_MIN, Groups
from swpt_accounts.web.fetch_client import FetchClient

LONG = 60.0
GROUPS = Groups(GROUP_BITS_MIN)
SHORT = 0.1


class Clock:
    """A clock that only moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def client_of(
    url: str | None,
    *,
    timeout_seconds: float = LONG,
    connections_max: int = 10,
    cache_size: int = 1000,
    clock: Clock | None = None,
) -> Iterator[FetchClient]:
    client = FetchClient(
        url,
        timeout_seconds=timeout_seconds,
        connections_max=connections_max,
        cache_size=cache_size,
        clock=clock or Clock(),
    )
    try:
        yield client
    finally:
        client.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def reachable(*, yes: list[int], no: list[int]) -> dict[tuple[int, int], bool]:
    return {(1, number): True for number in yes} | {(1, number): False for number in no}
