"""Acks, and a return of all the rest: what becomes of the deliveries of one channel."""

from collections.abc import Collection, Iterable

from swpt_accounts.broker.connection import CHANNEL_NUMBER, ConnectionThread
from swpt_accounts.broker.frames import encode_ack, encode_requeue_all


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
    """Settles the deliveries of a connection; to be used on the connection's thread only."""

    def __init__(self, connection: ConnectionThread) -> None:
        self._connection = connection
        self._outstanding = Outstanding()

    @property
    def outstanding_count(self) -> int:
        """How many deliveries the broker waits to hear about."""
        return len(self._outstanding)

    def add(self, tags: Iterable[int]) -> None:
        """Take note of new deliveries."""
        self._outstanding.add(tags)

    def ack(self, tags: Collection[int]) -> None:
        """Have the broker forget the deliveries."""
        if not tags:
            return
        up_to, singly = self._outstanding.settle(tags)
        frames = [encode_ack(CHANNEL_NUMBER, tag, multiple=False) for tag in singly]
        if up_to is not None:
            frames.insert(0, encode_ack(CHANNEL_NUMBER, up_to, multiple=True))
        self._connection.send(b"".join(frames))

    def requeue_all(self) -> None:
        """Return everything that is not settled."""
        if len(self._outstanding):
            self._connection.send(encode_requeue_all(CHANNEL_NUMBER))
