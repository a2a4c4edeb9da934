"""ConfigureAccount: create an account, or change its configuration."""

from datetime import datetime

from swpt_accounts.ledger import root_config
from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import ConfigureAccount
from swpt_accounts.ledger.currency import follow_currency
from swpt_accounts.ledger.events import RejectedConfig
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import (
    INVALID_CONFIGURATION,
    ROOT_CREDITOR_ID,
    is_later_seqnum,
)
from swpt_accounts.ledger.working_set import WorkingSet


def configure(
    command: ConfigureAccount, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Apply the configuration, reject it, or ignore it as old (protocol.rst, ConfigureAccount)."""
    key = command.debtor_id, command.creditor_id
    account = working_set.account(key)
    if account is None:
        if now - command.ts > policy.message_delay_max:
            return
    elif not _is_later(command, account):
        return
    if not _is_valid(command):
        _reject(command, working_set, now)
        return

    needs_initialization = account is None or account.is_deleted
    account = working_set.live_or_new_account(key, now)
    account.config_flags = command.config_flags
    account.config_data = command.config_data
    account.negligible_amount = command.negligible_amount
    account.last_config_ts = command.ts
    account.last_config_seqnum = command.seqnum
    account.accrue(now)
    account.is_update_due = True
    if needs_initialization and not account.is_root:
        _initialize(account, working_set, policy, now)


def _is_later(command: ConfigureAccount, account: Account) -> bool:
    if command.ts != account.last_config_ts:
        return command.ts > account.last_config_ts
    return is_later_seqnum(command.seqnum, account.last_config_seqnum)


def _is_valid(command: ConfigureAccount) -> bool:
    if command.config_data == "":
        return True
    return (
        command.creditor_id == ROOT_CREDITOR_ID
        and root_config.parse(command.config_data) is not None
    )


def _reject(command: ConfigureAccount, working_set: WorkingSet, now: datetime) -> None:
    working_set.events.append(
        RejectedConfig(
            debtor_id=command.debtor_id,
            creditor_id=command.creditor_id,
            config_ts=command.ts,
            config_seqnum=command.seqnum,
            config_flags=command.config_flags,
            negligible_amount=command.negligible_amount,
            config_data=command.config_data,
            rejection_code=INVALID_CONFIGURATION,
            ts=now,
        )
    )


def _initialize(account: Account, working_set: WorkingSet, policy: Policy, now: datetime) -> None:
    """Give the account its currency's interest rate and debtor info, as far as they are known.

    This belongs to the transaction that creates the account, so that no crash
    can come between. What is not known now is set by the accounts scan.
    """
    config_data = working_set.root_config_data(account.debtor_id)
    currency = None if config_data is None else root_config.parse(config_data)
    if currency is not None:
        follow_currency(account, currency, policy, now)
