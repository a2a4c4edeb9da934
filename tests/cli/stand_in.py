"""Commands run with functions of `wiring` that only remember how they were called."""

from collections.abc import Callable
from typing import Any

from click.testing import CliRunner, Result

from swpt_accounts.cli import main

DATABASE_URL = "postgresql+psycopg://user:password@localhost:5432/database"
BROKER_URL = "amqp://guest:guest@localhost:5672"
ASKED = (
    "configure_database",
    "configure_chores_queue",
    "subscribe",
    "unsubscribe",
    "delete_queue",
    "await_migrations",
    "consume_messages",
    "consume_chores",
    "flush",
    "scan",
)

Call = tuple[Any, ...]


class Wiring:
    """Stands for the functions that commands call, and remembers how they were called."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failures: dict[str, list[Exception]] = {}

    def function(self, name: str) -> Callable[..., int]:
        def called(_settings: object, *args: Any, **kwargs: Any) -> int:
            self.calls.append((name, *args, *([kwargs] if kwargs else [])))
            if self.failures.get(name):
                raise self.failures[name].pop(0)
            return 0

        return called


def run(command: str, **environment: str) -> Result:
    environment = {"POSTGRES_URL": DATABASE_URL} | environment
    return CliRunner().invoke(main, command.split(), env=environment)
