"""What an operator can have done with parked messages."""

from collections.abc import Callable, Sequence
from datetime import datetime

from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import outbox, parked, waiting
from swpt_accounts.store.parked import Kind, ParkedMessage
from swpt_accounts.store.transaction import Database
from swpt_accounts.store.waiting import Wait, WaitingKey, WaitingMessage
from swpt_accounts.workers.parking import as_outgoing

APPLIED_HERE = "will be applied here"
SENT_ON = "is sent on to its shard"
BY_ITSELF = "stays: it is given to the stream of dead letters by itself, again and again"
MISSING = "there is no parked message with this number"
DROPPED = "dropped"


def send(
    database: Database, realm: Realm, ids: Sequence[int], clock: Callable[[], datetime]
) -> dict[int, str]:
    """Let messages go on, all or none: to this shard's batches, or to the shard they belong to.

    Returns what becomes of each number. Raises `DatabaseUnavailable`.
    """
    outcomes = dict.fromkeys(ids, MISSING)
    now = clock()
    with database.transaction() as transaction:
        found = parked.take(transaction, ids)
        letters = [m for m in found if m.message.kind is Kind.DEAD_LETTER]
        others = [m for m in found if m.message.kind is not Kind.DEAD_LETTER]
        ours = [m for m in others if _is_in(realm, m)]
        foreign = [m for m in others if not _is_in(realm, m)]
        waiting.insert(transaction, [_wait(m, now) for m in ours], now)
        outbox.append(transaction, map(as_outgoing, foreign), now)
        parked.delete(transaction, [m.id for m in others])
    outcomes.update((m.id, BY_ITSELF) for m in letters)
    outcomes.update((m.id, APPLIED_HERE) for m in ours)
    outcomes.update((m.id, SENT_ON) for m in foreign)
    return outcomes


def drop(database: Database, ids: Sequence[int]) -> dict[int, str]:
    """Forget messages for good; return what becomes of each number."""
    with database.transaction() as transaction:
        found = {message.id for message in parked.take(transaction, ids)}
        parked.delete(transaction, sorted(found))
    return {id_: DROPPED if id_ in found else MISSING for id_ in ids}


def _is_in(realm: Realm, parked_message: ParkedMessage) -> bool:
    message = parked_message.message
    assert message.debtor_id is not None
    assert message.creditor_id is not None
    return realm.contains(message.debtor_id, message.creditor_id)


def _wait(parked_message: ParkedMessage, now: datetime) -> Wait:
    message = parked_message.message
    assert message.debtor_id is not None
    assert message.creditor_id is not None
    assert message.message_type is not None
    key = WaitingKey(
        message.debtor_id, message.creditor_id, message.message_type, message.body_sha256
    )
    return Wait(WaitingMessage(key, message.body), "an operator has sent it", None, now)
