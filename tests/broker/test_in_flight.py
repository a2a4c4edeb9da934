"""Every confirm and every return finds its message, also among messages that look alike."""

from collections import Counter, defaultdict

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swpt_accounts.broker.confirms import (
    CONFIRMED,
    NACKED,
    ConfirmsBroken,
    InFlight,
    Outcome,
    Posted,
    Verdict,
)
from swpt_accounts.broker.message import Confirm, Message, Returned

RETURNED = Outcome(Verdict.RETURNED, "312 NO_ROUTE")


def message(content: int, *, mandatory: bool = True) -> Message:
    """Messages with the same number are alike in everything."""
    exchange, routing_key = f"exchange-{content // 4}", f"key-{content // 2}"
    properties = pika.BasicProperties(type=f"T{content}")
    return Message(exchange, routing_key, b"body", b"".join(properties.encode()), mandatory)


def returned(original: Message) -> Returned:
    assert isinstance(original.properties, bytes)
    return Returned(
        "312 NO_ROUTE",
        original.exchange,
        original.routing_key,
        original.body,
        original.properties,
    )


class Page:
    """Messages published together."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.posted = [Posted(m, b"", index, self, 10) for index, m in enumerate(messages)]
        self.told: dict[int, Outcome] = {}

    def outcomes(self) -> list[Outcome | None]:
        return [self.told.get(posted.token) for posted in self.posted]


class Channel:
    """Publishes pages, all at once."""

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.pages: list[Page] = []

    def publish(self, *messages: Message) -> Page:
        page = Page(messages)
        self.in_flight.sent(page.posted)
        self.pages.append(page)
        return page

    def confirm(self, number: int, *, multiple: bool = False, accepted: bool = True) -> None:
        self.in_flight.take_confirm(Confirm(number, multiple, accepted))
        for posted in self.in_flight.take_settled():
            assert posted.token not in posted.owner.told
            posted.owner.told[posted.token] = posted.outcome


FATES = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(["routed", "unroutable", "refused"])), min_size=1
)


@given(st.lists(FATES, min_size=1, max_size=5), st.data())
def test_outcomes_are_right_whatever_the_broker_confirms_together(pages, data):
    channel = Channel()
    fates: list[tuple[int, str]] = []
    for page in pages:
        channel.publish(*(message(content) for content, _ in page))
        fates += page
    in_flight = channel.in_flight
    is_open = dict.fromkeys(range(1, len(fates) + 1))
    to_return = [number for number in is_open if fates[number - 1][1] == "unroutable"]
    while is_open:
        last_returned = data.draw(st.integers(0, len(to_return)))
        for number in to_return[:last_returned]:
            in_flight.take_returned(returned(message(fates[number - 1][0])))
        to_return = to_return[last_returned:]
        first_unreturned = to_return[0] if to_return else len(fates) + 1
        candidates = [number for number in is_open if number < first_unreturned]
        if not candidates:
            continue
        number = data.draw(st.sampled_from(candidates))
        accepted = fates[number - 1][1] != "refused"
        together = [n for n in is_open if n <= number]
        alike = all((fates[n - 1][1] != "refused") == accepted for n in together)
        multiple = alike and data.draw(st.booleans())
        channel.confirm(number, multiple=multiple, accepted=accepted)
        for settled in together if multiple else [number]:
            del is_open[settled]

    assert (in_flight.unsettled_count, in_flight.unsettled_bytes) == (0, 0)
    expected = {"routed": CONFIRMED, "unroutable": RETURNED, "refused": NACKED}
    outcomes = [outcome for page in channel.pages for outcome in page.outcomes()]
    told = zip(fates, outcomes, strict=True)
    of_content: dict[int, Counter[Outcome | None]] = defaultdict(Counter)
    for (content, _), outcome in told:
        of_content[content][outcome] += 1
    # Of messages that are alike, any may stand for any other.
    for content, counts in of_content.items():
        due = Counter(expected[fate] for c, fate in fates if c == content)
        assert counts[RETURNED] == due[RETURNED]
        if not due[RETURNED]:
            assert counts == due


def test_of_identical_messages_as_many_are_returned_as_the_broker_returned():
    channel = Channel()
    page = channel.publish(message(1), message(1), message(2), message(1))
    channel.in_flight.take_returned(returned(message(1)))
    channel.in_flight.take_returned(returned(message(1)))
    channel.confirm(4, multiple=True, accepted=True)
    assert page.outcomes() == [RETURNED, RETURNED, CONFIRMED, CONFIRMED]


def test_messages_that_differ_only_in_their_properties_are_told_apart():
    channel = Channel()
    page = channel.publish(message(0), message(1))
    channel.in_flight.take_returned(returned(message(1)))
    channel.confirm(2, multiple=True, accepted=True)
    assert page.outcomes() == [CONFIRMED, RETURNED]


def test_a_return_with_rewritten_properties_finds_its_message():
    channel = Channel()
    page = channel.publish(message(0), message(4))
    rewritten = returned(message(4))
    rewritten.encoded_properties = b"\x00\x00"
    channel.in_flight.take_returned(rewritten)
    channel.confirm(2, multiple=True, accepted=True)
    assert page.outcomes() == [CONFIRMED, RETURNED]


def test_a_message_that_is_not_mandatory_is_never_taken_for_a_returned_one():
    channel = Channel()
    page = channel.publish(message(0, mandatory=False), message(0))
    channel.in_flight.take_returned(returned(message(0)))
    channel.confirm(2, multiple=True, accepted=True)
    assert page.outcomes() == [CONFIRMED, RETURNED]


def test_each_message_is_settled_as_soon_as_its_confirm_comes():
    channel = Channel()
    first, second = channel.publish(message(0), message(1)), channel.publish(message(2))
    channel.confirm(3)
    assert (first.outcomes(), second.outcomes()) == ([None, None], [CONFIRMED])
    channel.confirm(2, accepted=False)
    assert first.outcomes() == [None, NACKED]
    channel.confirm(1, multiple=True)
    assert first.outcomes() == [CONFIRMED, NACKED]


@pytest.mark.parametrize("number", [0, 1, 3, 4, 100])
@pytest.mark.parametrize("multiple", [False, True])
def test_a_confirm_that_does_not_fit_is_not_believed(number, multiple):
    channel = Channel()
    channel.publish(message(0), message(0), message(0))
    channel.confirm(1, multiple=False, accepted=True)
    channel.confirm(3, multiple=False, accepted=True)
    if number == 3 and multiple:
        return  # It would be about the second message, too.
    with pytest.raises(ConfirmsBroken):
        channel.confirm(number, multiple=multiple)


@pytest.mark.parametrize("content", [0, 1, 5])
def test_a_return_of_a_message_that_is_not_in_flight_is_not_believed(content):
    channel = Channel()
    channel.publish(message(0), message(1))
    channel.confirm(2, multiple=True, accepted=True)
    with pytest.raises(ConfirmsBroken):
        channel.in_flight.take_returned(returned(message(content)))
