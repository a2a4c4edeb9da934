"""What a node says again and again: that an account is there, and that a transfer waits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.end_to_end.nodes import Node
from tests.end_to_end.peers import Document, Peers, creditor

ALICE, BOB = creditor(1), creditor(2)
INTERVAL = timedelta(days=0.00001)
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()
"""With so short delays, a message that takes a second has come from the past."""


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return {
        "APP_MESSAGE_MAX_DELAY_DAYS": f"{INTERVAL / timedelta(days=1):f}",
        "APP_ACCOUNT_HEARTBEAT_DAYS": "0",
        "APP_PREPARED_TRANSFER_REMAINDER_DAYS": "0",
        "APP_ACCOUNTS_SCAN_HOURS": "0.0001",
        "APP_PREPARED_TRANSFERS_SCAN_DAYS": "0.000001",
    }


@pytest.fixture(scope="module", autouse=True)
def _program(node: Node) -> Iterator[None]:
    with node.running():
        yield


def moment(document: Document) -> datetime:
    return datetime.fromisoformat(document["ts"])


def assert_only_time_has_passed(documents: list[Document]) -> None:
    """Check that the documents are the same, but for their moments, which are far apart."""
    for first, second in pairwise(documents):
        assert {**first, "ts": None} == {**second, "ts": None}
        assert moment(second) - moment(first) >= INTERVAL


@pytest.mark.parametrize("creditor_id", [0, ALICE], ids=["root", "creditor"])
def test_an_account_on_which_nothing_happens_is_announced_again_and_again(
    peers: Peers, creditor_id: int
) -> None:
    peers.configure(creditor_id, ts=LATER)
    updates = peers.await_documents("AccountUpdate", creditor_id, 4)
    assert updates[0]["last_config_ts"] == LATER
    assert_only_time_has_passed(updates)


def test_a_coordinator_is_reminded_of_a_transfer_until_it_is_finalized(peers: Peers) -> None:
    for creditor_id in (ALICE, BOB):
        peers.configure(creditor_id, ts=LATER)
    first, second = (peers.prepare(ALICE, BOB, 0)["coordinator_request_id"] for _ in range(2))
    reminders = peers.await_documents("PreparedTransfer", ALICE, 3, coordinator_request_id=first)
    assert_only_time_has_passed(reminders)

    peers.finalize(reminders[0], 0)
    peers.expect("FinalizedTransfer", ALICE, coordinator_request_id=first)
    await_reminders(peers, second)
    reminders = peers.documents("PreparedTransfer", ALICE, coordinator_request_id=first)
    await_reminders(peers, second)
    assert peers.documents("PreparedTransfer", ALICE, coordinator_request_id=first) == reminders


def await_reminders(peers: Peers, request_id: int) -> None:
    """Wait until a scan has come by, twice, so that one of them began after this."""
    heard_count = len(peers.documents("PreparedTransfer", ALICE, coordinator_request_id=request_id))
    peers.await_documents(
        "PreparedTransfer", ALICE, heard_count + 2, coordinator_request_id=request_id
    )
