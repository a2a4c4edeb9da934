"""Many payments at once, while things happen to the node."""

from collections.abc import Callable, Iterable, Mapping

from tests.end_to_end.peers import Document, Peers
from tests.workers.traffic import audit_chains
from tests.workers.wire import Received

Payment = tuple[int, int, int]
"""Sender, recipient, amount."""


def make_payments(
    peers: Peers, payments: Iterable[Payment], disasters: Mapping[int, Callable[[], None]]
) -> None:
    """Make all payments, each once, and wait until all have ended.

    A disaster happens when so many messages have come.
    """
    amounts = {
        peers.prepare(sender, recipient, amount)["coordinator_request_id"]: amount
        for sender, recipient, amount in payments
    }
    first_ids: dict[int, int] = {}
    under_way: set[tuple[int, int]] = set()
    committed: dict[tuple[int, int], int] = {}

    def react(document: Document) -> None:
        if "transfer_id" not in document:
            return
        key = document["coordinator_request_id"], document["transfer_id"]
        if document["type"] == "FinalizedTransfer":
            assert document["status_code"] == "OK"
            committed[key] = document["committed_amount"]
            under_way.discard(key)
        elif key not in committed:
            # A request that is repeated when its transfer has ended already
            # prepares a second one, which coordinators dismiss.
            request_id, transfer_id = key
            is_first = first_ids.setdefault(request_id, transfer_id) == transfer_id
            under_way.add(key)
            amount = amounts[request_id] if is_first else 0
            peers.finalize(document, amount, transfer_note=f"payment {request_id}")

    heard_count = 0
    while len(first_ids) < len(amounts) or under_way:
        react(peers.hear())
        heard_count += 1
        if heard_count in disasters:
            disasters[heard_count]()
    assert {key: amounts[key[0]] for key in first_ids.items()} == {
        key: amount for key, amount in committed.items() if amount
    }


def await_principals(peers: Peers, transfers_count: int) -> dict[int, int]:
    """Wait until so many transfers of the debtor's creditors have been announced.

    Return the creditors' principals after the last ones.
    """

    def are_complete(heard: list[Received]) -> bool:
        return len(audit_chains(heard)) >= transfers_count

    peers.hear_until("all transfers", are_complete)
    latest: dict[int, tuple[int, int]] = {}
    for document in (r.document for r in peers.heard):
        if document["type"] == "AccountTransfer":
            link = document["transfer_number"], document["principal"]
            latest[document["creditor_id"]] = max(latest.get(document["creditor_id"], link), link)
    assert len(audit_chains(peers.heard)) == transfers_count
    return {creditor_id: principal for creditor_id, (_, principal) in latest.items()}
