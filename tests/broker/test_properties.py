"""AMQP properties as bytes: written as pika writes them, read whatever they are."""

from datetime import UTC, datetime

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swpt_accounts.broker.properties import (
    as_bytes,
    decode_properties,
    encode_properties,
    peek,
)
from tests.broker.hostile import HOSTILE_HEADERS, properties_with

SHORT_TEXTS = st.text(max_size=60).filter(lambda text: len(text.encode()) <= 255)
HEADERS = st.dictionaries(
    SHORT_TEXTS, st.one_of(st.text(max_size=300), st.integers(-(2**63), 2**63 - 1), st.booleans())
)


@given(SHORT_TEXTS, SHORT_TEXTS, SHORT_TEXTS, HEADERS)
def test_properties_are_written_as_pika_writes_them(content_type, message_type, app_id, headers):
    by_pika = pika.BasicProperties(
        content_type=content_type,
        headers=headers,
        delivery_mode=2,
        type=message_type,
        app_id=app_id,
    )
    assert encode_properties(content_type, message_type, app_id, headers) == as_bytes(by_pika)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": SHORT_TEXTS,
            "content_encoding": SHORT_TEXTS,
            "headers": HEADERS,
            "delivery_mode": st.sampled_from([1, 2]),
            "priority": st.integers(0, 255),
            "correlation_id": SHORT_TEXTS,
            "reply_to": SHORT_TEXTS,
            "expiration": SHORT_TEXTS,
            "message_id": SHORT_TEXTS,
            "timestamp": st.integers(0, 2**64 - 1),
            "type": SHORT_TEXTS,
            "user_id": SHORT_TEXTS,
            "app_id": SHORT_TEXTS,
            "cluster_id": SHORT_TEXTS,
        },
    )
)
def test_content_type_and_type_are_found_among_whatever_properties(values):
    encoded = as_bytes(pika.BasicProperties(**values))
    assert peek(encoded) == (values.get("content_type"), values.get("type"))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_properties_are_survived(encoded):
    peek(encoded)
    decode_properties(encoded)


@pytest.mark.parametrize("table", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS)
def test_hostile_headers_are_left_out_and_the_rest_is_kept(table):
    encoded = properties_with(table)
    properties, is_complete = decode_properties(encoded)
    assert not is_complete
    assert properties.headers is None
    assert (properties.content_type, properties.type) == ("application/json", "PrepareTransfer")
    assert peek(encoded) == ("application/json", "PrepareTransfer")


def test_bytes_that_are_no_utf8_make_no_valid_type():
    encoded = as_bytes(pika.BasicProperties(content_type=b"\xffapplication/json", type=b"A\xff"))
    assert peek(encoded) == ("\ufffdapplication/json", "A\ufffd")


@pytest.mark.parametrize(
    "headers",
    [{"number": 2**63}, {"number": -(2**63) - 1}, {"k" * 256: 1}, {"é" * 128: 1}],
)
def test_headers_without_an_amqp_form_are_refused(headers):
    with pytest.raises(ValueError, match=r"64 bits|255 bytes"):
        encode_properties("application/json", "AccountUpdate", "swpt_accounts", headers)


@pytest.mark.parametrize(
    "properties",
    [
        pika.BasicProperties(type="t" * 256),
        pika.BasicProperties(headers={"float": 0.5}),
        pika.BasicProperties(headers={"moment": datetime(1900, 1, 1, tzinfo=UTC)}),
        pika.BasicProperties(type=5),
        pika.BasicProperties(priority=300),
    ],
)
def test_pika_properties_without_an_amqp_form_are_refused(properties):
    with pytest.raises(ValueError, match="have no AMQP form"):
        as_bytes(properties)
