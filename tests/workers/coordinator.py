"""Peers that hold a conversation with a shard for as long as it takes, whatever becomes of it."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from swpt_accounts.ledger.commands import FinalizeTransfer, PrepareTransfer
from swpt_accounts.ledger.values import account_id
from tests.factories import prepare_transfer
from tests.workers.traffic import FOREIGN_RECIPIENTS, RECIPIENTS, SENDERS
from tests.workers.wire import Received, Wire

_UNDER_WAY_MAX = 100
_DISMISSED = 5
"""Of so many transfers, one is dismissed."""


@dataclass
class Coordinator:
    """Makes payments, each by a PrepareTransfer and a FinalizeTransfer, some of them repeated.

    A payment that is prepared twice, because its request was delivered again
    after it had ended, is dismissed the second time, as the protocol asks of
    coordinators.
    """

    queue: str
    count: int
    chance: random.Random
    prepared: dict[int, int] = field(default_factory=dict)
    """The first transfer id of each request."""
    open: set[tuple[int, int]] = field(default_factory=set)
    """Requests and transfer ids that wait to be finalized."""
    ended: dict[tuple[int, int], int] = field(default_factory=dict)
    """Requests and transfer ids that have been finalized, with the committed amounts."""
    asked_count: int = 0
    seen_count: int = 0

    def amount(self, request_id: int) -> int:
        return 0 if request_id % _DISMISSED == 0 else 100 + request_id

    def sender(self, request_id: int) -> int:
        return SENDERS[request_id % len(SENDERS)]

    def recipient(self, request_id: int) -> int:
        recipients = RECIPIENTS + FOREIGN_RECIPIENTS
        return recipients[request_id // len(SENDERS) % len(recipients)]

    def request(self, request_id: int) -> PrepareTransfer:
        sender = self.sender(request_id)
        return prepare_transfer(
            creditor_id=sender,
            coordinator_type="agent",
            coordinator_id=sender,
            coordinator_request_id=request_id,
            recipient=account_id(self.recipient(request_id)),
            max_locked_amount=100 + request_id,
            ts=datetime.now(UTC),
        )

    def ask(self, wire: Wire) -> None:
        """Send so many requests that enough of them are under way; some of them twice."""
        room = _UNDER_WAY_MAX - (self.asked_count - len(self.prepared)) - len(self.open)
        last = min(self.count, self.asked_count + max(0, room))
        requests = [self.request(n) for n in range(self.asked_count, last)]
        repeated = [request for request in requests if self.chance.random() < 0.1]
        wire.send(*requests, *repeated, to=self.queue)
        self.asked_count = last

    def answer(self, wire: Wire, received: list[Received]) -> None:
        """React to what has come since the last time, and ask for more."""
        for message in received[self.seen_count :]:
            if message.properties.type == "PreparedTransfer":
                self._finalize(wire, message.document)
            elif message.properties.type == "FinalizedTransfer":
                self._end(message.document)
            elif message.properties.type == "RejectedTransfer":
                raise AssertionError(message.document)
        self.seen_count = len(received)
        self.ask(wire)

    @property
    def has_finished(self) -> bool:
        return len(self.prepared) == self.count and not self.open

    def _finalize(self, wire: Wire, document: dict[str, Any]) -> None:
        request_id, transfer_id = document["coordinator_request_id"], document["transfer_id"]
        key = request_id, transfer_id
        if key in self.ended:
            return
        is_first = self.prepared.setdefault(request_id, transfer_id) == transfer_id
        self.open.add(key)
        command = FinalizeTransfer(
            debtor_id=document["debtor_id"],
            creditor_id=document["creditor_id"],
            transfer_id=transfer_id,
            coordinator_type=document["coordinator_type"],
            coordinator_id=document["coordinator_id"],
            coordinator_request_id=request_id,
            committed_amount=self.amount(request_id) if is_first else 0,
            transfer_note=f"payment {request_id}",
            transfer_note_format="",
            ts=datetime.now(UTC),
        )
        wire.send(*[command] * self.chance.choice([1, 1, 2]), to=self.queue)

    def _end(self, document: dict[str, Any]) -> None:
        request_id, transfer_id = document["coordinator_request_id"], document["transfer_id"]
        assert document["status_code"] == "OK", document
        amount = self.ended.setdefault((request_id, transfer_id), document["committed_amount"])
        assert amount == document["committed_amount"], document
        self.open.discard((request_id, transfer_id))

    def flows(self) -> Counter[int]:
        """What each account must have gained or lost."""
        flows: Counter[int] = Counter()
        for request_id in range(self.count):
            flows[self.sender(request_id)] -= self.amount(request_id)
            if self.recipient(request_id) in RECIPIENTS:
                flows[self.recipient(request_id)] += self.amount(request_id)
        return flows
