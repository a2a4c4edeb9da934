"""Who sends what: concurrent flushers share the outbox's lanes.

A flusher holds a lane by a session-level advisory lock, so that no message is
sent twice by two of them, no transaction stays open while messages are under
way, and a flusher that dies leaves its lanes to the others at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

import psycopg

# The first halves of the keys of this project's advisory locks. The second
# half is a lane, or the number of a lane group.
_LANE_LOCKS: Final = 0x53_57_50_01
_PRESENCE_LOCKS: Final = 0x53_57_50_02

_DECLARE_PRESENCE: Final = "SELECT pg_advisory_lock_shared(%s, %s)"
_COUNT_PRESENT: Final = """
    SELECT objid::int, count(*)::int
    FROM pg_locks
    WHERE locktype = 'advisory' AND classid = %s AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY objid
"""
_CLAIM: Final = """
    SELECT lane FROM unnest(%s::int[]) AS lane WHERE pg_try_advisory_lock(%s, lane)
"""
_RELEASE: Final = "SELECT pg_advisory_unlock(%s, lane) FROM unnest(%s::int[]) AS lane"


class Lanes:
    """The lanes held by one connection, which must be in autocommit mode."""

    def __init__(self, connection: psycopg.Connection, groups: Iterable[range]) -> None:
        """`groups` are the ranges of lanes to be shared, for example one per message type."""
        self._connection = connection
        self._groups = {group.start: group for group in groups}
        self._held: defaultdict[int, list[int]] = defaultdict(list)
        for start in self._groups:
            connection.execute(_DECLARE_PRESENCE, (_PRESENCE_LOCKS, start))

    @property
    def held(self) -> list[int]:
        """The lanes that this connection may send."""
        return [lane for lanes in self._held.values() for lane in lanes]

    def rebalance(self, finish: Callable[[], object] = lambda: None) -> None:
        """Give up what exceeds a fair share of each group, claim what is free up to that share.

        Before lanes are given up, `finish` is called once: nothing of them may be under way.
        """
        present: dict[int, int] = dict(
            self._connection.execute(_COUNT_PRESENT, (_PRESENCE_LOCKS,)).fetchall()
        )
        shares = {
            start: -(-len(group) // max(1, present.get(start, 1)))
            for start, group in self._groups.items()
        }
        surplus = [lane for start, share in shares.items() for lane in self._held[start][share:]]
        if surplus:
            finish()
            self._connection.execute(_RELEASE, (_LANE_LOCKS, surplus))
        for start, share in shares.items():
            held = self._held[start] = self._held[start][:share]
            for lane in self._groups[start]:
                if len(held) == share:
                    break
                if lane not in held:
                    rows = self._connection.execute(_CLAIM, ([lane], _LANE_LOCKS))
                    held.extend(row[0] for row in rows)
