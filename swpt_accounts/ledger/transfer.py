"""A prepared transfer: what is locked, until when, and the verdict when it is finalized."""

from datetime import datetime, timedelta

import msgspec

from swpt_accounts.ledger import interest
from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.events import PreparedTransfer as PreparedTransferEvent
from swpt_accounts.ledger.values import (
    END_OF_TIME,
    CoordinatorKey,
    Status,
    TransferKey,
    account_id,
)


class PreparedTransfer(msgspec.Struct, frozen=True, gc=False):
    """An amount locked on the account (debtor_id, creditor_id) for a transfer to the recipient."""

    debtor_id: int
    creditor_id: int
    transfer_id: int
    coordinator_type: str
    coordinator_id: int
    coordinator_request_id: int
    locked_amount: int
    recipient_creditor_id: int
    prepared_at: datetime
    final_interest_rate_ts: datetime
    demurrage_rate: float
    deadline: datetime
    last_reminder_ts: datetime | None = None

    @property
    def key(self) -> TransferKey:
        """(debtor_id, creditor_id, transfer_id)"""
        return self.debtor_id, self.creditor_id, self.transfer_id

    @property
    def coordinator_key(self) -> CoordinatorKey:
        """What the transfer is called by its coordinator."""
        return (
            self.debtor_id,
            self.creditor_id,
            self.coordinator_type,
            self.coordinator_id,
            self.coordinator_request_id,
        )

    def announcement(self, now: datetime) -> PreparedTransferEvent:
        """Return the message that tells the coordinator about the transfer, also repeatedly."""
        return PreparedTransferEvent(
            debtor_id=self.debtor_id,
            creditor_id=self.creditor_id,
            transfer_id=self.transfer_id,
            coordinator_type=self.coordinator_type,
            coordinator_id=self.coordinator_id,
            coordinator_request_id=self.coordinator_request_id,
            locked_amount=self.locked_amount,
            recipient=account_id(self.recipient_creditor_id),
            prepared_at=self.prepared_at,
            demurrage_rate=self.demurrage_rate,
            deadline=self.deadline,
            final_interest_rate_ts=self.final_interest_rate_ts,
            ts=max(now, self.prepared_at),
        )

    def verdict(self, sender: Account, committed_amount: int, now: datetime) -> str:
        """Decide what finalizing with `committed_amount` comes to: a status code.

        The sender's account must still hold the lock. Dismissals are always
        OK; the causes of a failed commit have the order of precedence given in
        protocol.rst, FinalizeTransfer.
        """
        if committed_amount == 0:
            return Status.OK
        if now > self.deadline:
            return Status.TIMEOUT
        if sender.last_interest_rate_change_ts > self.final_interest_rate_ts:
            return Status.NEWER_INTEREST_RATE
        spendable = (
            sender.whole_balance(now)
            - sender.total_locked_amount
            + self.locked_amount
            - sender.lowest_balance
        )
        # Either of the two suffices; the first one is reckoned faster, and nearly always enough.
        if committed_amount <= spendable or committed_amount <= self._secured_amount(sender, now):
            return Status.OK
        return Status.INSUFFICIENT_AVAILABLE_AMOUNT

    def _secured_amount(self, sender: Account, now: datetime) -> int:
        """What the lock alone guarantees, whatever has become of the balance meanwhile."""
        if sender.is_root:
            return self.locked_amount
        return interest.worst_remainder(self.locked_amount, now - self.prepared_at)


def deadline_of(
    ts: datetime, max_commit_delay_seconds: int, now: datetime, commit_period: timedelta
) -> datetime:
    """Return the moment until which a new transfer can be committed."""
    return min(_later(now, commit_period), _later(ts, timedelta(seconds=max_commit_delay_seconds)))


def _later(moment: datetime, period: timedelta) -> datetime:
    return moment + period if END_OF_TIME - moment > period else END_OF_TIME
