"""What a scan can ask of the ledger, when time alone has made it due.

A chore is a hint. Whoever applies it looks again, with the rows locked, at
whether the thing is still due, so that a chore may come late, twice, or not at
all: the next scan sends another one.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from swpt_accounts.ledger.commands import Int64, Moment
from swpt_accounts.ledger.root_config import CONTENT_TYPE_LENGTH_MAX, IRI_LENGTH_MAX

SHA256_PATTERN: Final = r"\A([0-9A-Fa-f]{64})?\Z"


class SendAccountUpdate(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Announce the account: it has changed, or is due a heartbeat (protocol.rst, Heartbeats)."""

    debtor_id: Int64
    creditor_id: Int64


class ChangeInterestRate(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Set the currency's interest rate (protocol.rst, Interest rate changes).

    `ts` is the moment at which the rate was found out.
    """

    debtor_id: Int64
    creditor_id: Int64
    interest_rate: float
    ts: Moment


class UpdateDebtorInfo(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Set what the account's owner is told about the debtor; empty texts stand for nothing.

    `debtor_info_sha256` is in Base16, `ts` the moment at which the info was found out.
    """

    debtor_id: Int64
    creditor_id: Int64
    debtor_info_iri: Annotated[str, Meta(max_length=IRI_LENGTH_MAX)]
    debtor_info_content_type: Annotated[str, Meta(max_length=CONTENT_TYPE_LENGTH_MAX)]
    debtor_info_sha256: Annotated[str, Meta(pattern=SHA256_PATTERN)]
    ts: Moment


class CapitalizeInterest(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Add the accumulated interest to the principal (protocol.rst, Interest payments)."""

    debtor_id: Int64
    creditor_id: Int64


class TryToDeleteAccount(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Delete an account that is scheduled for deletion, if it can be (protocol.rst, Deletion)."""

    debtor_id: Int64
    creditor_id: Int64


class PurgeAccount(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Forget an account that was deleted long ago (protocol.rst, Purge)."""

    debtor_id: Int64
    creditor_id: Int64


class RemindOfTransfer(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Tell the coordinator again about a prepared transfer (protocol.rst, Reminders)."""

    debtor_id: Int64
    creditor_id: Int64
    transfer_id: Int64


Chore = (
    SendAccountUpdate
    | ChangeInterestRate
    | UpdateDebtorInfo
    | CapitalizeInterest
    | TryToDeleteAccount
    | PurgeAccount
    | RemindOfTransfer
)
