"""What the ledger announces. Field names are the protocol's (protocol.rst, Outgoing messages)."""

from datetime import date, datetime

import msgspec

from swpt_accounts.ledger.commands import PendingBalanceChange


class RejectedConfig(msgspec.Struct, frozen=True, gc=False):
    """A ConfigureAccount was not valid."""

    debtor_id: int
    creditor_id: int
    config_ts: datetime
    config_seqnum: int
    config_flags: int
    negligible_amount: float
    config_data: str
    rejection_code: str
    ts: datetime


class RejectedTransfer(msgspec.Struct, frozen=True, gc=False):
    """A PrepareTransfer was refused."""

    debtor_id: int
    creditor_id: int
    coordinator_type: str
    coordinator_id: int
    coordinator_request_id: int
    status_code: str
    total_locked_amount: int
    ts: datetime


class PreparedTransfer(msgspec.Struct, frozen=True, gc=False):
    """An amount has been locked."""

    debtor_id: int
    creditor_id: int
    transfer_id: int
    coordinator_type: str
    coordinator_id: int
    coordinator_request_id: int
    locked_amount: int
    recipient: str
    prepared_at: datetime
    demurrage_rate: float
    deadline: datetime
    final_interest_rate_ts: datetime
    ts: datetime


class FinalizedTransfer(msgspec.Struct, frozen=True, gc=False):
    """A prepared transfer has been committed, dismissed, or could not be committed."""

    debtor_id: int
    creditor_id: int
    transfer_id: int
    coordinator_type: str
    coordinator_id: int
    coordinator_request_id: int
    committed_amount: int
    status_code: str
    total_locked_amount: int
    prepared_at: datetime
    ts: datetime


class AccountUpdate(msgspec.Struct, frozen=True, gc=False):
    """The state of an account."""

    debtor_id: int
    creditor_id: int
    creation_date: date
    last_change_ts: datetime
    last_change_seqnum: int
    principal: int
    interest: float
    interest_rate: float
    last_interest_rate_change_ts: datetime
    last_config_ts: datetime
    last_config_seqnum: int
    negligible_amount: float
    config_flags: int
    config_data: str
    account_id: str
    debtor_info_iri: str
    debtor_info_content_type: str
    debtor_info_sha256: bytes
    last_transfer_number: int
    last_transfer_committed_at: datetime
    demurrage_rate: float
    commit_period: int
    transfer_note_max_bytes: int
    ts: datetime
    ttl: int


class AccountPurge(msgspec.Struct, frozen=True, gc=False):
    """An account has been removed."""

    debtor_id: int
    creditor_id: int
    creation_date: date
    ts: datetime


class AccountTransfer(msgspec.Struct, frozen=True, gc=False):
    """A committed transfer has changed an account's principal."""

    debtor_id: int
    creditor_id: int
    creation_date: date
    transfer_number: int
    coordinator_type: str
    sender: str
    recipient: str
    acquired_amount: int
    transfer_note: str
    transfer_note_format: str
    committed_at: datetime
    principal: int
    previous_transfer_number: int
    ts: datetime


Event = (
    RejectedConfig
    | RejectedTransfer
    | PreparedTransfer
    | FinalizedTransfer
    | AccountUpdate
    | AccountPurge
    | AccountTransfer
    | PendingBalanceChange
)
