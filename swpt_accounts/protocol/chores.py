"""Chores to messages, and back.

They never leave the node: a scan sends them to the queue of chores of its own
shard. Four of them have the form that other versions of this node gave them.
"""

import math
from datetime import UTC
from typing import Final

import msgspec

from swpt_accounts.ledger.chores import ChangeInterestRate, Chore, UpdateDebtorInfo
from swpt_accounts.ledger.root_config import IRI_LENGTH_MAX
from swpt_accounts.protocol.decoding import (
    Decoding,
    Malformed,
    in_utc,
    require_ascii,
    require_text,
)

_UTF8_BYTES_PER_CHARACTER_MAX: Final = 4
_ENCODER: Final = msgspec.json.Encoder()


def encode_chore(chore: Chore) -> bytes:
    """Return the body of the message that carries the chore."""
    return _ENCODER.encode(chore)


def _checked_rate_change(chore: ChangeInterestRate) -> ChangeInterestRate:
    if not math.isfinite(chore.interest_rate):
        raise Malformed("`interest_rate` is not finite")
    if chore.ts.tzinfo is UTC:
        return chore
    return msgspec.structs.replace(chore, ts=in_utc("ts", chore.ts))


def _checked_info_change(chore: UpdateDebtorInfo) -> UpdateDebtorInfo:
    iri_bytes_max = _UTF8_BYTES_PER_CHARACTER_MAX * IRI_LENGTH_MAX
    require_text("debtor_info_iri", chore.debtor_info_iri, iri_bytes_max)
    require_ascii("debtor_info_content_type", chore.debtor_info_content_type)
    if chore.ts.tzinfo is UTC:
        return chore
    return msgspec.structs.replace(chore, ts=in_utc("ts", chore.ts))


_DECODING: Final = Decoding[Chore](
    Chore,
    {ChangeInterestRate: _checked_rate_change, UpdateDebtorInfo: _checked_info_change},
)

decode_chore: Final = _DECODING.decode
