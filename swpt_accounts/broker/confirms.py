"""Which published message a confirm or a return is about. No broker, no threads."""

import enum
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from swpt_accounts.broker.message import Confirm, Message, Returned
from swpt_accounts.broker.properties import as_bytes


class Verdict(enum.Enum):
    """What became of a published message."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"
    EXPELLED = "expelled"


class Outcome(NamedTuple):
    """The verdict on a message, with the broker's reason if it was not confirmed.

    Confirmed: the broker has it, on disk if it goes to a durable queue.
    Returned: it was mandatory, and no queue is bound for it. Refused: a queue
    would not take it (it is full, or has failed), or AMQP has no form for it.
    Neither returned nor refused messages are with the broker.

    Only `trial.try_out` gives two more. Unconfirmed: nothing was said about it in
    time, so it may have arrived or not. Expelled: the broker closes the channel
    on which it is published.
    """

    verdict: Verdict
    reason: str = ""


CONFIRMED: Final = Outcome(Verdict.CONFIRMED)
NACKED: Final = Outcome(
    Verdict.REFUSED, "the broker sent a nack: a queue is full, or could not store the message"
)

UNTOLD: Final = Outcome(Verdict.UNCONFIRMED, "the broker has not told yet")


class ConfirmsBroken(Exception):
    """Confirms and messages do not fit together: every later confirm would be misread."""


class Posted(msgspec.Struct, gc=False, eq=False):
    """A message on its way, with its bytes on the wire until it is sent.

    `token` is whatever its sender knows it by, `owner` who is to be told of the outcome.
    """

    message: Message
    frames: bytes
    token: Any
    owner: Any
    size: int
    outcome: Outcome = UNTOLD
    """A message that was returned has its outcome before it is settled."""

    def may_be(self, returned: Returned) -> bool:
        """Tell whether it may be the returned message, judging by where that went and its body."""
        message = self.message
        return (
            message.mandatory
            and message.routing_key == returned.routing_key
            and message.exchange == returned.exchange
            and message.body == returned.body
            and self.outcome is UNTOLD
        )


class InFlight:
    """The messages sent over one channel and not confirmed yet, by sequence number.

    The broker numbers what is published on a channel 1, 2, 3 and so on. That
    our numbers are the same is not assumed: each confirm must be about a
    message that has been sent and was not settled before.
    """

    def __init__(self) -> None:
        self._open: dict[int, Posted] = {}
        self._settled: list[Posted] = []
        self._sent_count = 0
        self._lowest = 1
        self._last_returned = 0
        self.unsettled_bytes = 0

    @property
    def unsettled_count(self) -> int:
        """How many messages wait for their confirms."""
        return len(self._open)

    def sent(self, messages: Sequence[Posted]) -> None:
        """Take note that these messages are being sent, in this order."""
        number = self._sent_count
        for posted in messages:
            number += 1
            self._open[number] = posted
            self.unsettled_bytes += posted.size
        self._sent_count = number

    def take_returned(self, returned: Returned) -> None:
        """Find the message that was returned.

        Returns come in the order of publishing, each before the confirm of its
        message. The earliest message that it may be is therefore the right
        one, or an earlier one with the same content, and then it makes no
        difference which of them is sent again: whoever gets both takes the
        second for a repetition.
        """
        fallback = None
        for number in range(max(self._last_returned + 1, self._lowest), self._sent_count + 1):
            posted = self._open.get(number)
            if posted is not None and posted.may_be(returned):
                if as_bytes(posted.message.properties) == returned.encoded_properties:
                    break
                fallback = fallback or (number, posted)
        else:
            if fallback is None:
                raise ConfirmsBroken("the broker returned a message that was not sent")
            # The broker has written the properties in another way than we did.
            number, posted = fallback
        assert posted is not None
        posted.outcome = Outcome(Verdict.RETURNED, returned.reason)
        self._last_returned = number

    def take_confirm(self, confirm: Confirm) -> None:
        """Settle the messages that the confirm is about."""
        number, multiple, accepted = confirm
        outcome = CONFIRMED if accepted else NACKED
        if not self._lowest <= number <= self._sent_count:
            raise ConfirmsBroken(
                f"a confirm for message {number}, while {self._lowest} to {self._sent_count}"
                " are expected"
            )
        if multiple:
            for earlier in range(self._lowest, number + 1):
                if (posted := self._open.pop(earlier, None)) is not None:
                    self._settle(posted, outcome)
            self._lowest = number + 1
            return
        posted = self._open.pop(number, None)
        if posted is None:
            raise ConfirmsBroken(f"a second confirm for message {number}")
        self._settle(posted, outcome)
        if number == self._lowest:
            self._lowest += 1

    def take_settled(self) -> list[Posted]:
        """Return what was settled since the last time, in the order in which that came."""
        settled, self._settled = self._settled, []
        return settled

    def _settle(self, posted: Posted, outcome: Outcome) -> None:
        self.unsettled_bytes -= posted.size
        if posted.outcome is UNTOLD:
            posted.outcome = outcome
        self._settled.append(posted)
