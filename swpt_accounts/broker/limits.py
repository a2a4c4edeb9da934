"""How much of a message is kept, and what becomes of one that has more."""

import sys
from hashlib import sha256
from typing import Final, NamedTuple

from swpt_accounts.broker.message import Cut
from swpt_accounts.broker.properties import shortened

BODY_BYTES_MAX: Final = 64 * 1024
"""The limit where nothing better is known."""

PROPERTIES_BYTES_MAX: Final = 4 * 1024
"""Peers write a tenth of it; what comes from elsewhere may have as many headers as it likes."""

BEGINNING_BYTES: Final = 4 * 1024
"""So much is kept of a body that is too long."""


class Limits(NamedTuple):
    """The greatest body, and the greatest properties, that are kept as they came."""

    body_bytes: int
    properties_bytes: int


NO_LIMITS: Final = Limits(sys.maxsize, sys.maxsize)
"""For what this process has itself published, and gets back."""


class Cutting:
    """A message that is too long: counted and hashed while it comes, and then forgotten.

    `body` and `properties` are what is kept of it.
    """

    def __init__(self, limits: Limits, body_size: int, properties: bytes) -> None:
        self._limits = limits
        self._body_size = body_size
        self._properties_size = len(properties)
        self._sha256 = sha256()
        self._kept_max = body_size if body_size <= limits.body_bytes else BEGINNING_BYTES
        self.body = b""
        self.properties = properties
        if self._properties_size > limits.properties_bytes:
            self.properties = shortened(properties, limits.properties_bytes)

    def add(self, fragment: memoryview) -> None:
        """Take the next piece of the body."""
        self._sha256.update(fragment)
        self.body += fragment[: self._kept_max - len(self.body)]

    def cut(self) -> Cut:
        """Return what the message was, when all of its body has come."""
        reasons = []
        if self._body_size > self._limits.body_bytes:
            reasons.append(
                f"the body has {self._body_size} bytes, more than {self._limits.body_bytes}"
            )
        if self._properties_size > self._limits.properties_bytes:
            reasons.append(
                f"the properties have {self._properties_size} bytes,"
                f" more than {self._limits.properties_bytes}"
            )
        return Cut(
            self._body_size, self._sha256.digest(), self._properties_size, "; ".join(reasons)
        )
