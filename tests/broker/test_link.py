"""What this package takes from pika beyond its documented interface is still there."""

import inspect

import pytest
from pika.adapters.base_connection import BaseConnection
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils.io_services_utils import _AsyncTransportBase
from pika.connection import Connection

from swpt_accounts.broker.link import READ_BYTES_MAX
from tests.broker.conftest import take_exactly


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (BaseConnection, "_proto_connection_made", ["self", "transport"]),
        (Connection, "_on_data_available", ["self", "data_in"]),
        (Connection, "_process_frame", ["self", "frame_value"]),
        (Connection, "_output_marshaled_frames", ["self", "marshaled_frames"]),
        (Connection, "_terminate_stream", ["self", "error"]),
    ],
)
def test_pika_still_has_the_seams(owner, name, parameters):
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters
    assert issubclass(SelectConnection, owner)


def test_pika_still_reads_in_small_pieces_unless_told_otherwise():
    assert _AsyncTransportBase._MAX_RECV_BYTES < READ_BYTES_MAX
    assert READ_BYTES_MAX <= _AsyncTransportBase._MAX_CONSUME_BYTES


def test_much_is_read_at_once(start_consumer, queue, publish):
    publish(*[b"x" * 1000] * 100)
    consumer = start_consumer(queue)
    take_exactly(consumer, 100)
    link = consumer._connection._link
    assert link is not None
    assert link._transport._MAX_RECV_BYTES == READ_BYTES_MAX
    assert link.bytes_received > 100_000
