"""Changed balances are announced in time, and not more often than the operator wants."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.end_to_end.nodes import Node
from tests.end_to_end.peers import Peers, creditor

ALICE = creditor(1)
DELAY = timedelta(seconds=2)


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return {"APP_ACCOUNT_UPDATE_DELAY_SECONDS": f"{DELAY.total_seconds():g}"}


@pytest.fixture(scope="module", autouse=True)
def _program(node: Node) -> Iterator[None]:
    with node.running():
        yield


def test_changes_of_a_balance_are_announced_together_when_the_first_has_waited(
    peers: Peers,
) -> None:
    peers.open_currency()
    opened = peers.open_account(ALICE)
    amounts = (1, 20, 300, 4000, 50_000)
    for amount in amounts:
        peers.pay(0, ALICE, amount)
    total = sum(amounts)
    for creditor_id, principal in ((ALICE, total), (0, -total)):
        peers.await_documents("AccountUpdate", creditor_id, principal=principal)

    # Each announcement is as late as it has to be, after the first change that it tells about.
    changes = sorted(
        datetime.fromisoformat(transfer["committed_at"])
        for transfer in peers.documents("AccountTransfer", ALICE)
    )
    told_until = datetime.fromisoformat(opened["last_change_ts"])
    updates = peers.documents("AccountUpdate", ALICE)[1:]
    assert 1 <= len(updates) < len(amounts)
    for update in updates:
        first_change = next(change for change in changes if change > told_until)
        assert datetime.fromisoformat(update["ts"]) >= first_change + DELAY
        told_until = datetime.fromisoformat(update["last_change_ts"])
    assert updates[-1]["last_transfer_number"] == len(amounts)


def test_what_an_owner_asks_for_is_confirmed_at_once_and_tells_the_balance_too(
    peers: Peers,
) -> None:
    peers.open_currency()
    peers.open_account(ALICE)
    peers.pay(0, ALICE, 700)
    configured = peers.configure(ALICE, negligible_amount=2.0, seqnum=2)
    [update] = peers.await_documents("AccountUpdate", ALICE, last_config_ts=configured["ts"])
    assert (update["principal"], update["ts"]) == (700, update["last_change_ts"])
    # That was the announcement of the payment: only the root account's is still due.
    peers.await_documents("AccountUpdate", 0, principal=-700)
    peers.hear_all()
    assert peers.documents("AccountUpdate", ALICE)[-1] == update
