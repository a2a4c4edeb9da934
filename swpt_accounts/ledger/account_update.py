"""How the state of an account is announced."""

from datetime import datetime

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import AccountUpdate
from swpt_accounts.ledger.interest import DEMURRAGE_RATE
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.values import TRANSFER_NOTE_BYTES_MAX


def announce(account: Account, policy: Policy, now: datetime) -> AccountUpdate:
    """Return the account's AccountUpdate, and note on the account that it is being sent."""
    account.update_pending_since = None
    account.is_update_due = False
    account.last_update_sent_ts = max(now, account.last_update_sent_ts)
    account.is_changed = True
    return AccountUpdate(
        debtor_id=account.debtor_id,
        creditor_id=account.creditor_id,
        creation_date=account.creation_date,
        last_change_ts=account.last_change_ts,
        last_change_seqnum=account.last_change_seqnum,
        principal=account.principal,
        interest=account.interest,
        interest_rate=account.interest_rate,
        last_interest_rate_change_ts=account.last_interest_rate_change_ts,
        last_config_ts=account.last_config_ts,
        last_config_seqnum=account.last_config_seqnum,
        negligible_amount=account.negligible_amount,
        config_flags=account.config_flags,
        config_data=account.config_data,
        account_id=account.account_id,
        debtor_info_iri=account.debtor_info_iri,
        debtor_info_content_type=account.debtor_info_content_type,
        debtor_info_sha256=account.debtor_info_sha256,
        last_transfer_number=account.last_transfer_number,
        last_transfer_committed_at=account.last_transfer_committed_at,
        demurrage_rate=DEMURRAGE_RATE,
        commit_period=policy.commit_period_seconds,
        transfer_note_max_bytes=TRANSFER_NOTE_BYTES_MAX,
        ts=max(now, account.last_change_ts),
        ttl=policy.account_update_ttl_seconds,
    )
