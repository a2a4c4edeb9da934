"""The peers of a node: debtors and creditors agents, who know nothing but the protocol."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from tests.end_to_end import shapes
from tests.workers.wire import Received, Wire

Document = dict[str, Any]
T = TypeVar("T")

CREDITORS_AGENT = 0x000002
"""The highest 24 bits of the ids of all creditors."""

FOREVER = "9999-12-31T23:59:59+00:00"

_debtor_numbers = itertools.count(1)


def creditor(number: int) -> int:
    """The id of one of the agent's creditors."""
    return (CREDITORS_AGENT << 40) + number


def a_new_debtor() -> int:
    """The id of a debtor that no test has used yet."""
    return (0x1234ABCD00 << 24) + next(_debtor_numbers)


def now() -> str:
    return datetime.now(UTC).isoformat()


class Peers:
    """A creditors agent and a debtors agent, each with its queue, and one debtor.

    Every message that comes is checked by itself. `heard` is all that has come,
    `unexpected` what of it nobody has waited for yet.
    """

    def __init__(self, broker_url: str, debtor_id: int) -> None:
        self.debtor_id = debtor_id
        self.heard: list[Received] = []
        self.unexpected: list[Received] = []
        self.is_hasty = False
        """Whether to go on before the broker has got what was sent."""
        self._wire = Wire(broker_url)
        self._seen_count = 0
        self._request_ids = itertools.count(1)
        agent = shapes.id_key(CREDITORS_AGENT << 40)[: len("00.00.00")]
        self._wire.collect("to_creditors", routing_key=f"{agent}.#")
        agent = shapes.id_key(debtor_id)[: len("00.00.00.00.00")]
        self._wire.collect("to_debtors", routing_key=f"{agent}.#")

    def close(self) -> None:
        self._wire.close()

    # -- what they say -----------------------------------------------------

    def send(self, message_type: str, creditor_id: int, **fields: Any) -> Document:
        """Send a message about an account; return it."""
        document = {
            "type": message_type,
            "debtor_id": self.debtor_id,
            "creditor_id": creditor_id,
            **fields,
        }
        self.send_raw(json.dumps(document).encode(), message_type, creditor_id)
        return document

    def send_raw(self, body: bytes, message_type: str, creditor_id: int) -> None:
        self._wire.publish(
            body,
            message_type,
            exchange="accounts_in",
            routing_key=shapes.account_key(self.debtor_id, creditor_id),
        )
        if not self.is_hasty:
            self._wire.flush()

    def configure(self, creditor_id: int, **fields: Any) -> Document:
        defaults = {
            "negligible_amount": 0.0,
            "config_flags": 0,
            "config_data": "",
            "ts": now(),
            "seqnum": 1,
        }
        return self.send("ConfigureAccount", creditor_id, **{**defaults, **fields})

    def prepare(self, sender: int, recipient: int | str, amount: int, **fields: Any) -> Document:
        coordinator_type = "issuing" if sender == 0 else "direct"
        defaults = {
            "coordinator_type": coordinator_type,
            "coordinator_id": self.debtor_id if sender == 0 else sender,
            "coordinator_request_id": next(self._request_ids),
            "min_locked_amount": amount,
            "max_locked_amount": amount,
            "recipient": str(recipient),
            "final_interest_rate_ts": FOREVER,
            "max_commit_delay": 1_000_000,
            "ts": now(),
        }
        return self.send("PrepareTransfer", sender, **{**defaults, **fields})

    def finalize(self, prepared: Document, amount: int, **fields: Any) -> Document:
        defaults = {
            "transfer_id": prepared["transfer_id"],
            "coordinator_type": prepared["coordinator_type"],
            "coordinator_id": prepared["coordinator_id"],
            "coordinator_request_id": prepared["coordinator_request_id"],
            "committed_amount": amount,
            "transfer_note": "",
            "transfer_note_format": "",
            "ts": now(),
        }
        return self.send("FinalizeTransfer", prepared["creditor_id"], **{**defaults, **fields})

    def change_balance(self, creditor_id: int, amount: int, **fields: Any) -> Document:
        """Send what another shard sends when it has debited an account of its own."""
        defaults = {
            "change_id": next(self._request_ids),
            "coordinator_type": "direct",
            "transfer_note_format": "",
            "transfer_note": "",
            "committed_at": now(),
            "principal_delta": amount,
            "other_creditor_id": creditor(999_999),
        }
        return self.send("PendingBalanceChange", creditor_id, **{**defaults, **fields})

    def send_chore(
        self, queue: str, message_type: str, body: bytes, content_type: str = "application/json"
    ) -> None:
        """Put into a queue what a node sends to itself."""
        self._wire.publish(
            body, message_type, exchange="", routing_key=queue, content_type=content_type
        )
        self._wire.flush()

    # -- what they hear ----------------------------------------------------

    def expect(self, message_type: str, creditor_id: int, **fields: Any) -> Document:
        """Wait for the next message of the type for the account, which has to have these fields."""

        def find(_received: list[Received]) -> Received | None:
            self._take()
            for received in self.unexpected:
                d = received.document
                if (d["type"], d["creditor_id"]) == (message_type, creditor_id):
                    return received
            return None

        found = self._wire.receive(f"{message_type} for {creditor_id}", find)
        assert found is not None
        self.unexpected.remove(found)
        document = found.document
        assert fields.items() <= document.items(), (fields, document)
        return document

    def hear(self) -> Document:
        """Wait for the next message of whatever type, and return it."""

        def take(_received: list[Received]) -> Received | None:
            self._take()
            return self.unexpected[0] if self.unexpected else None

        received = self._wire.receive("any message", take)
        assert received is not None
        self.unexpected.remove(received)
        return received.document

    def hear_until(self, what: str, condition: Callable[[list[Received]], T]) -> T:
        """Wait until the condition on all that has come so far is true; return what it returns."""

        def ours(_received: list[Received]) -> T:
            self._take()
            return condition(self.heard)

        return self._wire.receive(what, ours)

    def documents(self, message_type: str, creditor_id: int, **fields: Any) -> list[Document]:
        """All that has come so far of the type for the account, as far as it has these fields."""
        wanted = {"type": message_type, "creditor_id": creditor_id, **fields}
        return [r.document for r in self.heard if wanted.items() <= r.document.items()]

    def await_documents(
        self, message_type: str, creditor_id: int, count: int = 1, **fields: Any
    ) -> list[Document]:
        """Wait until so many of these have come, whatever else comes; return all of them."""

        def enough(_heard: list[Received]) -> list[Document]:
            found = self.documents(message_type, creditor_id, **fields)
            return found if len(found) >= count else []

        return self.hear_until(f"{count} {message_type} for {creditor_id} with {fields}", enough)

    def hear_all(self) -> list[Received]:
        """Return all that has come and all that is in the queues by now."""
        self._wire.catch_up()
        self._take()
        return self.heard

    def dead_letters(self, queue: str) -> list[Received]:
        return self._wire.dead_letters(queue)

    def consumers_count(self, queue: str) -> int:
        return self._wire.consumers_count(queue)

    def ready_count(self, queue: str) -> int:
        return self._wire.ready_count(queue)

    def expect_nothing_more(self) -> None:
        """Check that nothing has come by now but what was expected."""
        self.hear_all()
        assert not self.unexpected, [r.document for r in self.unexpected]

    def _take(self) -> None:
        """Check and keep what has come since the last time, as far as the debtor is ours."""
        for received in self._wire.received[self._seen_count :]:
            if received.document["debtor_id"] == self.debtor_id:
                shapes.check(received)
                self.unexpected.append(received)
                self.heard.append(received)
        self._seen_count = len(self._wire.received)

    # -- what they do most of the time ---------------------------------------

    def open_currency(self, **config: Any) -> Document:
        """Set up the debtor's currency; return the root account's AccountUpdate."""
        document = {"type": "RootConfigData", **config}
        self.configure(0, config_data=json.dumps(document), negligible_amount=1e30)
        return self.expect("AccountUpdate", 0)

    def open_account(self, creditor_id: int, **fields: Any) -> Document:
        """Open a creditor's account; return its AccountUpdate."""
        self.configure(creditor_id, **fields)
        return self.expect("AccountUpdate", creditor_id)

    def pay(self, sender: int, recipient: int, amount: int, note: str = "") -> Document:
        """Make a payment; return the FinalizedTransfer. The AccountTransfers are left to come."""
        request = self.prepare(sender, recipient, amount)
        prepared = self.expect("PreparedTransfer", sender)
        for name in ("coordinator_type", "coordinator_id", "coordinator_request_id", "recipient"):
            assert prepared[name] == request[name]
        assert prepared["locked_amount"] == amount
        self.finalize(prepared, amount, transfer_note=note)
        return self.expect("FinalizedTransfer", sender, status_code="OK", committed_amount=amount)
