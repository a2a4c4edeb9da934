"""How an account follows its currency: the interest rate, and what its owner is told."""

from datetime import datetime, timedelta
from typing import Final

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.chores import ChangeInterestRate, UpdateDebtorInfo
from swpt_accounts.ledger.interest import contain_rate
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DebtorInfo, RootConfig
from swpt_accounts.ledger.upkeep import is_info_change_due, is_rate_change_due
from swpt_accounts.ledger.working_set import WorkingSet

CHORE_AGE_MAX: Final = timedelta(days=1)
"""What was found out longer ago may have changed since; the next scan finds it out again."""


def follow_currency(account: Account, currency: RootConfig, policy: Policy, now: datetime) -> None:
    """Give the account its currency's interest rate and debtor info."""
    follow_rate(account, currency.rate, policy, now)
    follow_info(account, currency.info, now)


def follow_rate(account: Account, rate: float, policy: Policy, now: datetime) -> None:
    """Give the account this interest rate, if its rate may change now."""
    if is_rate_change_due(account, rate, policy, now):
        account.set_interest_rate(contain_rate(rate), now)


def follow_info(account: Account, info: DebtorInfo, now: datetime) -> None:
    """Tell this about the debtor from now on."""
    if is_info_change_due(account, info):
        account.set_debtor_info(info, now)


def change_interest_rate(
    command: ChangeInterestRate, working_set: WorkingSet, policy: Policy, now: datetime
) -> None:
    """Apply a chore that a change of the currency's rate has made due."""
    account = working_set.live_account((command.debtor_id, command.creditor_id))
    if account is not None and now - command.ts <= CHORE_AGE_MAX:
        follow_rate(account, command.interest_rate, policy, now)


def update_debtor_info(
    command: UpdateDebtorInfo, working_set: WorkingSet, _policy: Policy, now: datetime
) -> None:
    """Apply a chore that a change of the currency's debtor info has made due."""
    account = working_set.live_account((command.debtor_id, command.creditor_id))
    if account is not None and now - command.ts <= CHORE_AGE_MAX:
        info = DebtorInfo(
            command.debtor_info_iri,
            command.debtor_info_content_type,
            bytes.fromhex(command.debtor_info_sha256),
        )
        follow_info(account, info, now)
