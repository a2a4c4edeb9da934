"""Which accounts belong to this shard (protocol.rst, Sharding)."""

import re
import struct
from functools import lru_cache
from hashlib import md5

import msgspec

ROUTING_KEY_BITS_MAX = 20
GROUP_BITS_MIN = 8

_HASH_BITS = 32
_ROUTING_KEY = re.compile(r"(?:[01]\.){0,20}#")
_PAIR = struct.Struct(">qq")
_TOP_32_BITS = struct.Struct(">L")
_CACHED_HASHES_MAX = 100_000


@lru_cache(maxsize=_CACHED_HASHES_MAX)
def sharding_hash(debtor_id: int, creditor_id: int) -> int:
    """Return the first 32 bits of the MD5 of the two ids, each as 8 big-endian signed bytes."""
    digest = md5(_PAIR.pack(debtor_id, creditor_id), usedforsecurity=False).digest()
    return int(_TOP_32_BITS.unpack_from(digest)[0])


class Realm(msgspec.Struct, frozen=True):
    """The accounts whose sharding hash begins with the bits of a binding key such as `1.0.#`.

    `bits` and `mask` are unsigned 32-bit integers; an account belongs to the
    realm when `hash & mask == bits`. The key `#` is the realm of every account.
    """

    routing_key: str
    bits: int
    mask: int

    @classmethod
    def parse(cls, routing_key: str) -> "Realm":
        """Parse a binding key; raise `ValueError` with a sentence when it is not one."""
        if not _ROUTING_KEY.fullmatch(routing_key):
            raise ValueError(
                f"{routing_key!r} is not a queue routing key: zero to {ROUTING_KEY_BITS_MAX} groups"
                ' "0." or "1." are allowed, followed by "#" (for example "#" or "1.0.#")'
            )
        digits = routing_key[:-1].replace(".", "")
        length = len(digits)
        bits = int(digits, 2) << (32 - length) if digits else 0
        mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
        return cls(routing_key, bits, mask)

    def contains(self, debtor_id: int, creditor_id: int) -> bool:
        """Tell whether the account belongs to this realm."""
        mask = self.mask
        return not mask or sharding_hash(debtor_id, creditor_id) & mask == self.bits

    @property
    def parent(self) -> "Realm":
        """The realm that this one was split from: its last bit dropped; `#` is its own parent."""
        return self if not self.mask else Realm.parse(self.routing_key[:-3] + "#")


class Groups(msgspec.Struct, frozen=True):
    """All accounts, in 2 ** `bits` groups by the first bits of their sharding hash.

    What is found out about one account of another shard is taken for true of
    its group, since nobody tells a shard which other shards there are.
    """

    bits: int

    @classmethod
    def fit_for(cls, realm: Realm) -> "Groups":
        """Return groups that are not larger than the realm: other shards may be as small."""
        return cls(max(GROUP_BITS_MIN, realm.mask.bit_count()))

    def of(self, debtor_id: int, creditor_id: int) -> int:
        """Return the number of the account's group."""
        return sharding_hash(debtor_id, creditor_id) >> (_HASH_BITS - self.bits)

    def routing_key(self, group: int) -> str:
        """Return the binding key of the group's accounts."""
        return ".".join([*f"{group:0{self.bits}b}", "#"])
