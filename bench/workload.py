"""A currency, its accounts, and the messages about them, encoded as peers would."""

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import msgspec

from swpt_accounts.broker.message import Message
from swpt_accounts.broker.properties import encode_properties
from swpt_accounts.protocol.routing import account_key

ROOT_CREDITOR_ID = 0
FIRST_MONEY = 1_000_000_000
"""What each account is given: more than a run can spend."""

_EXCHANGE = "accounts_in"
_APP_ID = "swpt_bench"
_FOREVER = "9999-12-31T23:59:59+00:00"
_NO_LIMIT = 1e30
_COMMIT_DELAY_SECONDS = 7 * 24 * 3600
# Peers are given ids by the first bits; these belong to nobody in particular.
_DEBTORS = 0x5EED << 40
_CREDITORS = 0x0000_0201 << 32

_currency_numbers = itertools.count(1)

Pair = tuple[int, int]
"""Sender and recipient."""


class Prepared(msgspec.Struct, gc=False):
    """What has to be known of a PreparedTransfer in order to finalize it."""

    debtor_id: int
    creditor_id: int
    transfer_id: int
    coordinator_type: str
    coordinator_id: int
    coordinator_request_id: int


@dataclass(frozen=True)
class Currency:
    """One debtor, and accounts that hold its currency."""

    debtor_id: int
    creditor_ids: range


def new_currency(accounts_count: int) -> Currency:
    """A currency that no earlier one of this run has anything to do with."""
    debtor_id = _DEBTORS + next(_currency_numbers)
    return Currency(debtor_id, range(_CREDITORS, _CREDITORS + accounts_count))


def configure_account(currency: Currency, creditor_id: int, config_data: str = "") -> Message:
    return _message(
        "ConfigureAccount",
        currency.debtor_id,
        creditor_id,
        {
            # A root account may go as far below zero as this says (protocol.rst, ConfigureAccount).
            "negligible_amount": _NO_LIMIT if creditor_id == ROOT_CREDITOR_ID else 0.0,
            "config_data": config_data,
            "config_flags": 0,
            "seqnum": 0,
            "ts": _now(),
        },
    )


def prepare_transfer(currency: Currency, pair: Pair, request_id: int, amount: int = 1) -> Message:
    """Of the debtor itself, which issues money, or of one of its creditors."""
    sender, recipient = pair
    is_issuing = sender == ROOT_CREDITOR_ID
    return _message(
        "PrepareTransfer",
        currency.debtor_id,
        sender,
        {
            "coordinator_type": "issuing" if is_issuing else "direct",
            "coordinator_id": currency.debtor_id if is_issuing else sender,
            "coordinator_request_id": request_id,
            "min_locked_amount": amount,
            "max_locked_amount": amount,
            "recipient": str(recipient),
            "final_interest_rate_ts": _FOREVER,
            "max_commit_delay": _COMMIT_DELAY_SECONDS,
            "ts": _now(),
        },
    )


def finalize_transfer(prepared: Prepared, amount: int = 1, note: str = "") -> Message:
    """The coordinator's answer that commits the amount."""
    return _message(
        "FinalizeTransfer",
        prepared.debtor_id,
        prepared.creditor_id,
        {
            "transfer_id": prepared.transfer_id,
            "coordinator_type": prepared.coordinator_type,
            "coordinator_id": prepared.coordinator_id,
            "coordinator_request_id": prepared.coordinator_request_id,
            "committed_amount": amount,
            "transfer_note": note,
            "transfer_note_format": "",
            "ts": _now(),
        },
    )


def prepare_all(currency: Currency, pairs: Iterable[Pair], amount: int = 1) -> list[Message]:
    """One request for each pair, numbered from 1."""
    return [
        prepare_transfer(currency, pair, request_id, amount)
        for request_id, pair in enumerate(pairs, start=1)
    ]


# Who pays whom.

Choice = Callable[[Currency, random.Random], Pair]


def uniform(currency: Currency, chance: random.Random) -> Pair:
    """Everybody pays everybody."""
    sender, recipient = chance.sample(currency.creditor_ids, 2)
    return sender, recipient


def hot_recipient(currency: Currency, chance: random.Random) -> Pair:
    """Everybody pays the first account."""
    return chance.choice(currency.creditor_ids[1:]), currency.creditor_ids[0]


def hot_sender(currency: Currency, chance: random.Random) -> Pair:
    """The first account pays everybody."""
    return currency.creditor_ids[0], chance.choice(currency.creditor_ids[1:])


def _message(
    message_type: str, debtor_id: int, creditor_id: int, fields: dict[str, object]
) -> Message:
    document = {
        "type": message_type,
        "debtor_id": debtor_id,
        "creditor_id": creditor_id,
        **fields,
    }
    return Message(
        exchange=_EXCHANGE,
        routing_key=account_key(debtor_id, creditor_id),
        body=msgspec.json.encode(document),
        properties=_properties(message_type),
    )


@cache
def _properties(message_type: str) -> bytes:
    return encode_properties("application/json", message_type, _APP_ID, {})


def _now() -> str:
    return datetime.now(UTC).isoformat()
