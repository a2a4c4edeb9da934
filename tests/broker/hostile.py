"""Properties that a malicious peer may send, and that pika's decoder fails on."""

import struct

from swpt_accounts.broker.properties import short_string


def nested_tables(depth: int) -> bytes:
    table = b"\x00\x00\x00\x00"
    for _ in range(depth):
        table = struct.pack(">I", len(table) + 3) + b"\x01aF" + table
    return table


HOSTILE_HEADERS = {
    "an infinite float": b"\x01hd" + struct.pack(">d", float("inf")),
    "not a number": b"\x01hf" + struct.pack(">f", float("nan")),
    "a time in the year 300000000000": b"\x01hT" + struct.pack(">Q", 2**63),
    "a field type nobody knows": b"\x01h?\x00\x00",
    "ten thousand nested tables": b"\x01hF" + nested_tables(10_000),
    "a string longer than the table": b"\x01hS\xff\xff\xff\xff",
}


def properties_with(table: bytes) -> bytes:
    flags = (1 << 15) | (1 << 13) | (1 << 5)
    return (
        struct.pack(">H", flags)
        + short_string("application/json")
        + struct.pack(">I", len(table))
        + table
        + short_string("PrepareTransfer")
    )
