"""Of messages that are too long no more is kept than a beginning, sizes and a hash."""

import os
import random
import struct
import tracemalloc
from dataclasses import astuple
from hashlib import sha256
from itertools import pairwise

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from swpt_accounts.broker.frames import FrameReader
from swpt_accounts.broker.limits import BEGINNING_BYTES, Limits
from swpt_accounts.broker.message import Cut, Delivery
from swpt_accounts.broker.properties import as_bytes
from swpt_accounts.broker.publisher import Message
from tests.broker.amqp import CHANNEL, content
from tests.broker.conftest import take_exactly

LIMITS = Limits(body_bytes=5000, properties_bytes=100)

SIZES = st.one_of(
    st.sampled_from([0, 1, BEGINNING_BYTES, BEGINNING_BYTES + 1, 5000, 5001, 8176]),
    st.integers(0, 20_000),
)
HEADER_SIZES = st.one_of(st.sampled_from([0, 1000]), st.integers(50, 100))


def delivered(tag: int, size: int, header_size: int) -> tuple[bytes, Delivery]:
    """What a broker sends, and what is to be made of it, told as simply as can be."""
    body = random.Random(tag).randbytes(size)
    headers = {"h": "x" * header_size} if header_size else None
    properties = pika.BasicProperties(content_type="c", type=f"T{tag}", headers=headers)
    encoded = as_bytes(properties)
    method = spec.Basic.Deliver("consumer", tag, False, "accounts_in", "1.0")  # noqa: FBT003
    reasons = []
    kept, kept_properties = body, encoded
    if size > LIMITS.body_bytes:
        reasons.append(f"the body has {size} bytes, more than 5000")
        kept = body[:BEGINNING_BYTES]
    if len(encoded) > LIMITS.properties_bytes:
        reasons.append(f"the properties have {len(encoded)} bytes, more than 100")
        properties_kept = pika.BasicProperties(content_type="c", type=f"T{tag}")
        kept_properties = as_bytes(properties_kept)
    cut = Cut(size, sha256(body).digest(), len(encoded), "; ".join(reasons)) if reasons else None
    fields = (tag, False, "accounts_in", "1.0", "c", f"T{tag}", kept, kept_properties, cut)
    return content(method, properties, body), Delivery(*fields)


def in_pieces(stream: bytes, cuts: list[int]) -> list[object]:
    reader = FrameReader(CHANNEL, LIMITS)
    return [
        astuple(item) if isinstance(item, Delivery) else item
        for start, end in pairwise([0, *sorted(cuts), len(stream)])
        for item in reader.feed(stream[start:end])
    ]


@given(st.lists(st.tuples(SIZES, HEADER_SIZES), max_size=6), st.data())
def test_of_what_is_too_long_only_the_beginning_is_kept(sizes, data):
    made = [delivered(tag, *both) for tag, both in enumerate(sizes, start=1)]
    stream = b"".join(encoded for encoded, _ in made)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert in_pieces(stream, cuts) == [astuple(expected) for _, expected in made]


def test_a_message_that_is_too_long_may_be_split_at_every_byte():
    made = [delivered(1, 10, 0), delivered(2, 5001, 1000), delivered(3, 0, 0)]
    stream = b"".join(encoded for encoded, _ in made)
    expected = [astuple(delivery) for _, delivery in made]
    for at in range(len(stream)):
        assert in_pieces(stream, [at]) == expected
    assert in_pieces(stream, list(range(len(stream)))) == expected


@pytest.mark.parametrize(("above", "is_cut"), [(0, False), (1, True)])
def test_the_limit_is_the_greatest_that_is_kept(above, is_cut):
    rest = len(as_bytes(pika.BasicProperties(content_type="c", type="T1", headers={"h": ""})))
    _, by_body = delivered(1, LIMITS.body_bytes + above, 0)
    stream, by_properties = delivered(1, 0, LIMITS.properties_bytes - rest + above)
    (found,) = FrameReader(CHANNEL, LIMITS).feed(stream)
    assert isinstance(found, Delivery)
    assert astuple(found) == astuple(by_properties)
    assert [d.cut is not None for d in (by_body, found)] == [is_cut, is_cut]


@pytest.mark.parametrize(
    "encoded",
    [b"\xff" * 200, b"\x20\x00" + b"\xff" * 200, b"\x80\x00" + b"\x05" * 200],
    ids=["garbage", "a table longer than all", "no headers at all"],
)
def test_long_properties_that_cannot_be_read_are_not_kept(encoded):
    header = struct.pack(">BHIHHQ", 2, CHANNEL, 12 + len(encoded), 60, 0, 0) + encoded + b"\xce"
    method = frame.Method(CHANNEL, spec.Basic.Deliver("c", 1, False, "e", "k"))  # noqa: FBT003
    (found,) = FrameReader(CHANNEL, LIMITS).feed(method.marshal() + header)
    assert isinstance(found, Delivery)
    assert found.encoded_properties == b"\x00\x00"
    assert found.cut is not None
    assert found.cut.properties_size == len(encoded)


def test_memory_does_not_grow_with_a_body_that_is_too_long():
    size = 50_000_000
    reader = FrameReader(CHANNEL, LIMITS)
    begin = frame.Method(CHANNEL, spec.Basic.Deliver("c", 1, False, "e", "k")).marshal()  # noqa: FBT003
    begin += frame.Header(CHANNEL, size, pika.BasicProperties()).marshal()
    piece = frame.Body(CHANNEL, b"x" * 100_000).marshal()
    tracemalloc.start()
    try:
        assert list(reader.feed(begin)) == []
        found = [item for _ in range(size // 100_000) for item in reader.feed(piece)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [d.cut.body_size for d in found if isinstance(d, Delivery) and d.cut] == [size]
    assert most < 1_000_000


def test_of_what_is_too_long_the_beginning_and_the_hash_are_kept(
    start_consumer, queue, publisher, publish
):
    body = os.urandom(1_000_000)
    publish(b"x" * 1000, body, b"x" * 1001, b"after")
    headers = {f"h{number}": "x" * 1000 for number in range(100)}
    properties = pika.BasicProperties(type="PrepareTransfer", headers=headers, app_id="a")
    publisher.publish([Message("", queue, b"headers", properties)])
    consumer = start_consumer(queue, body_bytes_max=1000)
    whole, longer, long, after, with_headers = take_exactly(consumer, 5)
    assert (whole.cut, after.cut) == (None, None)
    assert longer.body == body[:BEGINNING_BYTES]
    assert longer.cut is not None
    assert longer.cut.body_size == 1_000_000
    assert longer.cut.body_sha256 == sha256(body).digest()
    assert longer.cut.reason == "the body has 1000000 bytes, more than 1000"
    assert long.cut is not None
    assert (long.body, long.cut.body_size) == (b"x" * 1001, 1001)
    assert with_headers.body == b"headers"
    assert with_headers.properties == pika.BasicProperties(type="PrepareTransfer", app_id="a")
    assert with_headers.cut is not None
    assert with_headers.cut.properties_size == len(as_bytes(properties))
