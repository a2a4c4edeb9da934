"""Frames in bulk: exactly what pika reads and writes, only all at once."""

from itertools import pairwise

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from swpt_accounts.broker.frames import (
    BrokenFrame,
    FrameReader,
    encode_ack,
    encode_publish,
    encode_requeue_all,
)
from swpt_accounts.broker.message import Confirm, Delivery, Message, Returned
from swpt_accounts.broker.properties import as_bytes
from tests.broker.amqp import CHANNEL, FRAME_SIZE_MAX, content

HEARTBEAT = frame.Heartbeat().marshal()


def deliver(tag: int, body: bytes, *, redelivered: bool = False) -> bytes:
    method = spec.Basic.Deliver("consumer", tag, redelivered, "accounts_in", "1.0")
    return content(method, pika.BasicProperties(content_type="c", type=f"T{tag}"), body)


BODIES = st.lists(
    st.one_of(
        st.just(b""),
        st.binary(max_size=50),
        st.integers(1, 3 * FRAME_SIZE_MAX).map(lambda size: b"\xce" * size),
    ),
    max_size=5,
)


@given(BODIES, st.data())
def test_messages_are_read_however_the_stream_is_cut(bodies, data):
    stream = HEARTBEAT.join(deliver(tag, body) for tag, body in enumerate(bodies, start=1))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20).map(sorted))
    reader = FrameReader(CHANNEL)
    items = [
        item
        for start, end in pairwise([0, *cuts, len(stream)])
        for item in reader.feed(stream[start:end])
    ]
    deliveries = [item for item in items if isinstance(item, Delivery)]
    assert [d.body for d in deliveries] == bodies
    assert [d.tag for d in deliveries] == list(range(1, len(bodies) + 1))
    assert [d.message_type for d in deliveries] == [f"T{d.tag}" for d in deliveries]
    assert items[1::2] == [HEARTBEAT] * max(0, len(bodies) - 1)


def test_a_delivery_has_all_that_the_broker_said():
    (delivery,) = FrameReader(CHANNEL).feed(deliver(5, b"body", redelivered=True))
    assert isinstance(delivery, Delivery)
    assert (delivery.tag, delivery.redelivered, delivery.body) == (5, True, b"body")
    assert (delivery.exchange, delivery.routing_key) == ("accounts_in", "1.0")
    assert (delivery.content_type, delivery.message_type) == ("c", "T5")
    assert delivery.properties == pika.BasicProperties(content_type="c", type="T5")


def test_a_returned_message_has_its_reason():
    method = spec.Basic.Return(312, "NO_ROUTE", "to_creditors", "00.01")
    properties = pika.BasicProperties(headers={"debtor-id": 1})
    (returned,) = FrameReader(CHANNEL).feed(content(method, properties, b"body"))
    assert isinstance(returned, Returned)
    assert returned.reason == "312 NO_ROUTE"
    assert (returned.exchange, returned.routing_key) == ("to_creditors", "00.01")
    assert returned.body == b"body"
    assert returned.encoded_properties == as_bytes(properties)


@pytest.mark.parametrize(
    ("method", "confirm"),
    [
        (spec.Basic.Ack(7, multiple=False), Confirm(7, multiple=False, accepted=True)),
        (spec.Basic.Ack(2**40, multiple=True), Confirm(2**40, multiple=True, accepted=True)),
        (spec.Basic.Nack(1, multiple=False), Confirm(1, multiple=False, accepted=False)),
        (spec.Basic.Nack(9, multiple=True), Confirm(9, multiple=True, accepted=False)),
    ],
)
def test_confirms_are_read(method, confirm):
    stream = frame.Method(CHANNEL, method).marshal()
    assert list(FrameReader(CHANNEL).feed(stream)) == [confirm]


def test_frames_of_other_kinds_are_passed_on_whole_and_in_order():
    others = [
        frame.ProtocolHeader().marshal(),
        frame.Method(0, spec.Connection.Blocked("low on memory")).marshal(),
        frame.Method(CHANNEL, spec.Basic.CancelOk("consumer")).marshal(),
        HEARTBEAT,
        *[
            f.marshal()  # The answer to a basic.get is pika's business.
            for f in (
                frame.Method(CHANNEL, spec.Basic.GetOk(1, False, "", "q", 0)),  # noqa: FBT003
                frame.Header(CHANNEL, 2, pika.BasicProperties()),
                frame.Body(CHANNEL, b"xy"),
            )
        ],
    ]
    assert list(FrameReader(CHANNEL).feed(b"".join(others))) == others


@pytest.mark.parametrize(
    "stream",
    [
        HEARTBEAT[:-1] + b"\x00",
        deliver(1, b"body")[:-1] + b"x",
        deliver(1, b"b").replace(b"\x00\x01b\xce", b"\x00\x09body-body\xce"),
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
    ids=[
        "no end marker",
        "no end marker on a body",
        "more body than announced",
        "a frame longer than allowed",
    ],
)
def test_a_stream_that_is_no_amqp_is_refused(stream):
    with pytest.raises(BrokenFrame):
        list(FrameReader(CHANNEL).feed(stream))


@given(st.integers(0, 3 * FRAME_SIZE_MAX), st.booleans())
def test_messages_are_written_as_pika_writes_them(size, mandatory):
    properties = pika.BasicProperties(type="AccountUpdate", headers={"creditor-id": -5})
    message = Message("to_creditors", "ff.ff", b"x" * size, properties, mandatory)
    method = spec.Basic.Publish(0, "to_creditors", "ff.ff", mandatory)
    expected = content(method, properties, message.body)
    assert encode_publish(CHANNEL, message, FRAME_SIZE_MAX) == expected


@pytest.mark.parametrize(
    "message",
    [
        Message("e" * 256, "", b"", b"\x00\x00"),
        Message("", "é" * 128, b"", b"\x00\x00"),
        Message("", "", b"", pika.BasicProperties(headers={"h": "x" * FRAME_SIZE_MAX})),
        Message("", "", b"", pika.BasicProperties(headers={"h": object()})),
        Message("", "\ud800", b"", b"\x00\x00"),
    ],
    ids=["exchange", "routing key", "properties", "header", "surrogate"],
)
def test_messages_without_an_amqp_form_are_refused(message):
    with pytest.raises(ValueError):  # noqa: PT011 - each for a reason of its own
        encode_publish(CHANNEL, message, FRAME_SIZE_MAX)


@pytest.mark.parametrize("multiple", [False, True])
def test_acks_are_written_as_pika_writes_them(multiple):
    ack = frame.Method(CHANNEL, spec.Basic.Ack(2**33, multiple)).marshal()
    assert encode_ack(CHANNEL, 2**33, multiple=multiple) == ack


def test_a_return_of_everything_is_written_as_pika_writes_it():
    requeue = frame.Method(CHANNEL, spec.Basic.Nack(0, multiple=True, requeue=True)).marshal()
    assert encode_requeue_all(CHANNEL) == requeue
