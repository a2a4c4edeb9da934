"""What can be asked of the ledger. A decoded message is such a value, with no copying."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from swpt_accounts.ledger.values import MAX_INT32, MAX_INT64, MIN_INT32, MIN_INT64

Int64 = Annotated[int, Meta(ge=MIN_INT64, le=MAX_INT64)]
Int32 = Annotated[int, Meta(ge=MIN_INT32, le=MAX_INT32)]
Amount = Annotated[int, Meta(ge=0, le=MAX_INT64)]
Moment = Annotated[datetime, Meta(tz=True)]
CoordinatorType = Annotated[str, Meta(min_length=1, max_length=30)]
TransferNote = Annotated[str, Meta(max_length=500)]
TransferNoteFormat = Annotated[str, Meta(max_length=8)]


class ConfigureAccount(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Create an account, or change its configuration (protocol.rst, ConfigureAccount)."""

    debtor_id: Int64
    creditor_id: Int64
    negligible_amount: Annotated[float, Meta(ge=0.0)]
    config_flags: Int32
    config_data: Annotated[str, Meta(max_length=2000)]
    ts: Moment
    seqnum: Int32


class PrepareTransfer(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Lock an amount, to be transferred later (protocol.rst, PrepareTransfer)."""

    debtor_id: Int64
    creditor_id: Int64
    coordinator_type: CoordinatorType
    coordinator_id: Int64
    coordinator_request_id: Int64
    min_locked_amount: Amount
    max_locked_amount: Amount
    recipient: Annotated[str, Meta(max_length=100)]
    final_interest_rate_ts: Moment
    max_commit_delay: Annotated[int, Meta(ge=0, le=MAX_INT32)]
    ts: Moment


class FinalizeTransfer(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Commit or dismiss a prepared transfer (protocol.rst, FinalizeTransfer)."""

    debtor_id: Int64
    creditor_id: Int64
    transfer_id: Int64
    coordinator_type: CoordinatorType
    coordinator_id: Int64
    coordinator_request_id: Int64
    committed_amount: Amount
    transfer_note: TransferNote
    transfer_note_format: TransferNoteFormat
    ts: Moment


class PendingBalanceChange(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Apply the other half of a transfer that another shard has committed.

    `creditor_id` names the account to change, `other_creditor_id` the party
    whose shard sent this (protocol.rst, PendingBalanceChange). It is also the
    event by which this shard asks the same of others.
    """

    debtor_id: Int64
    creditor_id: Int64
    change_id: Int64
    coordinator_type: CoordinatorType
    transfer_note_format: TransferNoteFormat
    transfer_note: TransferNote
    committed_at: Moment
    principal_delta: Annotated[int, Meta(ge=-MAX_INT64, le=MAX_INT64)]
    other_creditor_id: Int64


Command = ConfigureAccount | PrepareTransfer | FinalizeTransfer | PendingBalanceChange
