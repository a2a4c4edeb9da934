"""Acks, holds and returns: what becomes of the deliveries of one channel."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import islice
from typing import Final

from swpt_accounts.broker.connection import CHANNEL_NUMBER, ConnectionThread
from swpt_accounts.broker.frames import encode_ack, encode_requeue

EARLY_RETURNS_PER_SECOND: Final = 100
"""So fast held deliveries go back before their time, when they take up too much of the window."""

_EARLY_RETURN_PERIOD_SECONDS: Final = 0.1


class Outstanding:
    """The tags that the broker waits to hear about.

    The broker numbers the deliveries of a channel 1, 2, 3 and so on, and takes
    one word for all up to a tag. That word may be given only when it is true
    for every tag still outstanding.
    """

    def __init__(self) -> None:
        self._tags: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tags: Iterable[int]) -> None:
        """Remember tags just delivered; they only grow."""
        self._tags.update(dict.fromkeys(tags))

    def settle(self, tags: Collection[int]) -> tuple[int | None, list[int]]:
        """Forget the tags, and return how to tell the broker with the fewest words.

        The result is a tag up to which all are meant, or `None`, and the tags to
        be named singly. Raises `ValueError` for tags that are not outstanding.
        """
        chosen = set(tags)
        if unknown := chosen - self._tags.keys():
            raise ValueError(
                f"the deliveries {sorted(unknown)[:5]} were settled before,"
                " or came over another connection"
            )
        up_to = None
        for tag in self._tags:
            if tag not in chosen:
                break
            up_to = tag
        for tag in chosen:
            del self._tags[tag]
        first_single = 0 if up_to is None else up_to + 1
        return up_to, sorted(tag for tag in chosen if tag >= first_single)


class Settlement:
    """Settles the deliveries of a connection; to be used on the connection's thread only.

    Held deliveries count against the prefetch window. When more than half of it
    is held, the oldest are returned early, at a bounded rate, so that what is
    behind them comes through, but the same ones do not spin.
    """

    def __init__(self, connection: ConnectionThread, prefetch_count: int) -> None:
        self._connection = connection
        self._held_count_max = prefetch_count // 2
        self._outstanding = Outstanding()
        self._held: dict[int, None] = {}
        self._is_returning_early = False

    @property
    def outstanding_count(self) -> int:
        """How many deliveries the broker waits to hear about."""
        return len(self._outstanding)

    def add(self, tags: Iterable[int]) -> None:
        """Take note of new deliveries."""
        self._outstanding.add(tags)

    def ack(self, tags: Collection[int]) -> None:
        """Have the broker forget the deliveries."""
        self._tell(encode_ack, tags)

    def requeue(self, tags: Collection[int]) -> None:
        """Return the deliveries to the queue now."""
        self._tell(encode_requeue, tags)

    def requeue_all(self) -> None:
        """Return everything that is not settled."""
        self._held.clear()
        if len(self._outstanding):
            self._connection.send(encode_requeue(CHANNEL_NUMBER, 0, multiple=True))

    def hold(self, tags: Collection[int], seconds: float) -> None:
        """Return the deliveries to the queue after so many seconds, or somewhat earlier."""
        self._held.update(dict.fromkeys(tags))
        self._connection.call_later(seconds, partial(self._return, tags))
        if len(self._held) > self._held_count_max and not self._is_returning_early:
            self._is_returning_early = True
            self._connection.call_later(_EARLY_RETURN_PERIOD_SECONDS, self._return_early)

    def _return_early(self) -> None:
        excess = len(self._held) - self._held_count_max
        if excess <= 0:
            self._is_returning_early = False
            return
        count_max = round(EARLY_RETURNS_PER_SECOND * _EARLY_RETURN_PERIOD_SECONDS)
        self._return(list(islice(self._held, min(excess, count_max))))
        self._connection.call_later(_EARLY_RETURN_PERIOD_SECONDS, self._return_early)

    def _return(self, tags: Collection[int]) -> None:
        still_held = [tag for tag in tags if tag in self._held]
        for tag in still_held:
            del self._held[tag]
        self.requeue(still_held)

    def _tell(self, encode: Callable[..., bytes], tags: Collection[int]) -> None:
        if not tags:
            return
        up_to, singly = self._outstanding.settle(tags)
        frames = [encode(CHANNEL_NUMBER, tag, multiple=False) for tag in singly]
        if up_to is not None:
            frames.insert(0, encode(CHANNEL_NUMBER, up_to, multiple=True))
        self._connection.send(b"".join(frames))
