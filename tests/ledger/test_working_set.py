"""A working set knows what was asked for: "absent" and "forgotten to load" are never confused."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.facts import Facts
from swpt_accounts.ledger.journal import Position
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.working_set import NotRequested, WorkingSet
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    account,
    pending_balance_change,
    prepared_transfer,
    recipient_account,
    root_account,
)

TRANSFER = prepared_transfer()
ASKED = Needs(currencies={DEBTOR_ID}, foreign_currencies={DEBTOR_ID})
SENDER, RECIPIENT, ROOT = (DEBTOR_ID, SENDER_ID), (DEBTOR_ID, RECIPIENT_ID), (DEBTOR_ID, 0)


def needs_for(transfer: PreparedTransfer) -> Needs:
    return Needs(transfers={transfer.key}, coordinator_keys={transfer.coordinator_key})


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda rows: rows.account(RECIPIENT), id="an account"),
        pytest.param(lambda rows: rows.live_account(RECIPIENT), id="a live account"),
        pytest.param(lambda rows: rows.live_or_new_account(RECIPIENT, NOW), id="a new account"),
        pytest.param(lambda rows: rows.accepts_transfers(RECIPIENT), id="a recipient"),
        pytest.param(lambda rows: rows.next_change_id(), id="a change id"),
        pytest.param(lambda rows: rows.transfer(TRANSFER.key), id="a prepared transfer"),
        pytest.param(
            lambda rows: rows.transfer_of_coordinator(TRANSFER.coordinator_key),
            id="a coordinator's request",
        ),
        pytest.param(lambda rows: rows.take_change(pending_balance_change()), id="a change"),
        pytest.param(lambda rows: rows.root_config_data(DEBTOR_ID), id="a currency"),
    ],
)
def test_what_was_not_requested_is_a_defect(ask: Callable[[WorkingSet], Any]) -> None:
    with pytest.raises(NotRequested):
        ask(WorkingSet(Needs(), requested_accounts=[SENDER], accounts=[account()]))


def test_a_requested_account_may_be_absent() -> None:
    rows = WorkingSet(Needs(), requested_accounts=[SENDER])
    assert rows.account(SENDER) is None
    assert rows.live_account(SENDER) is None
    assert not rows.accepts_transfers(SENDER)


def test_a_deleted_account_is_not_live() -> None:
    deleted = account(is_deleted=True)
    rows = WorkingSet(Needs(), requested_accounts=[SENDER], accounts=[deleted])
    assert rows.account(SENDER) is deleted
    assert rows.live_account(SENDER) is None


def test_an_account_is_created_once() -> None:
    rows = WorkingSet(Needs(), requested_accounts=[SENDER])
    created = rows.live_or_new_account(SENDER, NOW)
    assert created.is_created
    assert rows.live_or_new_account(SENDER, NOW) is created
    assert rows.changed_accounts() == [created]


def test_changed_accounts_are_written_in_key_order() -> None:
    """Every process locks in the same order, so that none waits in a circle."""
    accounts = [
        account(debtor_id=debtor_id, creditor_id=creditor_id, is_changed=is_changed)
        for debtor_id, creditor_id, is_changed in [
            (5, -1, True),
            (-5, 9, True),
            (5, -2, True),
            (-5, 3, False),
            (-5, 0, True),
        ]
    ]
    rows = WorkingSet(Needs(), requested_accounts=[a.key for a in accounts], accounts=accounts)
    assert [a.key for a in rows.changed_accounts()] == [(-5, 0), (-5, 9), (5, -2), (5, -1)]


@pytest.mark.parametrize("answer", [True, False])
def test_what_was_read_or_told_about_a_recipient_is_believed(answer: bool) -> None:
    read = WorkingSet(Needs(), reachable={RECIPIENT: answer})
    told = WorkingSet(Needs(), facts=Facts(reachable={RECIPIENT: answer}))
    assert read.accepts_transfers(RECIPIENT) is told.accepts_transfers(RECIPIENT) is answer


def test_a_locked_recipient_is_believed_more_than_what_was_read_about_it() -> None:
    rows = WorkingSet(
        Needs(),
        requested_accounts=[RECIPIENT],
        accounts=[recipient_account(config_flags=1)],
        reachable={RECIPIENT: True},
        facts=Facts(reachable={RECIPIENT: True}),
    )
    assert not rows.accepts_transfers(RECIPIENT)


@pytest.mark.parametrize(
    ("rows", "config_data"),
    [
        pytest.param(WorkingSet(ASKED), None, id="nobody knows"),
        pytest.param(
            WorkingSet(
                Needs(),
                requested_accounts=[ROOT],
                accounts=[root_account(config_data="locked")],
                root_config_data={DEBTOR_ID: "read"},
            ),
            "locked",
            id="the locked account",
        ),
        pytest.param(
            WorkingSet(
                ASKED,
                root_config_data={DEBTOR_ID: "read"},
                facts=Facts(root_config_data={DEBTOR_ID: "told"}),
            ),
            "read",
            id="what was read",
        ),
        pytest.param(
            WorkingSet(ASKED, facts=Facts(root_config_data={DEBTOR_ID: "told"})),
            "told",
            id="what another shard has told",
        ),
        pytest.param(
            WorkingSet(ASKED, facts=Facts(root_config_data={DEBTOR_ID: ""})),
            "",
            id="an empty document",
        ),
        pytest.param(
            WorkingSet(ASKED, facts=Facts(root_config_data={DEBTOR_ID: None})),
            None,
            id="no account",
        ),
    ],
)
def test_where_a_currencys_configuration_comes_from(
    rows: WorkingSet, config_data: str | None
) -> None:
    assert rows.root_config_data(DEBTOR_ID) == config_data


def test_transfers_are_found_by_both_of_their_keys_until_they_are_removed() -> None:
    transfer = prepared_transfer()
    rows = WorkingSet(needs_for(transfer), transfers=[transfer])
    assert rows.transfer(transfer.key) is transfer
    assert rows.transfer_of_coordinator(transfer.coordinator_key) is transfer
    rows.remove_transfer(transfer)
    assert rows.transfer(transfer.key) is None
    assert rows.transfer_of_coordinator(transfer.coordinator_key) is None
    assert rows.removed == [transfer.key]


def test_a_transfer_loaded_for_both_reasons_is_removed_for_both() -> None:
    transfer = prepared_transfer()
    rows = WorkingSet(needs_for(transfer), transfers=[transfer], repeated_transfers=[transfer])
    rows.remove_transfer(transfer)
    assert rows.transfer_of_coordinator(transfer.coordinator_key) is None


def test_a_transfer_of_the_same_batch_answers_repetitions_but_cannot_be_finalized() -> None:
    """Nobody has been told about it yet, so nobody can have meant it."""
    transfer = prepared_transfer()
    rows = WorkingSet(needs_for(transfer))
    rows.add_transfer(transfer)
    assert rows.transfer_of_coordinator(transfer.coordinator_key) is transfer
    assert rows.transfer(transfer.key) is None


def test_a_transfer_can_be_asked_for_only_to_remind_of_it() -> None:
    transfer = prepared_transfer()
    rows = WorkingSet(Needs(reminders={transfer.key}), transfers=[transfer])
    assert rows.transfer(transfer.key) is transfer


def test_a_reminder_is_noted_on_the_transfer() -> None:
    transfer = prepared_transfer()
    rows = WorkingSet(Needs(reminders={transfer.key}), transfers=[transfer])
    rows.note_reminder(transfer, NOW)
    reminded = rows.transfer(transfer.key)
    assert reminded == msgspec.structs.replace(transfer, last_reminder_ts=NOW)
    assert rows.reminded == {transfer.key: reminded}
    assert transfer.last_reminder_ts is None
    assert (rows.prepared, rows.removed) == ({}, [])


def test_a_purged_account_is_no_longer_there_and_not_written() -> None:
    forgotten = account(is_deleted=True, is_changed=True, last_journal_number=3)
    rows = WorkingSet(Needs(), requested_accounts=[SENDER], accounts=[forgotten])
    rows.purge_account(forgotten)
    assert rows.account(SENDER) is None
    assert rows.changed_accounts() == []
    assert rows.before == {}
    assert rows.purged == {SENDER: Position(3, 0)}


def test_a_purged_account_can_be_created_anew() -> None:
    forgotten = account(is_deleted=True)
    rows = WorkingSet(Needs(), requested_accounts=[SENDER], accounts=[forgotten])
    rows.purge_account(forgotten)
    created = rows.live_or_new_account(SENDER, NOW)
    assert created is not forgotten
    assert rows.changed_accounts() == [created]
    assert rows.purged.keys() == {SENDER}


def test_a_change_can_be_taken_once_and_only_if_it_is_new() -> None:
    new, old = pending_balance_change(change_id=1), pending_balance_change(change_id=2)
    needs = Needs(changes={(DEBTOR_ID, SENDER_ID, number): NOW for number in (1, 2)})
    rows = WorkingSet(needs, new_changes=[(DEBTOR_ID, SENDER_ID, 1)])
    assert rows.take_change(new)
    assert not rows.take_change(new)
    assert not rows.take_change(old)
    assert rows.received == [new]


def test_change_ids_are_given_out_once_and_then_there_are_none() -> None:
    rows = WorkingSet(Needs(), change_ids=[8, 5])
    assert [rows.next_change_id(), rows.next_change_id()] == [8, 5]
    with pytest.raises(NotRequested):
        rows.next_change_id()


def test_a_change_to_another_shard_is_an_event() -> None:
    change = pending_balance_change()
    rows = WorkingSet(Needs())
    rows.send_change(change)
    assert rows.sent == rows.events == [change]
