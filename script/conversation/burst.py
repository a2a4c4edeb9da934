"""Some thousand payments at once, to see how fast they pass, while the peer keeps books."""

import queue
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from conversation.cast import Cast
from conversation.peer import Peer, Unmet
from conversation.story import Story
from conversation.wire import (
    ROOT_CREDITOR_ID,
    Message,
    configure_account,
    finalize_transfer,
    prepare_transfer,
)

_FIRST_MONEY = 100_000
_AMOUNT_MAX = 100
_SECONDS_MAX = 180.0


@dataclass(frozen=True)
class Rates:
    transfers_count: int
    messages_count: int  # In both directions.
    seconds: float


class Burst:
    """Payments among the traders. Every message that comes back is looked at."""

    def __init__(self, peer: Peer, cast: Cast, story: Story, say: Callable[[str], None]) -> None:
        self.balances = dict.fromkeys(cast.extras, 0)  # As a creditors agent would keep them.
        self._peer = peer
        self._cast = cast
        self._story = story
        self._say = say
        self._prepared: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._amounts: dict[tuple[int, int], int] = {}  # By sender and request.
        self._chains: dict[int, dict[int, Message]] = {extra: {} for extra in cast.extras}
        self._counts: Counter[str] = Counter()
        self._wrong: list[str] = []

    def run(self, transfers_count: int) -> Rates:
        """Opens the accounts, issues money to them, then measures. Raises Unmet."""
        self._open_accounts()
        peer = self._peer
        peer.forget_messages()
        shown, peer.on_received = peer.on_received, self._on_received
        try:
            issued = [(ROOT_CREDITOR_ID, trader, _FIRST_MONEY) for trader in self._cast.extras]
            self._transfer(issued)
            messages_before = peer.sent_count + peer.received_count
            began = time.monotonic()
            self._transfer([self._any_payment() for _ in range(transfers_count)])
            seconds = time.monotonic() - began
            messages_count = peer.sent_count + peer.received_count - messages_before
        finally:
            peer.on_received = shown
        self._follow_chains()
        return Rates(transfers_count, messages_count, seconds)

    def _open_accounts(self) -> None:
        self._say(f"opening {len(self._cast.extras)} accounts")
        for trader in self._cast.extras:
            self._peer.send_unconfirmed(configure_account(self._cast.debtor_id, trader))
        for trader in self._cast.extras:
            self._story.await_opened(trader)

    def _any_payment(self) -> tuple[int, int, int]:
        sender, recipient = random.sample(self._cast.extras, 2)
        return sender, recipient, random.randint(1, _AMOUNT_MAX)

    def _transfer(self, payments: list[tuple[int, int, int]]) -> None:
        """Sends all requests, commits each as soon as it is prepared, and waits for all notices."""
        self._counts.clear()
        notices_count = 0
        for sender, recipient, amount in payments:
            request_id = self._story.new_request_id()
            self._amounts[sender, request_id] = amount
            notices_count += 1 if sender == ROOT_CREDITOR_ID else 2
            self._peer.send_unconfirmed(
                prepare_transfer(
                    self._cast.debtor_id, sender, recipient, amount, request_id=request_id
                )
            )
            self._commit_prepared()

        def is_complete() -> bool:
            self._commit_prepared()
            if self._wrong:
                raise Unmet("\n".join(self._wrong[:10]))
            ended, noticed = self._counts["FinalizedTransfer"], self._counts["AccountTransfer"]
            self._say(f"{ended:,} of {len(payments):,} completed")
            return ended >= len(payments) and noticed >= notices_count

        self._peer.await_all(
            f"{len(payments):,} ended transfers and {notices_count:,} notices about them",
            is_complete,
            seconds=_SECONDS_MAX,
        )

    def _commit_prepared(self) -> None:
        while not self._prepared.empty():
            prepared = self._prepared.get_nowait()
            amount = self._amounts[prepared["creditor_id"], prepared["coordinator_request_id"]]
            self._peer.send_unconfirmed(finalize_transfer(prepared, amount))

    def _on_received(self, message: Message) -> None:
        """Runs in the thread that receives."""
        kind = message["type"]
        self._counts[kind] += 1
        if kind == "PreparedTransfer":
            self._prepared.put(message)
        elif kind == "AccountTransfer":
            chain = self._chains.get(message["creditor_id"])
            if chain is None:  # Of somebody else, who is paid interest meanwhile.
                self._counts[kind] -= 1
                return
            if message["transfer_number"] in chain:
                self._counts[kind] -= 1  # At least once, says the protocol.
            chain[message["transfer_number"]] = message
        elif kind == "FinalizedTransfer":
            key = message["creditor_id"], message["coordinator_request_id"]
            if message["committed_amount"] != self._amounts.get(key):
                self._wrong.append(f"Committed otherwise than asked: {message}")
        elif kind == "RejectedTransfer":
            self._wrong.append(f"Refused: {message}")

    def _follow_chains(self) -> None:
        """Each account's notices form a chain without gaps, and add up to what they report."""
        for trader, chain in self._chains.items():
            balance = previous = 0
            for number in sorted(chain):
                notice = chain[number]
                balance += notice["acquired_amount"]
                if notice["previous_transfer_number"] != previous:
                    raise Unmet(f"A notice between {previous} and {number} is missing: {notice}")
                if notice["principal"] != balance:
                    raise Unmet(f"The notices before add up to {balance}, not so here: {notice}")
                previous = number
            self.balances[trader] = balance
