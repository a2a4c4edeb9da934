"""The life of a batch, from deliveries to acks (ARCHITECTURE.md, The life of a batch)."""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command, PrepareTransfer
from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.journal import BooksDoNotBalance
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.prepare import recipient_to_verify
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.decoding import Malformed
from swpt_accounts.protocol.incoming import decode
from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.store.transaction import DatabaseUnavailable
from swpt_accounts.workers.ledger_batch import LedgerBatch

logger = logging.getLogger(__name__)

GatherFacts = Callable[[Collection[AccountKey], Collection[int]], Facts]
"""Asks other shards about recipients, and about currencies' configurations."""

_SHOWN_PER_BATCH: Final = 5


Decode = Callable[[str | None, str | None, bytes], Command | Chore]
"""Returns the command of a message of that type, content type and body; raises `Malformed`."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A delivery and the command that it carries."""

    delivery: Delivery
    command: Command | Chore


class Settled(msgspec.Struct):
    """What is to be done with the deliveries of a batch.

    `accepted` have been applied, or ignored for good. `rejected` can never be
    applied, each with the reason. `postponed` go back to the queue after a
    pause: for now, this process can neither apply nor refuse them.
    """

    accepted: list[Delivery]
    rejected: list[tuple[Delivery, str]]
    postponed: list[Delivery]


class MessageIntake:
    """Applies the protocol's messages to the ledger."""

    def __init__(self, ledger_batch: LedgerBatch, gather_facts: GatherFacts) -> None:
        self._ledger_batch = ledger_batch
        self._gather_facts = gather_facts

    def handle(self, deliveries: Sequence[Delivery]) -> Settled:
        """Apply the deliveries in one transaction, or in several when one of them is to blame."""
        settled = Settled([], [], [])
        received = self._keep_ours(decode_all(deliveries, decode, settled), settled)
        needs = self._ledger_batch.needs_of([r.command for r in received])
        facts = self._gather_facts(needs.foreign_recipients, needs.foreign_currencies)
        received = _keep_answered(received, needs, facts, settled)
        apply_or_isolate(self._ledger_batch, received, facts, settled)
        return settled

    def _keep_ours(self, received: list[Received], settled: Settled) -> list[Received]:
        """Postpone messages about accounts of other shards: they are in the wrong queue.

        Applying them would fork the account, rejecting them would lose them.
        """
        realm = self._ledger_batch.realm
        ours: list[Received] = []
        foreign: list[Received] = []
        for r in received:
            is_ours = realm.contains(r.command.debtor_id, r.command.creditor_id)
            (ours if is_ours else foreign).append(r)
        if foreign:
            settled.postponed.extend(r.delivery for r in foreign)
            logger.error(
                "%d messages in the queue belong to other shards than %s, and go back to it:"
                " the queue's bindings are wrong. The first one is a %s for account (%d, %d).",
                len(foreign),
                realm.routing_key,
                type(foreign[0].command).__name__,
                foreign[0].command.debtor_id,
                foreign[0].command.creditor_id,
            )
        return ours


def apply_or_isolate(
    ledger_batch: LedgerBatch, received: list[Received], facts: Facts, settled: Settled
) -> None:
    """Apply all in one transaction; if that fails, find the one to blame by halving."""
    if not received:
        return
    commands = [r.command for r in received]
    try:
        ledger_batch.apply(commands, ledger_batch.needs_of(commands), facts)
    except (DatabaseUnavailable, TimeUncertain, BooksDoNotBalance):
        raise
    except Exception as error:
        if len(received) > 1:
            half = len(received) // 2
            apply_or_isolate(ledger_batch, received[:half], facts, settled)
            apply_or_isolate(ledger_batch, received[half:], facts, settled)
            return
        logger.exception(
            "a %s for account (%d, %d) cannot be applied, and goes to the dead letters",
            type(commands[0]).__name__,
            commands[0].debtor_id,
            commands[0].creditor_id,
        )
        reason = f"it could not be applied: {type(error).__name__}: {error}"
        settled.rejected.append((received[0].delivery, reason))
    else:
        settled.accepted.extend(r.delivery for r in received)


def decode_all(deliveries: Sequence[Delivery], decode: Decode, settled: Settled) -> list[Received]:
    """Decode the deliveries; those that can never be what they say they are, are rejected."""
    received = []
    for delivery in deliveries:
        if delivery.cut is not None:
            settled.rejected.append((delivery, delivery.cut.reason))
            continue
        try:
            command = decode(delivery.message_type, delivery.content_type, delivery.body)
        except Malformed as malformed:
            settled.rejected.append((delivery, str(malformed)))
        else:
            received.append(Received(delivery, command))
    return received


def _keep_answered(
    received: list[Received], needs: Needs, facts: Facts, settled: Settled
) -> list[Received]:
    """Postpone transfers to recipients whose shard gave no answer, which is not a "no"."""
    unanswered = needs.foreign_recipients - facts.reachable.keys()
    if not unanswered:
        return received
    kept = []
    for r in received:
        command = r.command
        if isinstance(command, PrepareTransfer) and recipient_to_verify(command) in unanswered:
            settled.postponed.append(r.delivery)
        else:
            kept.append(r)
    logger.warning(
        "%d transfers wait: the shards of their recipients gave no answer. Recipients: %s",
        len(received) - len(kept),
        ", ".join(map(str, sorted(unanswered)[:_SHOWN_PER_BATCH])),
    )
    return kept
