"""Sensible commands, chores, accounts, transfers, events, and batches.

Each function returns something ordinary; a test names only the fields that it
is about. Ids are such that sender and recipient belong to one creditors
agent, and the stranger to another one. All accounts have the same debtor.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from swpt_accounts.ledger import events
from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.batch import apply, needs_of
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
from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.interest import DEMURRAGE_RATE
from swpt_accounts.ledger.policy import Policy
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import EPOCH, ROOT_CREDITOR_ID, ChangeKey, account_id
from swpt_accounts.ledger.working_set import WorkingSet

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FAR_FUTURE = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

DEBTOR_ID = 0x1234ABCD00000001
SENDER_ID = 0x0000020100000001
RECIPIENT_ID = 0x0000020100000002
STRANGER_ID = 0x0000030100000001
AGENT_COORDINATOR_ID = 0x0000020000000007

FIRST_CHANGE_ID = 1001

T = TypeVar("T")


def _made(kind: Callable[..., T], defaults: dict[str, Any], fields: dict[str, Any]) -> T:
    return kind(**{**defaults, **fields})


# -- commands ------------------------------------------------------------


def configure_account(**fields: Any) -> ConfigureAccount:
    """Return a command that opens the sender's account."""
    defaults = {
        "debtor_id": DEBTOR_ID,
        "creditor_id": SENDER_ID,
        "negligible_amount": 0.0,
        "config_flags": 0,
        "config_data": "",
        "ts": NOW,
        "seqnum": 1,
    }
    return _made(ConfigureAccount, defaults, fields)


def configure_root_account(**fields: Any) -> ConfigureAccount:
    """Return a command that sets up the currency, with room to issue a lot."""
    return configure_account(
        **{"creditor_id": ROOT_CREDITOR_ID, "negligible_amount": 1e12, **fields}
    )


def prepare_transfer(**fields: Any) -> PrepareTransfer:
    """Return a direct transfer request, which locks nothing unless told otherwise.

    `coordinator_id` follows the coordinator type, where the protocol ties them.
    """
    creditor_id = fields.get("creditor_id", SENDER_ID)
    coordinator_type = fields.get("coordinator_type", "direct")
    defaults = {
        "debtor_id": DEBTOR_ID,
        "creditor_id": creditor_id,
        "coordinator_type": coordinator_type,
        "coordinator_id": {
            "direct": creditor_id,
            "issuing": fields.get("debtor_id", DEBTOR_ID),
        }.get(coordinator_type, AGENT_COORDINATOR_ID),
        "coordinator_request_id": 1,
        "min_locked_amount": 0,
        "max_locked_amount": 0,
        "recipient": account_id(RECIPIENT_ID),
        "final_interest_rate_ts": FAR_FUTURE,
        "max_commit_delay": 2**31 - 1,
        "ts": NOW,
    }
    return _made(PrepareTransfer, defaults, fields)


def finalize_transfer(
    transfer: PreparedTransfer | events.PreparedTransfer, **fields: Any
) -> FinalizeTransfer:
    """Return the command that commits the transfer's locked amount."""
    defaults = {
        "debtor_id": transfer.debtor_id,
        "creditor_id": transfer.creditor_id,
        "transfer_id": transfer.transfer_id,
        "coordinator_type": transfer.coordinator_type,
        "coordinator_id": transfer.coordinator_id,
        "coordinator_request_id": transfer.coordinator_request_id,
        "committed_amount": transfer.locked_amount,
        "transfer_note": "",
        "transfer_note_format": "",
        "ts": NOW,
    }
    return _made(FinalizeTransfer, defaults, fields)


def pending_balance_change(**fields: Any) -> PendingBalanceChange:
    """Return a change that credits the recipient with 1000."""
    defaults = {
        "debtor_id": DEBTOR_ID,
        "creditor_id": RECIPIENT_ID,
        "change_id": 1,
        "coordinator_type": "direct",
        "transfer_note_format": "",
        "transfer_note": "",
        "committed_at": NOW,
        "principal_delta": 1000,
        "other_creditor_id": SENDER_ID,
    }
    return _made(PendingBalanceChange, defaults, fields)


# -- chores --------------------------------------------------------------

