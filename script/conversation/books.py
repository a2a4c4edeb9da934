"""The books at the end, read from the database: every account, and that they sum to zero."""

import time
from dataclasses import dataclass

import psycopg
from rich.table import Table
from sqlalchemy.engine import make_url

from conversation.cast import Cast
from conversation.peer import Unmet
from conversation.screen import Screen
from conversation.wire import SCHEDULED_FOR_DELETION

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.05

_ACCOUNTS = """
    SELECT creditor_id, principal, total_locked_amount, pending_transfers_count, config_flags,
           is_deleted, journal.count, journal.total, last_journal_number
    FROM account
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, coalesce(sum(amount - clipped_amount), 0) AS total
        FROM journal
        WHERE journal.debtor_id = account.debtor_id
              AND journal.creditor_id = account.creditor_id
              AND journal.creation_date = account.creation_date
    ) AS journal
    WHERE debtor_id = %s
    ORDER BY creditor_id
"""
_UNSENT = "SELECT count(*) FROM outbox WHERE debtor_id = %s"
_EARLIER = """
    SELECT count(DISTINCT debtor_id), count(*), coalesce(sum(principal), 0)
    FROM account
    WHERE debtor_id <> %s
"""


@dataclass(frozen=True)
class Line:
    """One account, in the order of the query's columns."""

    creditor_id: int
    principal: int
    locked: int
    pending: int
    config_flags: int
    is_deleted: bool
    journal_count: int
    journal_total: int
    journal_number: int


class Books:
    def __init__(self, postgres_url: str, cast: Cast) -> None:
        self._conninfo = (
            make_url(postgres_url)
            .set(drivername="postgresql")
            .render_as_string(hide_password=False)
        )
        self._cast = cast

    def earlier(self) -> str:
        """What earlier runs have left, in a sentence; empty if there is nothing."""
        with psycopg.connect(self._conninfo) as connection:
            row = connection.execute(_EARLIER, [self._cast.debtor_id]).fetchone()
        assert row is not None
        currencies, accounts, total = row
        if not currencies:
            return ""
        return (
            f"From before, the database has {accounts:,} accounts in other currencies "
            f"({currencies:,}); their principals sum to {total:,}."
        )

    def check(self, screen: Screen, known: dict[int, int]) -> None:
        """Shows all accounts of this run's currency, and raises Unmet if anything doesn't fit.

        `known` are the principals as the peer's own books have them.
        """
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            self._await_empty_outbox(connection)
            rows = connection.execute(_ACCOUNTS, [self._cast.debtor_id]).fetchall()
        lines = [Line(*row) for row in rows]
        screen.say()
        screen.console.print(self._table(lines))
        wrong = self._faults(lines, known)
        if wrong:
            raise Unmet("The books are wrong:\n" + "\n".join(wrong))

    def _await_empty_outbox(self, connection: psycopg.Connection) -> None:
        """What was announced is deleted when RabbitMQ has confirmed it, a moment after it came."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            row = connection.execute(_UNSENT, [self._cast.debtor_id]).fetchone()
            assert row is not None
            if row[0] == 0:
                return
            if time.monotonic() > deadline:
                raise Unmet(f"{row[0]} messages are still in the outbox, unsent.")
            time.sleep(_POLL_SECONDS)

    def _table(self, lines: list[Line]) -> Table:
        table = Table(title="The books", title_style="bold", title_justify="left")
        table.add_column("account")
        for name in ("principal", "locked", "journal rows"):
            table.add_column(name, justify="right")
        table.add_column("")
        for line in lines:
            remark = ""
            if line.is_deleted:
                remark = "deleted"
            elif line.config_flags & SCHEDULED_FOR_DELETION:
                remark = "scheduled for deletion"
            name = self._cast.names.get(line.creditor_id, str(line.creditor_id))
            numbers = (line.principal, line.locked, line.journal_count)
            table.add_row(name, *(f"{number:,}" for number in numbers), remark)
        table.add_section()
        sums = (
            sum(line.principal for line in lines),
            sum(line.locked for line in lines),
            sum(line.journal_count for line in lines),
        )
        table.add_row("sum", *(f"{number:,}" for number in sums), style="bold")
        return table

    def _faults(self, lines: list[Line], known: dict[int, int]) -> list[str]:
        wrong = []
        if {line.creditor_id for line in lines} != set(self._cast.names):
            wrong.append(f"There are {len(lines)} accounts instead of {len(self._cast.names)}.")
        if total := sum(line.principal for line in lines):
            wrong.append(f"The principals sum to {total}, not to zero.")
        for line in lines:
            name = self._cast.names.get(line.creditor_id, str(line.creditor_id))
            if line.journal_total != line.principal:
                wrong.append(f"{name}: the journal adds up to {line.journal_total}.")
            if line.journal_count != line.journal_number:
                wrong.append(f"{name}: the journal's latest number is {line.journal_number}.")
            if line.locked or line.pending:
                wrong.append(f"{name}: {line.locked} locked for {line.pending} transfers.")
            if known.get(line.creditor_id, line.principal) != line.principal:
                wrong.append(f"{name}: the peer has {known[line.creditor_id]} instead.")
        return wrong
