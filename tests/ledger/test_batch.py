"""Which rows a batch declares, and what all batches have in common."""

from datetime import timedelta
from itertools import permutations
from typing import Any, get_args

import pytest

from swpt_accounts.ledger import batch
from swpt_accounts.ledger.batch import apply, needs_of
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.events import AccountTransfer, AccountUpdate, RejectedConfig
from swpt_accounts.ledger.journal import BooksDoNotBalance
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import EPOCH
from swpt_accounts.ledger.working_set import NotRequested, WorkingSet
from tests.factories import (
    AGENT_COORDINATOR_ID,
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    account,
    apply_batch,
    configure_account,
    configure_root_account,
    events_of,
    everywhere,
    finalize_transfer,
    local,
    locking_account,
    pending_balance_change,
    prepare_transfer,
    prepared_transfer,
    recipient_account,
    root_account,
    working_set,
)

SENDER, RECIPIENT = (DEBTOR_ID, SENDER_ID), (DEBTOR_ID, RECIPIENT_ID)
STRANGER, ROOT = (DEBTOR_ID, STRANGER_ID), (DEBTOR_ID, 0)
DAY = timedelta(days=1)


def needs(**fields: Any) -> Needs:
    nothing: dict[str, Any] = {
        "accounts": set(),
        "transfers": set(),
        "coordinator_keys": set(),
        "changes": {},
        "recipients": set(),
        "currencies": set(),
        "foreign_recipients": set(),
        "foreign_currencies": set(),
    }
    return Needs(**{**nothing, **fields})


REQUEST = {(DEBTOR_ID, SENDER_ID, "direct", SENDER_ID, 1)}
AGENT_REQUEST = {(DEBTOR_ID, SENDER_ID, "agent", AGENT_COORDINATOR_ID, 1)}


@pytest.mark.parametrize(
    ("commands", "is_local", "expected"),
    [
        pytest.param([], everywhere, needs(), id="nothing"),
        pytest.param(
            [configure_account()],
            everywhere,
            needs(accounts={SENDER}, currencies={DEBTOR_ID}),
            id="configuring: the account and its currency",
        ),
        pytest.param(
            [configure_account()],
            local(SENDER_ID),
            needs(accounts={SENDER}, foreign_currencies={DEBTOR_ID}),
            id="configuring: a currency in another shard",
        ),
        pytest.param(
            [configure_root_account()],
            everywhere,
            needs(accounts={ROOT}),
            id="configuring the root",
        ),
        pytest.param(
            [prepare_transfer()],
            everywhere,
            needs(accounts={SENDER}, coordinator_keys=REQUEST, recipients={RECIPIENT}),
            id="preparing: the sender is locked, the recipient only read",
        ),
        pytest.param(
            [prepare_transfer()],
            local(SENDER_ID),
            needs(accounts={SENDER}, coordinator_keys=REQUEST, foreign_recipients={RECIPIENT}),
            id="preparing: a recipient in another shard",
        ),
        pytest.param(
            [prepare_transfer(recipient="0")],
            local(SENDER_ID),
            needs(accounts={SENDER}, coordinator_keys=REQUEST),
            id="preparing: nobody has to be asked about the root",
        ),
        pytest.param(
            [prepare_transfer(recipient="+5")],
            local(SENDER_ID),
            needs(accounts={SENDER}, coordinator_keys=REQUEST),
            id="preparing: nobody can be asked about no identifier",
        ),
        pytest.param(
            [prepare_transfer(coordinator_type="agent")],
            local(SENDER_ID),
            needs(accounts={SENDER}, coordinator_keys=AGENT_REQUEST),
            id="preparing: nobody has to be asked for agents",
        ),
        pytest.param(
            [finalize_transfer(prepared_transfer())],
            everywhere,
            needs(accounts={SENDER}, transfers={(*SENDER, 77)}),
            id="finalizing: the sender and the transfer",
        ),
        pytest.param(
            [pending_balance_change(change_id=4)],
            everywhere,
            needs(accounts={RECIPIENT}, changes={(DEBTOR_ID, SENDER_ID, 4): NOW}),
            id="receiving: the account and the change",
        ),
        pytest.param(
            [pending_balance_change(committed_at=EPOCH - DAY)],
            everywhere,
            needs(),
            id="receiving: nothing for a change that is forgotten",
        ),
        pytest.param(
            [
                prepare_transfer(),
                prepare_transfer(),
                prepare_transfer(recipient=str(STRANGER_ID)),
                finalize_transfer(prepared_transfer(creditor_id=RECIPIENT_ID)),
                pending_balance_change(creditor_id=SENDER_ID, other_creditor_id=STRANGER_ID),
            ],
            local(SENDER_ID, RECIPIENT_ID),
            needs(
                accounts={SENDER, RECIPIENT},
                coordinator_keys=REQUEST,
                recipients={RECIPIENT},
                foreign_recipients={STRANGER},
                transfers={(*RECIPIENT, 77)},
                changes={(DEBTOR_ID, STRANGER_ID, 1): NOW},
            ),
            id="all together",
        ),
    ],
)
def test_a_batch_needs_exactly(commands: list[Command], is_local: Any, expected: Needs) -> None:
    assert needs_of(commands, is_local, Policy()) == expected