_SENDERS_ACCOUNT = {"debtor_id": DEBTOR_ID, "creditor_id": SENDER_ID}


def send_account_update(**fields: Any) -> SendAccountUpdate:
    """Return a chore that has the sender's account announced."""
    return _made(SendAccountUpdate, _SENDERS_ACCOUNT, fields)


def change_interest_rate(**fields: Any) -> ChangeInterestRate:
    """Return a chore that gives the sender's account the rate found out at `NOW`: 5 percent."""
    return _made(ChangeInterestRate, {**_SENDERS_ACCOUNT, "interest_rate": 5.0, "ts": NOW}, fields)


def update_debtor_info(**fields: Any) -> UpdateDebtorInfo:
    """Return a chore that tells the sender what was found out at `NOW` about the debtor."""
    defaults = {
        **_SENDERS_ACCOUNT,
        "debtor_info_iri": "https://example.com/debtor",
        "debtor_info_content_type": "text/html",
        "debtor_info_sha256": bytes(range(32)).hex().upper(),
        "ts": NOW,
    }
    return _made(UpdateDebtorInfo, defaults, fields)


def capitalize_interest(**fields: Any) -> CapitalizeInterest:
    """Return a chore that has the interest on the sender's account paid."""
    return _made(CapitalizeInterest, _SENDERS_ACCOUNT, fields)


def try_to_delete_account(**fields: Any) -> TryToDeleteAccount:
    """Return a chore that has the sender's account deleted, if it can be."""
    return _made(TryToDeleteAccount, _SENDERS_ACCOUNT, fields)


def purge_account(**fields: Any) -> PurgeAccount:
    """Return a chore that has the sender's account forgotten."""
    return _made(PurgeAccount, _SENDERS_ACCOUNT, fields)


def remind_of_transfer(transfer: PreparedTransfer, **fields: Any) -> RemindOfTransfer:
    """Return a chore that has the transfer's coordinator reminded of it."""
    defaults = {
        "debtor_id": transfer.debtor_id,
        "creditor_id": transfer.creditor_id,
        "transfer_id": transfer.transfer_id,
    }
    return _made(RemindOfTransfer, defaults, fields)


def every_chore() -> list[Chore]:
    """Return one chore of each type."""
    return [
        send_account_update(),
        change_interest_rate(),
        update_debtor_info(),
        capitalize_interest(),
        try_to_delete_account(),
        purge_account(),
        remind_of_transfer(prepared_transfer()),
    ]


# -- rows ----------------------------------------------------------------


def account(**fields: Any) -> Account:
    """Return the sender's account as it is loaded: live, untouched, last changed at `NOW`."""
    opened_at = NOW - timedelta(days=100)
    account = Account.create(
        fields.pop("debtor_id", DEBTOR_ID), fields.pop("creditor_id", SENDER_ID), opened_at
    )
    defaults = {
        "last_change_ts": NOW,
        "last_change_seqnum": 5,
        "last_config_ts": opened_at,
        "last_config_seqnum": 1,
        "is_created": False,
        "is_changed": False,
        "is_update_due": False,
    }
    for name, value in {**defaults, **fields}.items():
        assert name in account.__struct_fields__, f"accounts have no {name!r}"
        setattr(account, name, value)
    return account


def recipient_account(**fields: Any) -> Account:
    """Return the recipient's account as it is loaded."""
    return account(**{"creditor_id": RECIPIENT_ID, **fields})


def root_account(**fields: Any) -> Account:
    """Return the debtor's account as it is loaded, with room to issue a lot."""
    return account(**{"creditor_id": ROOT_CREDITOR_ID, "negligible_amount": 1e12, **fields})


