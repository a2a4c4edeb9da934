"""How each destination does: how much may be under way to it, and whether it takes anything.

No clock, no broker, no database: time is an argument, in seconds of any clock
that never goes back.
"""

import enum
from collections.abc import Iterable, Iterator
from typing import Final

UNDER_WAY_MAX: Final = 8000
"""Messages published and not confirmed. More would only make each of them wait longer."""

SHARE_MAX: Final = UNDER_WAY_MAX // 4
"""So many of them may be for one destination."""

SHARE_MIN: Final = 16
"""So many are under way to a destination that has not shown yet that it takes them.

When some 32 messages wait in vain for a queue without a majority, RabbitMQ
stops reading from the connection, and with it all others stand still.
"""

RECENT_SECONDS: Final = 2.0
"""A destination may have as many messages under way as it has taken in this time."""

STRAGGLERS_SECONDS: Final = 30.0
"""How often messages are tried that a destination does not take, while it takes others."""

TRUST_SECONDS: Final = 30.0
"""When a new connection was to help, and a destination refuses again so soon, it is to blame."""

EXPELLED_MAX: Final = 20
"""So many destinations are probed at once over which the broker closes the channel.

Each of them costs a connection.
"""

REMEMBERED_MAX: Final = 10_000


class Drain(enum.Enum):
    """Which messages that were set aside for a destination are being sent."""

    NOTHING = "nothing"
    UNTRIED = "those set aside in the company of others"
    EVERYTHING = "everything"


