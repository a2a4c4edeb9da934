"""The groups of tests that take long: what each of them shows, and what it needs beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from steps import newer_rabbitmq
from steps.environment import VAR
from steps.progress import Progress


def _nothing(progress: Progress) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class LongGroup:
    """The tests marked `long(group=NAME)`, and what runs once more under other circumstances."""

    title: str
    minutes: int
    paths: tuple[str, ...] = ("tests",)
    with_unmarked: bool = False
    """Whether tests run that `script/test` runs as well."""
    prepare: Callable[[Progress], dict[str, str]] = _nothing
    """Makes what the tests need; returns the environment in which they find it."""

    def selection(self, name: str) -> str:
        """The expression for pytest's -m."""
        own = f"long(group='{name}')"
        return f"not long or {own}" if self.with_unmarked else own


def _on_newer_rabbitmq(title: str, folder: str, release: str) -> LongGroup:
    return LongGroup(
        f"broker, workers and end to end on {title}, made in var/{folder}",
        minutes=8,
        paths=(
            "tests/broker",
            "tests/workers",
            "tests/end_to_end",
            "tests/script/test_embedded_rabbitmq.py",
            "tests/script/test_newer_rabbitmq.py",
        ),
        with_unmarked=True,
        prepare=partial(newer_rabbitmq.ensure, folder=VAR / folder, release=release),
    )


GROUPS = {
    "memory": LongGroup("consumers behind gigabytes of hostile messages", minutes=3),
    "absent-shard": LongGroup(
        "100,000 transfers wait for a shard that is away for ten minutes", minutes=14
    ),
    "benchmark": LongGroup("script/bench, all parts of it, with small numbers", minutes=4),
    "rabbitmq-4": _on_newer_rabbitmq("RabbitMQ 4.0", "rabbitmq-4", "trixie"),
    "rabbitmq-testing": _on_newer_rabbitmq(
        "whatever RabbitMQ Debian's testing has", "rabbitmq-testing", "testing"
    ),
}
"""By name. A test that is marked for any other group is refused; see tests/conftest.py."""