def prepared_transfer(**fields: Any) -> PreparedTransfer:
    """Return a transfer of 500 from the sender to the recipient, prepared at `NOW`."""
    creditor_id = fields.get("creditor_id", SENDER_ID)
    coordinator_type = fields.get("coordinator_type", "direct")
    prepared_at = fields.get("prepared_at", NOW)
    defaults = {
        "debtor_id": DEBTOR_ID,
        "creditor_id": creditor_id,
        "transfer_id": 77,
        "coordinator_type": coordinator_type,
        "coordinator_id": {
            "direct": creditor_id,
            "issuing": fields.get("debtor_id", DEBTOR_ID),
        }.get(coordinator_type, AGENT_COORDINATOR_ID),
        "coordinator_request_id": 1,
        "locked_amount": 500,
        "recipient_creditor_id": RECIPIENT_ID,
        "prepared_at": prepared_at,
        "final_interest_rate_ts": FAR_FUTURE,
        "demurrage_rate": DEMURRAGE_RATE,
        "deadline": prepared_at + timedelta(days=90),
    }
    return _made(PreparedTransfer, defaults, fields)


def locking_account(*transfers: PreparedTransfer, **fields: Any) -> Account:
    """Return an account on which exactly these transfers are prepared."""
    return account(
        **{
            "debtor_id": transfers[0].debtor_id,
            "creditor_id": transfers[0].creditor_id,
            "total_locked_amount": sum(t.locked_amount for t in transfers),
            "pending_transfers_count": len(transfers),
            "last_transfer_id": max(t.transfer_id for t in transfers),
            **fields,
        }
    )


# -- events --------------------------------------------------------------

_ACCOUNT = {"debtor_id": DEBTOR_ID, "creditor_id": SENDER_ID}
_COORDINATOR = {
    "coordinator_type": "direct",
    "coordinator_id": SENDER_ID,
    "coordinator_request_id": 1,
}
_EVENT_DEFAULTS: dict[Any, dict[str, Any]] = {
    events.RejectedConfig: {
        **_ACCOUNT,
        "config_ts": NOW,
        "config_seqnum": 1,
        "config_flags": 0,
        "negligible_amount": 0.0,
        "config_data": "not valid",
        "rejection_code": "INVALID_CONFIGURATION",
        "ts": NOW,
    },
    events.RejectedTransfer: {
        **_ACCOUNT,
        **_COORDINATOR,
        "status_code": "INSUFFICIENT_AVAILABLE_AMOUNT",
        "total_locked_amount": 0,
        "ts": NOW,
    },
    events.PreparedTransfer: {
        **_ACCOUNT,
        **_COORDINATOR,
        "transfer_id": 77,
        "locked_amount": 500,
        "recipient": account_id(RECIPIENT_ID),
        "prepared_at": NOW,
        "demurrage_rate": DEMURRAGE_RATE,
        "deadline": NOW + timedelta(days=90),
        "final_interest_rate_ts": FAR_FUTURE,
        "ts": NOW,
    },
    events.FinalizedTransfer: {
        **_ACCOUNT,
        **_COORDINATOR,
        "transfer_id": 77,
        "committed_amount": 500,
        "status_code": "OK",
        "total_locked_amount": 0,
        "prepared_at": NOW,
        "ts": NOW,
    },
    events.AccountUpdate: {
        **_ACCOUNT,
        "creation_date": date(2026, 1, 2),
        "last_change_ts": NOW,
        "last_change_seqnum": 1,
        "principal": 0,
        "interest": 0.0,
        "interest_rate": 0.0,
        "last_interest_rate_change_ts": EPOCH,
        "last_config_ts": NOW,
        "last_config_seqnum": 1,
        "negligible_amount": 0.0,
        "config_flags": 0,
        "config_data": "",
        "account_id": account_id(SENDER_ID),
        "debtor_info_iri": "",
        "debtor_info_content_type": "",
        "debtor_info_sha256": b"",
        "last_transfer_number": 0,
        "last_transfer_committed_at": EPOCH,
        "demurrage_rate": DEMURRAGE_RATE,
        "commit_period": 7_776_000,
        "transfer_note_max_bytes": 500,
        "ts": NOW,
        "ttl": 604_800,
    },
    events.AccountPurge: {**_ACCOUNT, "creation_date": date(2026, 1, 2), "ts": NOW},
    events.AccountTransfer: {
        **_ACCOUNT,
        "creation_date": date(2026, 1, 2),
        "transfer_number": 1,
        "coordinator_type": "direct",
        "sender": account_id(SENDER_ID),
        "recipient": account_id(RECIPIENT_ID),
        "acquired_amount": -500,
        "transfer_note": "",
        "transfer_note_format": "",
        "committed_at": NOW,
        "principal": 500,
        "previous_transfer_number": 0,
        "ts": NOW,
    },
}


