"""Plans of statements, as PostgreSQL carries them out."""

from collections.abc import Iterator
from typing import Any

import psycopg

from swpt_accounts.store.transaction import Transaction


class Explaining(Transaction):
    """Has each statement explained, as it is run, instead of returning its rows."""

    def __init__(self, session: psycopg.Connection) -> None:
        super().__init__(session.cursor())
        self.unexplained = Transaction(session.cursor())
        self.plans: list[dict[str, Any]] = []

    def fetch(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        [(plan,)] = super().fetch(explained, parameters)
        self.plans.append(plan[0]["Plan"])
        return []

    def execute(self, statement: str, parameters: Any) -> int:
        self.fetch(statement, parameters)
        top = self.plans[-1]
        written = next(node for node in nodes_of(top["Plans"][0]) if "Actual Rows" in node)
        return int(written["Actual Rows"])


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)
