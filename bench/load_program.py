"""How a program that makes load, in its own process, talks to the benchmark that started it."""

import sys
from typing import TypeVar

import msgspec

COUNTING, COUNTED = "counting", "counted"
"""Said when the time that counts begins, and when it has ended."""

Order = TypeVar("Order", bound=msgspec.Struct)


def read_order(kind: type[Order]) -> Order:
    """What the benchmark wants this program to do."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=kind)


def say(word: str) -> None:
    """Lets the benchmark know."""
    sys.stdout.buffer.write(word.encode() + b"\n")
    sys.stdout.buffer.flush()


def report(result: msgspec.Struct) -> None:
    """Hands over what was found: the last thing that a program says."""
    say(msgspec.json.encode(result).decode())
