"""What a batch writes down instead of applying it, until the database has it."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.store.parked import Kind, Parked
from swpt_accounts.store.waiting import Wait, WaitingKey, WaitingMessage
from swpt_accounts.workers.ledger_batch import Aside
from swpt_accounts.workers.settled import Received, Settled

PAUSE_MAX: Final = timedelta(minutes=5)
_DOUBLINGS_MAX: Final = 10


def pause_before(attempt: int, *, awaits_answer: bool) -> timedelta:
    """Return how long to wait before the given attempt, the first of which is number 1.

    A second, doubling each time. What an answer of another shard sets free is
    tried at once, and pauses only after it was tried in vain.
    """
    doublings = attempt - 2 if awaits_answer else attempt - 1
    if doublings < 0:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(doublings, _DOUBLINGS_MAX)), PAUSE_MAX)


class _Parking(NamedTuple):
    """A message to be parked, and what it came by: one of the two."""

    parked: Parked
    delivery: Delivery | None
    waited: WaitingMessage | None


class WrittenDown:
    """The messages of one batch that wait, or are left to an operator."""

    def __init__(self, settled: Settled, clock: Callable[[], datetime]) -> None:
        """What was written is noted in `settled`."""
        self._settled = settled
        self._clock = clock
        self._waits: list[tuple[Received, Wait]] = []
        self._parked: list[_Parking] = []
        self._waiting_again: set[WaitingKey] = set()

    @property
    def is_pending(self) -> bool:
        """Tell whether something is not in the database yet."""
        return bool(self._waits or self._parked)

    @property
    def has_waits(self) -> bool:
        """Tell whether any message waits, in the database already or not yet."""
        return bool(self._waits or self._waiting_again)

    def wait(self, received: Received, reason: str, awaited_hash: int | None = None) -> None:
        """Have the message tried again later; with a hash, when that account's shard answers."""
        self._waits.append((received, self._wait(received, reason, awaited_hash)))

    def put_off(self, received: Received, reason: str, pause: timedelta) -> None:
        """Have the message looked at again only after a long while."""
        wait = Wait(received.as_waiting(), reason, None, self._clock() + pause)
        self._waits.append((received, wait))

    def wait_too(self, received: Received, reason: str, awaited_hash: int | None = None) -> None:
        """Have the message tried again later, although it is applied now."""
        wait = self._wait(received, reason, awaited_hash)
        self._waits.append((Received(received.command, waited=wait.message), wait))

    def park(self, received: Received, kind: Kind, reason: str) -> None:
        """Leave the message to an operator, or to be sent on."""
        message = received.as_waiting()
        parked = Parked(kind, reason, *message.key, message.body)
        self._parked.append(_Parking(parked, received.delivery, received.waited))

    def park_unread(self, message: WaitingMessage, reason: str) -> None:
        """Leave a message to an operator that has waited, and cannot be read any more."""
        parked = Parked(Kind.FAILED, reason, *message.key, message.body)
        self._parked.append(_Parking(parked, None, message))

    def fail(self, received: Received, reason: str) -> None:
        """Leave a message to an operator that alone cannot be applied."""
        self.park(received, Kind.FAILED, reason)

    def refuse(self, received: Received, reason: str) -> None:
        """Have the message become a dead letter; one that has waited is an operator's."""
        if received.delivery is None:
            self.fail(received, reason)
        else:
            self._settled.rejected.append((received.delivery, reason))

    def aside(self, applied: Sequence[Received]) -> Aside:
        """Return what is to be written in the transaction that applies some messages."""
        taken = [r.waited.key for r in applied if r.waited is not None]
        taken += [p.waited.key for p in self._parked if p.waited is not None]
        # A command may be applied now and wait for more: then its message is put back.
        again = self._waiting_again.union(wait.message.key for _, wait in self._waits)
        return Aside(
            [key for key in taken if key not in again],
            [wait for _, wait in self._waits],
            [parking.parked for parking in self._parked],
        )

    def written(self) -> None:
        """Take note that all of it is in the database."""
        self._settled.accept(r for r, _ in self._waits)
        self._waiting_again.update(wait.message.key for _, wait in self._waits)
        self._settled.accepted += [p.delivery for p in self._parked if p.delivery is not None]
        self._waits.clear()
        self._parked.clear()

    def forget(self, keys: Collection[WaitingKey]) -> None:
        """Leave out waiting messages that another process has taken."""
        self._waits = [(r, w) for r, w in self._waits if not _is_one_of(r.waited, keys)]
        self._parked = [p for p in self._parked if not _is_one_of(p.waited, keys)]

    def _wait(self, received: Received, reason: str, awaited_hash: int | None) -> Wait:
        message = received.as_waiting()
        attempt = message.attempts_count + 1
        pause = pause_before(attempt, awaits_answer=awaited_hash is not None)
        return Wait(message, reason, awaited_hash, self._clock() + pause)


def _is_one_of(waited: WaitingMessage | None, keys: Collection[WaitingKey]) -> bool:
    return waited is not None and waited.key in keys
