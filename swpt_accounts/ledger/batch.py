"""The way in: which rows a batch of commands may touch, and what becomes of them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from swpt_accounts.ledger.account_update import announce
from swpt_accounts.ledger.capitalize import capitalize
from swpt_accounts.ledger.chores import (
    CapitalizeInterest,
    ChangeInterestRate,
    Chore,
    PurgeAccount,
    RemindOfTransfer,
    SendAccountUpdate,
    TryToDeleteAccount,
    UpdateDebtorInfo,
)
from swpt_accounts.ledger.commands import (
    Command,
    ConfigureAccount,
    FinalizeTransfer,
    PendingBalanceChange,
    PrepareTransfer,
)
from swpt_accounts.ledger.configure import configure
from swpt_accounts.ledger.currency import change_interest_rate, update_debtor_info
from swpt_accounts.ledger.delete import purge, try_to_delete
from swpt_accounts.ledger.finalize import finalize
from swpt_accounts.ledger.journal import prove_balanced
from swpt_accounts.ledger.needs import Needs
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.prepare import prepare, recipient_to_verify
from swpt_accounts.ledger.receive import is_forgotten, receive
from swpt_accounts.ledger.remind import remind_of_transfer, send_account_update
from swpt_accounts.ledger.values import ROOT_CREDITOR_ID
from swpt_accounts.ledger.working_set import WorkingSet

IsLocal = Callable[[int, int], bool]


def needs_of(commands: Iterable[Command | Chore], is_local: IsLocal, policy: Policy) -> Needs:
    """Return what the commands have to know; `is_local` tells which accounts are the shard's."""
    needs = Needs()
    for command in commands:
        match command:
            case PrepareTransfer():
                _need_for_preparing(needs, command, is_local)
            case FinalizeTransfer(debtor_id=debtor_id, creditor_id=creditor_id):
                needs.accounts.add((debtor_id, creditor_id))
                needs.transfers.add((debtor_id, creditor_id, command.transfer_id))
            case ConfigureAccount(debtor_id=debtor_id, creditor_id=creditor_id):
                needs.accounts.add((debtor_id, creditor_id))
                if creditor_id != ROOT_CREDITOR_ID:
                    local = is_local(debtor_id, ROOT_CREDITOR_ID)
                    (needs.currencies if local else needs.foreign_currencies).add(debtor_id)
            case PendingBalanceChange(debtor_id=debtor_id):
                if not is_forgotten(command, policy):
                    needs.accounts.add((debtor_id, command.creditor_id))
                    key = debtor_id, command.other_creditor_id, command.change_id
                    needs.changes[key] = command.committed_at
            case RemindOfTransfer(debtor_id=debtor_id, creditor_id=creditor_id):
                needs.reminders.add((debtor_id, creditor_id, command.transfer_id))
            case _:
                _need_for_upkeep(needs, command, is_local)
    return needs


def _need_for_upkeep(needs: Needs, chore: Chore, is_local: IsLocal) -> None:
    needs.accounts.add((chore.debtor_id, chore.creditor_id))
    if isinstance(chore, CapitalizeInterest | TryToDeleteAccount):
        needs.own_movements_count += 1
        root = chore.debtor_id, ROOT_CREDITOR_ID
        if is_local(*root):
            needs.accounts.add(root)


def _need_for_preparing(needs: Needs, command: PrepareTransfer, is_local: IsLocal) -> None:
    sender = command.debtor_id, command.creditor_id
    needs.accounts.add(sender)
    needs.coordinator_keys.add(
        (
            *sender,
            command.coordinator_type,
            command.coordinator_id,
            command.coordinator_request_id,
        )
    )
    recipient = recipient_to_verify(command)
    if recipient is not None:
        local = is_local(*recipient)
        (needs.recipients if local else needs.foreign_recipients).add(recipient)


_RULES: dict[type, Callable[[Any, WorkingSet, Policy, datetime], None]] = {
    ConfigureAccount: configure,
    PrepareTransfer: prepare,
    FinalizeTransfer: finalize,
    PendingBalanceChange: receive,
    SendAccountUpdate: send_account_update,
    ChangeInterestRate: change_interest_rate,
    UpdateDebtorInfo: update_debtor_info,
    CapitalizeInterest: capitalize,
    TryToDeleteAccount: try_to_delete,
    PurgeAccount: purge,
    RemindOfTransfer: remind_of_transfer,
}


def apply(
    commands: Sequence[Command | Chore], working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Apply the commands, in their order, to the working set.

    The working set then holds what has to be written: changed accounts,
    prepared and removed transfers, journal entries, and the events, with at
    most one AccountUpdate for each account, last. Raises `BooksDoNotBalance`
    when the outcome would create or destroy money.
    """
    for command in commands:
        _RULES[type(command)](command, working_set, policy, now)
    working_set.events.extend(
        announce(account, policy, now)
        for account in working_set.changed_accounts()
        if account.is_update_due
    )
    prove_balanced(
        working_set.journal,
        before=working_set.before,
        accounts=working_set.accounts,
        received=working_set.received,
        sent=working_set.sent,
        purged=working_set.purged,
    )
