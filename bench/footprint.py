"""What the node takes of the machine besides time: memory, and bytes on disk."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.programs import Programs

_DATABASE = "SELECT pg_database_size(current_database())"
_JOURNAL = """
    SELECT coalesce(sum(pg_total_relation_size(relid)), 0)
    FROM pg_partition_tree(to_regclass('journal'))
"""
_LOG = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


@dataclass(frozen=True)
class DiskUse:
    """Bytes: what is there, or by how much it has grown."""

    database: int
    journal: int
    """The part that grows for ever; the rest is used again. Of other nodes than this one: zero."""
    write_ahead_log: int
    """All that was ever written to it. What is older than a checkpoint is removed."""

    @staticmethod
    def now(node: "Programs") -> "DiskUse":
        return DiskUse(*(node.ask_database(query) for query in (_DATABASE, _JOURNAL, _LOG)))

    def since(self, before: "DiskUse") -> "DiskUse":
        return DiskUse(
            self.database - before.database,
            self.journal - before.journal,
            self.write_ahead_log - before.write_ahead_log,
        )
