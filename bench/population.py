"""Very many accounts, made faster than by messages: copies of one that was."""

from dataclasses import dataclass, replace

from bench.node import Node
from bench.transfers import Say
from bench.workload import Currency
from swpt_accounts.store.accounts import COLUMNS
from swpt_accounts.store.connection import connect

_CHUNK_SIZE = 100_000
_COPY = f"""
    INSERT INTO account ({", ".join(COLUMNS)})
    SELECT {", ".join("new_id" if name == "creditor_id" else name for name in COLUMNS)}
    FROM account CROSS JOIN generate_series(%s::bigint, %s::bigint) AS new_id
    WHERE debtor_id = %s AND creditor_id = %s
"""


@dataclass(frozen=True)
class Population:
    """Fills the table of accounts of a node."""

    node: Node

    def grow(self, currency: Currency, count: int, say: Say) -> Currency:
        """Returns the currency with at least so many accounts, each a copy of the first one.

        The money of the copies comes from nowhere, which no rule looks at.
        """
        with connect(
            self.node.postgres_url, application_name="bench", autocommit=True
        ) as connection:
            ids = currency.creditor_ids
            last = max(ids.start + count, ids.stop)
            for start in range(ids.stop, last, _CHUNK_SIZE):
                say(f"{start - ids.start:,} of {count:,} accounts are there")
                stop = min(start + _CHUNK_SIZE, last)
                connection.execute(_COPY, (start, stop - 1, currency.debtor_id, ids.start))
            # What autovacuum and the next checkpoint would do meanwhile is none of the transfers'.
            say("counting rows, writing pages")
            connection.execute("VACUUM (ANALYZE) account")
            connection.execute("CHECKPOINT")
        return replace(currency, creditor_ids=range(ids.start, last))
