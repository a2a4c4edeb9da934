"""Which published message a confirm or a return is about. No broker, no threads."""

import enum
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from swpt_accounts.broker.message import Confirm, Message, Returned
from swpt_accounts.broker.properties import as_bytes


class Verdict(enum.Enum):
    """What became of a published message."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"


class Outcome(NamedTuple):
    """The verdict on a message, with the broker's reason if it was not confirmed.

    Confirmed: the broker has it, on disk if it goes to a durable queue.
    Returned: it was mandatory, and no queue is bound for it. Refused: a queue
    would not take it (it is full, or has failed), or AMQP has no form for it.
    Neither returned nor refused messages are with the broker.
    """

    verdict: Verdict
    reason: str = ""


CONFIRMED: Final = Outcome(Verdict.CONFIRMED)
NACKED: Final = Outcome(
    Verdict.REFUSED, "the broker sent a nack: a queue is full, or could not store the message"
)


class ConfirmsBroken(Exception):
    """Confirms and messages do not fit together: every later confirm would be misread."""


class Page:
    """Messages published together, in this order; `sizes` are their bytes on the wire."""

    def __init__(self, messages: Sequence[Message], sizes: Sequence[int]) -> None:
        self.messages = messages
        self.sizes = sizes
        self.first = 0
        self.unsettled_count = len(messages)
        self._outcomes: list[Outcome | None] = [None] * len(messages)
        self._returned: dict[int, Outcome] = {}

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of all messages, in their order, once all are settled."""
        outcomes = [outcome for outcome in self._outcomes if outcome is not None]
        assert len(outcomes) == len(self.messages), "the page is not settled yet"
        return outcomes

    def is_settled(self, index: int) -> bool:
        """Tell whether the message has its outcome."""
        return self._outcomes[index] is not None

    def settle(self, index: int, outcome: Outcome) -> None:
        """Give the message its outcome, unless it was returned before."""
        self._outcomes[index] = self._returned.get(index, outcome)
        self.unsettled_count -= 1

    def may_be(self, index: int, returned: Returned) -> bool:
        """Tell whether the returned message may be this one, judging by where it went and its body.

        A message already settled or returned is out of the question.
        """
        message = self.messages[index]
        return (
            message.mandatory
            and message.routing_key == returned.routing_key
            and message.exchange == returned.exchange
            and message.body == returned.body
            and self._outcomes[index] is None
            and index not in self._returned
        )

    def can_replace(self, index: int, message: Message) -> bool:
        """Tell whether this message, equal to the given one, is neither returned nor refused."""
        return (
            index not in self._returned
            and self._outcomes[index] in (None, CONFIRMED)
            and self.messages[index] == message
        )

    def mark_returned(self, index: int, outcome: Outcome) -> None:
        """Make it the outcome of a message, whether its confirm is still to come or not."""
        self._returned[index] = outcome
        if self.is_settled(index):
            self._outcomes[index] = outcome

    def take_mark(self, index: int) -> Outcome | None:
        """Undo `mark_returned`, if the message is not settled."""
        return self._returned.pop(index, None)


class InFlight:
    """The messages sent over one channel and not confirmed yet, by sequence number.

    The broker numbers what is published on a channel 1, 2, 3 and so on. That
    our numbers are the same is not assumed: each confirm must be about a
    message that has been sent and was not settled before.
    """

    def __init__(self) -> None:
        self._pages: deque[Page] = deque()
        self._sent_count = 0
        self._lowest = 1
        self._last_returned = 0
        self.unsettled_count = 0
        self.unsettled_bytes = 0

    def begin(self, page: Page) -> None:
        """Start a page; all of the one before must have been sent."""
        page.first = self._sent_count + 1
        self._pages.append(page)

    def sent(self, count: int, size: int) -> None:
        """Take note that so many more messages of the last page, and bytes, are being sent."""
        self._sent_count += count
        self.unsettled_count += count
        self.unsettled_bytes += size

    def take_returned(self, returned: Returned) -> None:
        """Find the message that was returned.

        Returns come in the order of publishing, each before the confirm of its
        message. The earliest message that it may be is therefore the right
        one, or an earlier one with the same content, and then it makes no difference which
        of them is sent again. So every return finds a message.
        """
        fallback = None
        first = max(self._last_returned + 1, self._lowest)
        for page, index in self._between(first, self._sent_count):
            if page.may_be(index, returned):
                if as_bytes(page.messages[index].properties) == returned.encoded_properties:
                    break
                fallback = fallback or (page, index)
        else:
            if fallback is None:
                raise ConfirmsBroken("the broker returned a message that was not sent")
            # The broker has written the properties in another way than we did.
            page, index = fallback
        page.mark_returned(index, Outcome(Verdict.RETURNED, returned.reason))
        self._last_returned = page.first + index

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
            for page, index in self._between(self._lowest, number):
                if not page.is_settled(index):
                    self._settle(page, index, outcome)
            self._lowest = number + 1
            return
        for page, index in self._between(number, number):
            if not page.is_settled(index):
                self._settle(page, index, outcome)
                break
        else:
            raise ConfirmsBroken(f"a second confirm for message {number}")
        if number == self._lowest:
            self._lowest += 1

    def take_complete(self) -> list[Page]:
        """Return the pages of which every message is settled, and forget them, first come first.

        A page waits for those before it: until then, an outcome may still move
        from one message to an equal one.
        """
        complete = []
        while self._pages and not self._pages[0].unsettled_count:
            complete.append(self._pages.popleft())
        return complete

    def _settle(self, page: Page, index: int, outcome: Outcome) -> None:
        if outcome is NACKED and (mark := page.take_mark(index)):
            # What is returned is never refused: it was an equal message further on.
            self._move_mark(mark, page, index)
        page.settle(index, outcome)
        self.unsettled_count -= 1
        self.unsettled_bytes -= page.sizes[index]

    def _move_mark(self, mark: Outcome, page: Page, index: int) -> None:
        message = page.messages[index]
        for other, i in self._between(page.first + index + 1, self._sent_count):
            if other.can_replace(i, message):
                other.mark_returned(i, mark)
                return
        raise ConfirmsBroken("the broker refused a message that it had returned")

    def _between(self, first: int, last: int) -> Iterator[tuple[Page, int]]:
        """Yield (page, index in it) of the messages numbered from first to last, as far as kept."""
        for page in self._pages:
            start = max(first - page.first, 0)
            stop = min(last - page.first + 1, len(page.messages))
            for index in range(start, stop):
                yield page, index
