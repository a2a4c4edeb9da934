"""What a batch is made of, and what becomes of it."""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

import msgspec

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.store.waiting import WaitingKey, WaitingMessage


class Received(msgspec.Struct, frozen=True, gc=False):
    """A command, and the delivery or the waiting message that carries it: one of the two."""

    command: Command | Chore
    delivery: Delivery | None = None
    waited: WaitingMessage | None = None

    @property
    def account_key(self) -> AccountKey:
        """The account that the message is for."""
        return self.command.debtor_id, self.command.creditor_id

    @property
    def message_type(self) -> str:
        """The name of the message's type."""
        return type(self.command).__name__

    @property
    def body(self) -> bytes:
        """The message's body, as it came."""
        carrier = self.delivery or self.waited
        assert carrier is not None
        return carrier.body

    def as_waiting(self) -> WaitingMessage:
        """Return the message as it waits, or as it will when it is written down."""
        if self.waited is not None:
            return self.waited
        digest = sha256(self.body).digest()
        return WaitingMessage(WaitingKey(*self.account_key, self.message_type, digest), self.body)


class Settled(msgspec.Struct):
    """What is to be done with the deliveries of a batch.

    `accepted` have been applied, ignored for good, or written down. `rejected`
    can never be applied, each with the reason.
    """

    accepted: list[Delivery] = []
    rejected: list[tuple[Delivery, str]] = []
    on_committed: Callable[[], None] | None = None
    """Called when more has been accepted, and it will take a while until the rest is."""
    attempts_count: int = 0
    """How often it was tried to handle the batch."""
    _acked_tags: set[int] = set()

    def lacks(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return those of the deliveries that nothing has become of yet."""
        done = {d.tag for d in self.accepted} | {d.tag for d, _ in self.rejected} | self._acked_tags
        return [d for d in deliveries if d.tag not in done] if done else list(deliveries)

    def take_accepted(self) -> list[int]:
        """Return the tags of what was accepted since the last time, to be acked now."""
        tags = [delivery.tag for delivery in self.accepted]
        self._acked_tags.update(tags)
        self.accepted = []
        return tags

    def accept(self, received: Iterable[Received]) -> None:
        """Take note that the messages are in the database's keeping, one way or another."""
        self.accepted.extend(r.delivery for r in received if r.delivery is not None)