def test_there_is_a_rule_for_every_command() -> None:
    assert set(batch._RULES) == {*get_args(Command), *get_args(Chore)}


# -- account updates ------------------------------------------------------------------------------


def test_there_is_one_update_for_an_account_last_and_with_the_final_state() -> None:
    transfer = prepared_transfer(creditor_id=RECIPIENT_ID, recipient_creditor_id=SENDER_ID)
    recipient = locking_account(transfer, principal=500)
    outcome = apply_batch(
        configure_account(seqnum=1),
        pending_balance_change(creditor_id=SENDER_ID, other_creditor_id=STRANGER_ID),
        configure_account(seqnum=2, negligible_amount=3.0),
        finalize_transfer(transfer),
        configure_account(seqnum=3, config_data="not valid"),
        configure_root_account(),
        accounts=[recipient],
        transfers=[transfer],
    )
    updates = events_of(outcome, AccountUpdate)
    assert outcome.events[-2:] == updates
    root, sender = updates
    assert root.creditor_id == 0
    assert (sender.creditor_id, sender.principal, sender.negligible_amount) == (
        SENDER_ID,
        1500,
        3.0,
    )
    assert (sender.last_config_seqnum, sender.last_transfer_number) == (2, 2)
    assert sender.last_change_seqnum == outcome.accounts[SENDER].last_change_seqnum == 4
    assert len(events_of(outcome, RejectedConfig)) == 1


def test_changes_that_are_not_urgent_are_announced_by_an_update_that_is_due_anyway() -> None:
    existing = account()
    outcome = apply_batch(
        configure_account(),
        pending_balance_change(creditor_id=SENDER_ID, other_creditor_id=STRANGER_ID),
        accounts=[existing],
    )
    (update,) = events_of(outcome, AccountUpdate)
    assert update.principal == 1000
    assert existing.update_pending_since is None
    assert existing.last_update_sent_ts == NOW


def test_the_order_of_an_accounts_states_grows_from_update_to_update() -> None:
    """Receivers drop what is not later by creation date, last change, and its number."""
    existing = account(last_change_seqnum=2**31 - 3)
    seen = []
    for number, now in enumerate((NOW, NOW, NOW - DAY, NOW + DAY, NOW + DAY), start=2):
        existing.is_changed = False
        outcome = apply_batch(
            configure_account(ts=NOW, seqnum=number), accounts=[existing], now=now
        )
        (update,) = outcome.events
        assert isinstance(update, AccountUpdate)
        seen.append((update.last_change_ts, update.last_change_seqnum % 2**32))
        assert update.ts >= update.last_change_ts
    assert seen == sorted(set(seen))
    assert len(seen) == 5


# -- order and independence ---------------------------------------------------------------------


def test_commands_are_applied_in_their_order() -> None:
    commands = [
        pending_balance_change(change_id=n, principal_delta=n, creditor_id=SENDER_ID)
        for n in (1, 2)
    ]
    for some in permutations(commands):
        outcome = apply_batch(*some)
        told = [t.acquired_amount for t in events_of(outcome, AccountTransfer)]
        assert told == [command.principal_delta for command in some]


def test_accounts_that_no_command_changes_are_not_written() -> None:
    transfer = prepared_transfer()
    outcome = apply_batch(
        finalize_transfer(transfer, committed_amount=0),
        prepare_transfer(creditor_id=STRANGER_ID, coordinator_id=STRANGER_ID, min_locked_amount=1),
        configure_account(creditor_id=5, ts=EPOCH),
        accounts=[
            locking_account(transfer),
            recipient_account(),
            account(creditor_id=STRANGER_ID),
            account(creditor_id=5),
            root_account(),
        ],
        transfers=[transfer],
    )
    assert [changed.key for changed in outcome.changed_accounts()] == [SENDER]


def test_an_empty_batch_changes_nothing() -> None:
    outcome = apply_batch()
    assert (outcome.events, outcome.journal, outcome.changed_accounts()) == ([], [], [])


# -- defects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        configure_account(),
        prepare_transfer(),
        pending_balance_change(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_row_that_was_not_declared_is_a_defect(command: Command) -> None:
    undeclared = WorkingSet(Needs(), new_changes=[(DEBTOR_ID, SENDER_ID, 1)])
    with pytest.raises(NotRequested):
        apply([command], undeclared, Policy(), NOW)


def test_finalizing_without_the_senders_account_is_a_defect() -> None:
    transfer = prepared_transfer()
    needs = Needs(transfers={transfer.key})
    undeclared = WorkingSet(needs, transfers=[transfer])
    with pytest.raises(NotRequested):
        apply([finalize_transfer(transfer)], undeclared, Policy(), NOW)


def test_a_rule_that_makes_money_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def counterfeit(command: Any, rows: WorkingSet, _policy: Policy, _now: Any) -> None:
        rows.accounts[command.debtor_id, command.creditor_id].principal += 1

    command = prepare_transfer()
    monkeypatch.setitem(batch._RULES, type(command), counterfeit)
    rows = working_set([command], accounts=[account(), recipient_account()])
    with pytest.raises(BooksDoNotBalance, match=str(SENDER_ID)):
        apply([command], rows, Policy(), NOW)
