"""Every confirm and every return finds its message, also among messages that look alike."""

from collections import Counter

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
    Page,
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


class Channel:
    """Publishes pages, all at once."""

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.pages: list[Page] = []

    def publish(self, *messages: Message) -> Page:
        page = Page(messages, [10] * len(messages))
        self.in_flight.begin(page)
        self.in_flight.sent(len(messages), 10 * len(messages))
        self.pages.append(page)
        return page


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
        in_flight.take_confirm(Confirm(number, multiple, accepted))
        for settled in together if multiple else [number]:
            del is_open[settled]

    assert in_flight.take_complete() == channel.pages
    assert (in_flight.unsettled_count, in_flight.unsettled_bytes) == (0, 0)
    expected = {"routed": CONFIRMED, "unroutable": RETURNED, "refused": NACKED}
    outcomes = [outcome for page in channel.pages for outcome in page.outcomes()]
    # Of messages that are alike, any may stand for any other.
    assert Counter(
        (content, outcome) for (content, _), outcome in zip(fates, outcomes, strict=True)
    ) == Counter((content, expected[fate]) for content, fate in fates)


def test_of_identical_messages_as_many_are_returned_as_the_broker_returned():
    channel = Channel()
    page = channel.publish(message(1), message(1), message(2), message(1))
    channel.in_flight.take_returned(returned(message(1)))
    channel.in_flight.take_returned(returned(message(1)))
    channel.in_flight.take_confirm(Confirm(4, multiple=True, accepted=True))
    assert page.outcomes() == [RETURNED, RETURNED, CONFIRMED, CONFIRMED]


def test_messages_that_differ_only_in_their_properties_are_told_apart():
    channel = Channel()
    page = channel.publish(message(0), message(1))
    channel.in_flight.take_returned(returned(message(1)))
    channel.in_flight.take_confirm(Confirm(2, multiple=True, accepted=True))
    assert page.outcomes() == [CONFIRMED, RETURNED]


def test_a_return_with_rewritten_properties_finds_its_message():
    channel = Channel()
    page = channel.publish(message(0), message(4))
    rewritten = returned(message(4))
    rewritten.encoded_properties = b"\x00\x00"
    channel.in_flight.take_returned(rewritten)
    channel.in_flight.take_confirm(Confirm(2, multiple=True, accepted=True))
    assert page.outcomes() == [CONFIRMED, RETURNED]


def test_a_message_that_is_not_mandatory_is_never_taken_for_a_returned_one():
    channel = Channel()
    page = channel.publish(message(0, mandatory=False), message(0))
    channel.in_flight.take_returned(returned(message(0)))
    channel.in_flight.take_confirm(Confirm(2, multiple=True, accepted=True))
    assert page.outcomes() == [CONFIRMED, RETURNED]


def test_a_refusal_is_not_mistaken_for_the_return_of_an_equal_message():
    """Otherwise the confirm that follows each return would be taken for the refused one's."""
    channel = Channel()
    page = channel.publish(message(0), message(0), message(0))
    channel.in_flight.take_returned(returned(message(0)))
    channel.in_flight.take_confirm(Confirm(3, multiple=False, accepted=True))
    channel.in_flight.take_confirm(Confirm(1, multiple=False, accepted=False))
    channel.in_flight.take_confirm(Confirm(2, multiple=False, accepted=False))
    assert page.outcomes() == [NACKED, NACKED, RETURNED]


def test_a_message_that_was_returned_and_refused_is_not_believed():
    channel = Channel()
    channel.publish(message(0), message(1))
    channel.in_flight.take_returned(returned(message(0)))
    with pytest.raises(ConfirmsBroken):
        channel.in_flight.take_confirm(Confirm(1, multiple=False, accepted=False))


def test_pages_are_reported_in_their_order():
    channel = Channel()
    first, second = channel.publish(message(0), message(1)), channel.publish(message(2))
    channel.in_flight.take_confirm(Confirm(3, multiple=False, accepted=True))
    assert channel.in_flight.take_complete() == []
    channel.in_flight.take_confirm(Confirm(2, multiple=True, accepted=True))
    assert channel.in_flight.take_complete() == [first, second]
    third = channel.publish(message(3))
    channel.in_flight.take_confirm(Confirm(4, multiple=False, accepted=False))
    assert channel.in_flight.take_complete() == [third]
    assert third.outcomes() == [NACKED]


def test_a_part_of_a_page_can_be_confirmed_before_the_rest_is_sent():
    in_flight = InFlight()
    page = Page([message(0), message(1), message(2)], [1, 2, 3])
    in_flight.begin(page)
    in_flight.sent(2, 3)
    in_flight.take_confirm(Confirm(2, multiple=True, accepted=True))
    assert not in_flight.take_complete()
    in_flight.sent(1, 3)
    assert (in_flight.unsettled_count, in_flight.unsettled_bytes) == (1, 3)
    in_flight.take_confirm(Confirm(3, multiple=False, accepted=True))
    assert in_flight.take_complete() == [page]


@pytest.mark.parametrize("number", [0, 1, 3, 4, 100])
@pytest.mark.parametrize("multiple", [False, True])
def test_a_confirm_that_does_not_fit_is_not_believed(number, multiple):
    channel = Channel()
    channel.publish(message(0), message(0), message(0))
    channel.in_flight.take_confirm(Confirm(1, multiple=False, accepted=True))
    channel.in_flight.take_confirm(Confirm(3, multiple=False, accepted=True))
    if number == 3 and multiple:
        return  # It would be about the second message, too.
    with pytest.raises(ConfirmsBroken):
        channel.in_flight.take_confirm(Confirm(number, multiple, accepted=True))


@pytest.mark.parametrize("content", [0, 1, 5])
def test_a_return_of_a_message_that_is_not_in_flight_is_not_believed(content):
    channel = Channel()
    channel.publish(message(0), message(1))
    channel.in_flight.take_confirm(Confirm(2, multiple=True, accepted=True))
    with pytest.raises(ConfirmsBroken):
        channel.in_flight.take_returned(returned(message(content)))