class Destination:
    """What is known of one destination."""

    __slots__ = (
        "_recent",
        "_recent_since",
        "drain",
        "exchange",
        "held_count",
        "is_expelled",
        "is_for_exchange",
        "is_slow",
        "is_suspected",
        "is_told",
        "name",
        "probe_at",
        "reason",
        "sent_after_cure",
        "trusted_until",
        "under_way_count",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.exchange = name.partition(" ")[0]
        self.reason = ""
        """Why nothing is sent there; empty while it is well."""
        self.is_for_exchange = False
        """Whether the reason holds for all of the exchange."""
        self.is_expelled = False
        """Whether the broker closes the channel over what goes there."""
        self.is_told = False
        """Whether the log knows that messages are set aside for it."""
        self.is_suspected = False
        """Whether it is being found out if it is to blame, so that nothing is sent meanwhile."""
        self.is_slow = False
        """Whether what it does not take in time is set aside, to be sent at its pace."""
        self.drain = Drain.NOTHING
        self.sent_after_cure = 0
        self.probe_at = 0.0
        self.under_way_count = 0
        self.held_count = 0
        self.trusted_until = 0.0
        self._recent = [0, 0]
        self._recent_since = 0.0

    @property
    def is_sick(self) -> bool:
        """Tell whether nothing is sent there but probes."""
        return bool(self.reason)

    def share(self, now: float) -> int:
        """Return how many messages may be under way."""
        self._roll(now)
        return min(max(sum(self._recent), SHARE_MIN), SHARE_MAX)

    def room(self, now: float) -> int:
        """Return how many more messages may be published."""
        if self.reason or self.is_suspected:
            return 0
        return max(self.share(now) - self.under_way_count, 0)

    def took(self, count: int, now: float) -> None:
        """Take note that so many messages were confirmed."""
        self._roll(now)
        self._recent[1] += count

    def fall_sick(
        self, reason: str, *, is_for_exchange: bool = False, is_expelled: bool = False
    ) -> None:
        """Send nothing there from now on but probes."""
        self.reason = reason
        self.is_expelled = is_expelled
        self.is_for_exchange = is_for_exchange
        self.is_suspected = False
        self.is_slow = False
        self.drain = Drain.NOTHING

    def recover(self, drain: Drain, now: float) -> None:
        """Send there again, also what was set aside."""
        self.reason = ""
        self.is_for_exchange = False
        self.is_expelled = False
        self.is_suspected = False
        self.drain = drain
        self.sent_after_cure = 0
        self.probe_at = now + STRAGGLERS_SECONDS

    def is_blamed(self, now: float) -> bool:
        """Tell whether a nack is the destination's fault: it comes on a new connection, too."""
        return now < self.trusted_until

    def trust(self, now: float) -> None:
        """Believe that a new connection helps."""
        self.is_suspected = False
        self.trusted_until = now + TRUST_SECONDS

    def begin_anew(self) -> None:
        """Forget what was under way, held or suspected, with the connection."""
        self.is_suspected = False
        self.under_way_count = 0
        self.held_count = 0

    @property
    def is_forgettable(self) -> bool:
        """Tell whether nothing is known that will be needed."""
        return not (
            self.reason
            or self.is_suspected
            or self.is_slow
            or self.under_way_count
            or self.held_count
            or self.drain is not Drain.NOTHING
        )

    def _roll(self, now: float) -> None:
        passed = now - self._recent_since
        if passed >= RECENT_SECONDS / 2:
            self._recent = [self._recent[1] if passed < RECENT_SECONDS else 0, 0]
            self._recent_since = now


class Destinations:
    """All destinations that something is known of."""

    def __init__(self) -> None:
        self._by_name: dict[str, Destination] = {}
        self._sick_exchanges: dict[str, str] = {}
        self._expelled_probed: list[Destination] = []

    def __iter__(self) -> Iterator[Destination]:
        return iter(list(self._by_name.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Destination:
        """Return the destination, as well as its exchange is if nothing is known of it."""
        found = self._by_name.get(name)
        if found is None:
            if len(self._by_name) >= REMEMBERED_MAX:
                self._forget()
            found = self._by_name[name] = Destination(name)
            reason = self._sick_exchanges.get(found.exchange)
            if reason is not None:
                found.fall_sick(reason, is_for_exchange=True)
        return found

    def fall_sick(self, exchange: str, reason: str) -> None:
        """Send nothing to the exchange from now on but probes."""
        self._sick_exchanges[exchange] = reason
        for destination in self._of(exchange):
            destination.fall_sick(reason, is_for_exchange=True)

    def recover(self, exchange: str, now: float) -> list[Destination]:
        """Send to the exchange again, also what was set aside; return its destinations."""
        self._sick_exchanges.pop(exchange, None)
        recovered = [d for d in self._of(exchange) if d.is_for_exchange]
        for destination in recovered:
            destination.recover(Drain.EVERYTHING, now)
        return recovered

    def to_probe(self, names: Iterable[str], now: float) -> list[Destination]:
        """Return which of those that messages are set aside for are to be probed.

        They are the sick ones, only one of each exchange that is sick as a
        whole, and from time to time those that are well, but do not take these messages.
        Of those over which the broker closes the channel, a few take turns, until
        they are all well again: then the broker may have been told to allow them all.
        """
        chosen: list[Destination] = []
        exchanges: set[str] = set()
        for destination in (self.get(name) for name in names):
            if destination.drain is not Drain.NOTHING or destination.is_suspected:
                continue
            if not destination.is_sick and destination.probe_at > now:
                continue
            if destination.is_for_exchange:
                if destination.exchange in exchanges:
                    continue
                exchanges.add(destination.exchange)
            chosen.append(destination)
        return self._without_most_expelled(chosen, now)

    def begin_anew(self) -> None:
        """Forget what was under way or held, with the connection."""
        for destination in self._by_name.values():
            destination.begin_anew()

    def _without_most_expelled(self, chosen: list[Destination], now: float) -> list[Destination]:
        expelled = sorted((d for d in chosen if d.is_expelled), key=lambda d: d.probe_at)
        are_cured = self._expelled_probed and not any(d.is_sick for d in self._expelled_probed)
        self._expelled_probed = expelled if are_cured else expelled[:EXPELLED_MAX]
        for destination in self._expelled_probed:
            destination.probe_at = now
        left_out = set(expelled).difference(self._expelled_probed)
        return [destination for destination in chosen if destination not in left_out]

    def _of(self, exchange: str) -> Iterable[Destination]:
        return [d for d in self._by_name.values() if d.exchange == exchange]

    def _forget(self) -> None:
        self._by_name = {n: d for n, d in self._by_name.items() if not d.is_forgettable}