def event(kind: type[T], **fields: Any) -> T:
    """Return an event of the given type, such as `event(events.AccountPurge)`."""
    if kind is PendingBalanceChange:
        return pending_balance_change(**fields)  # type: ignore[return-value]
    return _made(kind, _EVENT_DEFAULTS[kind], fields)


def every_event() -> list[events.Event]:
    """Return one event of each type."""
    return [*(event(kind) for kind in _EVENT_DEFAULTS), pending_balance_change()]


# -- batches -------------------------------------------------------------


def everywhere(_debtor_id: int, _creditor_id: int) -> bool:
    """Tell that every account belongs to this shard."""
    return True


def local(*creditor_ids: int) -> Callable[[int, int], bool]:
    """Return a function that tells that only these creditors' accounts belong to this shard."""
    return lambda _debtor_id, creditor_id: creditor_id in creditor_ids


def working_set(
    commands: Iterable[Command | Chore],
    *,
    accounts: Iterable[Account] = (),
    transfers: Iterable[PreparedTransfer] = (),
    registered_changes: Collection[ChangeKey] = (),
    is_local: Callable[[int, int], bool] = everywhere,
    facts: Facts = NO_FACTS,
    policy: Policy | None = None,
) -> WorkingSet:
    """Return what a shard that has these rows loads for the commands, and nothing else.

    The accounts given are the very objects that the batch will change.
    """
    needs = needs_of(commands, is_local, policy or Policy())
    existing = {account.key: account for account in accounts}
    kept = list(transfers)
    finalized = [transfer for transfer in kept if transfer.key in needs.transfers]
    reminded = [transfer for transfer in kept if transfer.key in needs.reminders - needs.transfers]
    recipients = [(transfer.debtor_id, transfer.recipient_creditor_id) for transfer in finalized]
    requested = needs.accounts | {recipient for recipient in recipients if is_local(*recipient)}
    change_ids_count = needs.own_movements_count + sum(
        not is_local(*recipient) for recipient in recipients
    )
    roots = {debtor_id: existing.get((debtor_id, 0)) for debtor_id in needs.currencies}
    return WorkingSet(
        needs,
        requested_accounts=requested,
        accounts=[account for key, account in existing.items() if key in requested],
        transfers=finalized + reminded,
        repeated_transfers=[t for t in kept if t.coordinator_key in needs.coordinator_keys],
        reachable={
            key: key in existing and existing[key].accepts_transfers
            for key in needs.recipients - requested
        },
        root_config_data={
            debtor_id: root.config_data if root else None for debtor_id, root in roots.items()
        },
        new_changes=needs.changes.keys() - set(registered_changes),
        change_ids=range(FIRST_CHANGE_ID, FIRST_CHANGE_ID + change_ids_count),
        facts=facts,
    )


def apply_batch(
    *commands: Command | Chore, now: datetime = NOW, policy: Policy | None = None, **rows: Any
) -> WorkingSet:
    """Apply the commands to the given rows (see `working_set`); return what became of them."""
    policy = policy or Policy()
    outcome = working_set(commands, policy=policy, **rows)
    apply(commands, outcome, policy, now)
    return outcome


def events_of(outcome: WorkingSet, kind: type[T]) -> list[T]:
    """Return the batch's events of one type, in their order."""
    return [event for event in outcome.events if isinstance(event, kind)]


def only_event(outcome: WorkingSet, kind: type[T]) -> T:
    """Return the batch's only event, which must be of the given type."""
    (event,) = outcome.events
    assert isinstance(event, kind), event
    return event


def nothing_happened(outcome: WorkingSet) -> bool:
    """Tell whether the batch leaves nothing to be written."""
    return not any((outcome.events, outcome.journal, outcome.changed_accounts(), outcome.purged))


def as_json(command: Command | Chore, **fields: Any) -> bytes:
    """Return a command as a peer sends it; `fields` replace or add members of the document."""
    document = {**msgspec.to_builtins(command), **fields}
    return msgspec.json.encode(document)
