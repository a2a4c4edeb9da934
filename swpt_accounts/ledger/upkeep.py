"""What time alone makes due (protocol.rst, Periodic work).

Each condition exists once. A scan asks all of them about every row it reads,
without locks, and sends a chore for what is due; the chore's rule asks the
same condition again about the locked row.
"""

from datetime import datetime, timedelta
from typing import Final

from swpt_accounts.ledger.account import Account
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
from swpt_accounts.ledger.interest import contain_rate
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.root_config import DebtorInfo, RootConfig
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import CONFIG_SCHEDULED_FOR_DELETION, AccountKey

CREATION_DATE_AGE_MIN: Final = timedelta(days=3)
"""An account is not purged sooner, so that one created anew has a later date in every time zone."""


def chores_for_account(
    account: Account, currency: RootConfig | None, policy: Policy, now: datetime
) -> list[Chore]:
    """Return what is due on an account; `currency` is None when it is not known."""
    key = account.key
    if account.is_deleted:
        return [PurgeAccount(*key)] if is_purge_due(account, policy, now) else []
    chores: list[Chore] = []
    if is_deletion_attempt_due(account, policy, now):
        chores.append(TryToDeleteAccount(*key))
    if currency is not None:
        if is_rate_change_due(account, currency.rate, policy, now):
            chores.append(_rate_chore(key, currency, now))
        if is_info_change_due(account, currency.info):
            chores.append(_info_chore(key, currency, now))
    if is_capitalization_due(account, policy, now):
        chores.append(CapitalizeInterest(*key))
    if is_update_due(account, policy, now):
        chores.append(SendAccountUpdate(*key))
    return chores


def chores_for_currency(key: AccountKey, currency: RootConfig, now: datetime) -> list[Chore]:
    """Return what is due if the account does not follow its currency yet."""
    return [_rate_chore(key, currency, now), _info_chore(key, currency, now)]


def _rate_chore(key: AccountKey, currency: RootConfig, now: datetime) -> ChangeInterestRate:
    return ChangeInterestRate(*key, contain_rate(currency.rate), now)


def _info_chore(key: AccountKey, currency: RootConfig, now: datetime) -> UpdateDebtorInfo:
    info = currency.info
    sha256 = info.sha256.hex().upper()
    return UpdateDebtorInfo(*key, info.iri, info.content_type, sha256, now)


def chores_for_transfer(transfer: PreparedTransfer, policy: Policy, now: datetime) -> list[Chore]:
    """Return what is due about a prepared transfer."""
    return [RemindOfTransfer(*transfer.key)] if is_reminder_due(transfer, policy, now) else []


def is_update_due(account: Account, policy: Policy, now: datetime) -> bool:
    """Tell whether the account has to be announced: it has changed, or it is time for a heartbeat.

    What has changed first has waited for the longest; later changes are told
    together with it (protocol.rst, AccountUpdate).
    """
    if account.is_deleted:
        return False
    pending_since = account.update_pending_since
    if pending_since is not None and now - pending_since >= policy.account_update_delay:
        return True
    interval = max(policy.heartbeat_interval, policy.message_delay_max)
    return now - account.last_update_sent_ts >= interval


def is_rate_change_due(account: Account, rate: float, policy: Policy, now: datetime) -> bool:
    """Tell whether the account must get another interest rate, and may."""
    return (
        not (account.is_root or account.is_deleted)
        and contain_rate(rate) != account.interest_rate
        and now - account.last_interest_rate_change_ts >= policy.rate_change_interval_min
    )


def is_info_change_due(account: Account, info: DebtorInfo) -> bool:
    """Tell whether the account's owner has to be told something else about the debtor."""
    return not (account.is_root or account.is_deleted) and info != account.debtor_info


def is_capitalization_due(account: Account, policy: Policy, now: datetime) -> bool:
    """Tell whether the accumulated interest is worth a payment, and it is time for one."""
    if account.is_root or account.is_deleted:
        return False
    if now - account.last_interest_capitalization_ts < policy.capitalization_interval_min:
        return False
    amount = abs(account.payable_interest(now))
    if policy.pays_all_interest:
        return amount > 0
    return amount / (1 + abs(account.principal)) > policy.interest_to_principal_ratio_max


def is_deletion_attempt_due(account: Account, policy: Policy, now: datetime) -> bool:
    """Tell whether the account is scheduled for deletion, and it is time for an attempt."""
    return (
        not account.is_deleted
        and account.config_flags & CONFIG_SCHEDULED_FOR_DELETION != 0
        and now - account.last_deletion_attempt_ts >= policy.deletion_attempts_interval_min
    )


def is_purge_due(account: Account, policy: Policy, now: datetime) -> bool:
    """Tell whether nothing that was meant for the deleted account can come any more."""
    return (
        account.is_deleted
        and now - account.last_change_ts > policy.purge_delay
        and account.creation_date < (now - CREATION_DATE_AGE_MIN).date()
    )


def is_reminder_due(transfer: PreparedTransfer, policy: Policy, now: datetime) -> bool:
    """Tell whether the coordinator has not heard of the transfer for long."""
    latest = transfer.last_reminder_ts or transfer.prepared_at
    return now - latest >= max(policy.reminder_interval, policy.message_delay_max)
