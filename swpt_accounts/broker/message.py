"""What is published, and what is received."""

from dataclasses import dataclass
from typing import NamedTuple

import pika

from swpt_accounts.broker.properties import decode_properties


@dataclass(slots=True)
class Message:
    """A message to be published.

    `properties` may be bytes made by `encode_properties`, which costs a tenth of
    pika's objects. A mandatory message that no queue takes is reported as
    returned; one that is not mandatory is then confirmed, and gone.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties | bytes
    mandatory: bool = True


class Cut(NamedTuple):
    """What is known of a delivery that was too long to be kept as it came.

    The sizes, in bytes, and the hash are those of the whole. `reason` names the limit.
    """

    body_size: int
    body_sha256: bytes
    properties_size: int
    reason: str


@dataclass(slots=True, eq=False)
class Delivery:
    """A message received, with the tag by which it is settled on its own connection only.

    If it was too long, `cut` tells so. Then a body that is too long stops after a
    few kilobytes, and properties that are too long have no headers any more.
    """

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    content_type: str | None
    message_type: str | None
    body: bytes
    encoded_properties: bytes
    cut: Cut | None = None

    @property
    def properties(self) -> pika.BasicProperties:
        """All properties, decoded anew each time; headers that cannot be decoded are left out."""
        return decode_properties(self.encoded_properties)[0]


class Confirm(NamedTuple):
    """The broker's verdict on one published message, or on all up to it."""

    sequence_number: int
    multiple: bool
    accepted: bool


@dataclass(slots=True, eq=False)
class Returned:
    """A mandatory message that no queue took."""

    reason: str
    exchange: str
    routing_key: str
    body: bytes
    encoded_properties: bytes
