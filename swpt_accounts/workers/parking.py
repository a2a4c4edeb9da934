"""Looks after parked messages: sends on those of other shards, and buries dead letters late."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.broker.dead_letters import dead_letter
from swpt_accounts.broker.message import Message
from swpt_accounts.broker.properties import as_bytes
from swpt_accounts.protocol.outgoing import OutgoingMessage, sent_on
from swpt_accounts.store import outbox, parked
from swpt_accounts.store.parked import Kind, Parked, ParkedMessage
from swpt_accounts.store.transaction import Database
from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
from swpt_accounts.workers.states import StateReport

logger = logging.getLogger(__name__)

SENT_ON_PER_SECOND: Final = 100
"""Wrong bindings must not make messages go round and round at full speed."""

STOPPED_SECONDS: Final = 5.0
"""So often it is looked whether messages may be sent on again."""

BURIED_AT_ONCE: Final = 100
BURY_SECONDS: Final = 30.0
"""So often the stream of dead letters is given what it did not take before."""

_SECOND: Final = 1.0


class Parking:
    """Parked messages of one shard, looked after by the process that takes waiting ones."""

    def __init__(
        self,
        database: Database,
        office: DeadLetterOffice,
        clock: Callable[[], datetime],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._office = office
        self._clock = clock
        self._seconds = seconds
        self._report = StateReport(logger, seconds)
        self._next_sending = seconds()
        self._next_burial = seconds()
        self._sent_count = 0

    def keep(self, unburied: Sequence[tuple[Delivery, str]]) -> None:
        """Park what the stream of dead letters would not take. Raises `DatabaseUnavailable`."""
        now = self._clock()
        letters = [self._letter(delivery, reason, now) for delivery, reason in unburied]
        with self._database.transaction() as transaction:
            parked.insert(transaction, letters, now)

    def look(self) -> None:
        """Do what is due. Raises `DatabaseUnavailable`."""
        now = self._seconds()
        if now >= self._next_sending:
            self._next_sending = now + _SECOND
            self._send_on()
        if now >= self._next_burial:
            self._next_burial = now + BURY_SECONDS
            self._bury()

    def _send_on(self) -> None:
        with self._database.transaction() as transaction:
            if parked.exists(transaction, Kind.CAME_BACK):
                counts = parked.count_by_kind(transaction)
                self._next_sending = self._seconds() + STOPPED_SECONDS
                self._report.trouble(
                    Kind.CAME_BACK,
                    f"{counts[Kind.CAME_BACK]} messages of other shards were sent on and have come"
                    f" back, and {counts.get(Kind.MISROUTED, 0)} more wait: none is sent on until"
                    " an operator has seen to them (`swpt_accounts parked_messages`)",
                    logging.ERROR,
                )
                return
            self._report.well(Kind.CAME_BACK)
            messages = parked.take_kind(transaction, Kind.MISROUTED, SENT_ON_PER_SECOND)
            outbox.append(transaction, map(as_outgoing, messages), self._clock())
            parked.delete(transaction, [message.id for message in messages])
        self._sent_count += len(messages)
        if messages:
            self._report.trouble(
                "sent on",
                f"{self._sent_count} messages of other shards were sent on by this process: some"
                " binding is wrong",
                logging.ERROR,
            )

    def _bury(self) -> None:
        with self._database.transaction() as transaction:
            letters = parked.read_kind(transaction, Kind.DEAD_LETTER, BURIED_AT_ONCE)
        if not letters:
            return
        # No transaction is open while the broker is waited for. A process that dies
        # meanwhile leaves letters that are published twice, which harms nobody.
        are_buried = self._office.publish([_as_letter(letter.message) for letter in letters])
        ids = [
            letter.id for letter, is_buried in zip(letters, are_buried, strict=True) if is_buried
        ]
        with self._database.transaction() as transaction:
            parked.delete(transaction, ids)
        if len(ids) == BURIED_AT_ONCE:
            self._next_burial = self._seconds()

    def _letter(self, delivery: Delivery, reason: str, now: datetime) -> Parked:
        letter = dead_letter(delivery, self._office.queue, reason, now)
        return Parked(
            kind=Kind.DEAD_LETTER,
            reason=reason.replace("\0", ""),
            debtor_id=None,
            creditor_id=None,
            message_type=None,
            body_sha256=sha256(letter.body).digest(),
            body=letter.body,
            queue=letter.routing_key,
            properties=as_bytes(letter.properties),
        )


def as_outgoing(parked_message: ParkedMessage) -> OutgoingMessage:
    """Return a message of another shard as it is sent on."""
    message = parked_message.message
    assert message.message_type is not None
    assert message.debtor_id is not None
    assert message.creditor_id is not None
    return sent_on(message.message_type, message.debtor_id, message.creditor_id, message.body)


def _as_letter(message: Parked) -> Message:
    return Message("", message.queue or "", message.body, message.properties or b"\0\0")
