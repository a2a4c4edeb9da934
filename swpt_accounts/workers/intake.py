"""The life of a batch, from deliveries to acks (ARCHITECTURE.md, The life of a batch)."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Final, Protocol

from swpt_accounts.broker.consumer import Delivery
from swpt_accounts.ledger import root_config
from swpt_accounts.ledger.chores import Chore
from swpt_accounts.ledger.commands import Command, ConfigureAccount, PrepareTransfer
from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.ledger.prepare import recipient_to_verify
from swpt_accounts.ledger.upkeep import chores_for_currency
from swpt_accounts.ledger.values import ROOT_CREDITOR_ID, AccountKey
from swpt_accounts.protocol.decoding import CONTENT_TYPE, Malformed
from swpt_accounts.protocol.incoming import decode
from swpt_accounts.protocol.outgoing import FORWARDED_HEADER
from swpt_accounts.protocol.sharding import sharding_hash
from swpt_accounts.store import waiting
from swpt_accounts.store.parked import Kind
from swpt_accounts.store.waiting import WaitingMessage
from swpt_accounts.workers.isolation import Isolation
from swpt_accounts.workers.ledger_batch import LedgerBatch
from swpt_accounts.workers.parking import Parking
from swpt_accounts.workers.settled import Received, Settled
from swpt_accounts.workers.states import StateReport
from swpt_accounts.workers.waiting_room import WaitingRoom
from swpt_accounts.workers.written_down import WrittenDown

logger = logging.getLogger(__name__)

Decode = Callable[[str | None, str | None, bytes], Command | Chore]
"""Returns the command of a message of that type, content type and body; raises `Malformed`."""


class Answers(Protocol):
    """What other shards say about recipients, and about currencies' configurations."""

    def known(self, recipients: Collection[AccountKey], debtors: Collection[int]) -> Facts:
        """Return what is remembered, without waiting."""

    def gather(self, recipients: Collection[AccountKey], debtors: Collection[int]) -> Facts:
        """Ask, wait for a moment, and return what was answered."""


class MessageIntake:
    """Applies the protocol's messages to the ledger."""

    def __init__(
        self,
        ledger_batch: LedgerBatch,
        answers: Answers,
        parking: Parking,
        waiting_room: WaitingRoom | None = None,
    ) -> None:
        """Without a waiting room, messages that must wait are written down, but none is taken."""
        self._parking = parking
        self._ledger_batch = ledger_batch
        self._answers = answers
        self._waiting_room = waiting_room
        self._isolation = Isolation(ledger_batch)
        self._report = StateReport(logger)

    @property
    def is_due(self) -> bool:
        """Tell whether waiting messages should be looked at, with deliveries or without."""
        return self._waiting_room is not None and self._waiting_room.is_due

    def require_usable(self) -> None:
        """Raise `DatabaseUnavailable` or `TimeUncertain` unless messages can be applied now."""
        self._ledger_batch.require_usable()

    def keep(self, unburied: Sequence[tuple[Delivery, str]]) -> None:
        """Park what the stream of dead letters would not take. Raises `DatabaseUnavailable`."""
        self._parking.keep(unburied)

    def rest(self) -> None:
        """Let go of the database while there is nothing to do, so that others may take over."""
        self._ledger_batch.database.close()

    def handle(self, deliveries: Sequence[Delivery], settled: Settled | None = None) -> Settled:
        """Apply the deliveries, and waiting messages that are due; what must wait is written down.

        Raises `DatabaseUnavailable` and `TimeUncertain`. Then it can be called
        again with the same `settled`: what has been done already is not done twice.
        """
        settled = Settled() if settled is None else settled
        settled.attempts_count += 1
        written_down = WrittenDown(settled, self._ledger_batch.clock)
        received = decode_all(settled.lacks(deliveries), decode, settled)
        received = self._keep_ours(received, written_down)
        due = self._due(written_down)
        received = self._join(received, settled) + due
        open_questions = self._apply_what_is_clear(received, written_down, settled)
        if open_questions:
            self._ask_and_apply(open_questions, written_down, settled)
        self._isolation.write_down(written_down, settled)
        if written_down.has_waits and self._waiting_room is not None:
            self._waiting_room.note_written()
        return settled

    def _keep_ours(self, received: list[Received], written_down: WrittenDown) -> list[Received]:
        """Park messages about accounts of other shards: they are in the wrong queue.

        Applying them would fork the account, rejecting them would lose them.
        """
        realm = self._ledger_batch.realm
        ours: list[Received] = []
        for r in received:
            if realm.contains(*r.account_key):
                ours.append(r)
                continue
            came_back = r.delivery is not None and _is_forwarded(r.delivery)
            kind = Kind.CAME_BACK if came_back else Kind.MISROUTED
            written_down.park(r, kind, f"the queue of the shard {realm.routing_key} is not its own")
            self._report.trouble(
                kind,
                f"messages of other shards than {realm.routing_key} are in the queue, the first"
                f" one a {r.message_type} for account {r.account_key}: bindings are wrong. "
                + (
                    "It was sent on before, and came back, so that no more are sent on until an"
                    " operator has looked at it (`swpt_accounts parked_messages`)"
                    if came_back
                    else "They are sent on"
                ),
                logging.ERROR,
            )
        return ours

    def _join(self, received: list[Received], settled: Settled) -> list[Received]:
        """Leave out second copies of transfers that wait: the first ones will be answered.

        All other messages may be applied twice. A broker delivers a message again
        when this process, or another one, has died before its ack.
        """
        room = self._waiting_room
        may_wait = room is None or room.is_occupied or settled.attempts_count > 1
        transfers = [
            (r, r.as_waiting().key)
            for r in received
            if isinstance(r.command, PrepareTransfer)
            and r.delivery is not None
            and (may_wait or r.delivery.redelivered)
        ]
        if not transfers:
            return received
        with self._ledger_batch.database.transaction() as transaction:
            waiting_keys = waiting.find(transaction, [key for _, key in transfers])
        copies = [r for r, key in transfers if key in waiting_keys]
        if not copies:
            return received
        settled.accept(copies)
        are_copies = {id(r) for r in copies}
        return [r for r in received if id(r) not in are_copies]

    def _due(self, written_down: WrittenDown) -> list[Received]:
        """Return the waiting messages whose time has come."""
        if self._waiting_room is None or not self._waiting_room.is_due:
            return []
        due = []
        messages = self._waiting_room.take()
        if self._waiting_room.is_claimed:
            self._parking.look()
        for message in messages:
            try:
                command = decode_waiting(message)
            except Malformed as malformed:
                # A later version has written it, or an earlier one that knew less.
                self._report.trouble(
                    "unreadable",
                    f"a message that has waited cannot be read any more: {malformed}",
                    logging.ERROR,
                )
                written_down.park_unread(message, str(malformed))
                continue
            received = Received(command, waited=message)
            if self._ledger_batch.realm.contains(*received.account_key):
                due.append(received)
            else:
                # A split has left it here. The sibling has it, too.
                written_down.put_off(received, _NOT_OURS, _NOT_OURS_PAUSE)
        return due

    def _apply_what_is_clear(
        self, received: list[Received], written_down: WrittenDown, settled: Settled
    ) -> list[Received]:
        """Apply what needs no answer from elsewhere; return the rest."""
        needs = self._ledger_batch.needs_of([r.command for r in received])
        if not needs.foreign_recipients and not needs.foreign_currencies:
            self._isolation.apply(received, NO_FACTS, written_down, settled)
            return []
        facts = self._answers.known(needs.foreign_recipients, needs.foreign_currencies)
        recipients = needs.foreign_recipients - facts.reachable.keys()
        currencies = needs.foreign_currencies - facts.root_config_data.keys()
        clear: list[Received] = []
        open_questions: list[Received] = []
        for r in received:
            is_open = _asks_about(r.command, recipients, currencies) is not None
            (open_questions if is_open else clear).append(r)
        clear += self._completions(clear, facts)
        self._isolation.apply(clear, facts, written_down, settled)
        return open_questions

    def _ask_and_apply(
        self, received: list[Received], written_down: WrittenDown, settled: Settled
    ) -> None:
        """Apply what can be applied after a question to other shards; the rest waits.

        An account is opened even when its currency's shard is silent. Its message
        waits all the same, and brings the interest rate with it (`_completions`).
        """
        if settled.on_committed is not None:
            settled.on_committed()
        needs = self._ledger_batch.needs_of([r.command for r in received])
        facts = self._answers.gather(needs.foreign_recipients, needs.foreign_currencies)
        recipients = needs.foreign_recipients - facts.reachable.keys()
        currencies = needs.foreign_currencies - facts.root_config_data.keys()
        answered: list[Received] = []
        for r in received:
            account = _asks_about(r.command, recipients, currencies)
            if account is None:
                answered.append(r)
            elif isinstance(r.command, ConfigureAccount):
                # One that is going to be rejected need not be rejected again.
                if not r.command.config_data:
                    written_down.wait_too(r, _NO_CURRENCY, sharding_hash(*account))
                answered.append(r)
            else:
                written_down.wait(r, _NO_RECIPIENT, sharding_hash(*account))
        answered += self._completions(answered, facts)
        self._isolation.apply(answered, facts, written_down, settled)

    def _completions(self, received: list[Received], facts: Facts) -> list[Received]:
        """Return what accounts lack that were opened while nothing was known of their currency."""
        completions = []
        for r in received:
            if isinstance(r.command, ConfigureAccount) and r.waited is not None:
                document = facts.root_config_data.get(r.command.debtor_id)
                currency = None if document is None else root_config.parse(document)
                if currency is not None:
                    chores = chores_for_currency(
                        r.account_key, currency, self._ledger_batch.clock()
                    )
                    completions += [Received(chore, waited=r.waited) for chore in chores]
        return completions


def decode_all(deliveries: Iterable[Delivery], decode: Decode, settled: Settled) -> list[Received]:
    """Decode the deliveries; those that can never be what they say they are, are rejected."""
    received = []
    for delivery in deliveries:
        if delivery.cut is not None:
            settled.rejected.append((delivery, delivery.cut.reason))
            continue
        try:
            command = decode(delivery.message_type, delivery.content_type, delivery.body)
        except Malformed as malformed:
            settled.rejected.append((delivery, str(malformed)))
        else:
            received.append(Received(command, delivery))
    return received


def decode_waiting(message: WaitingMessage) -> Command:
    """Return the command of a message that was written down; raises `Malformed`."""
    return decode(message.message_type, CONTENT_TYPE, message.body)


def _is_forwarded(delivery: Delivery) -> bool:
    return FORWARDED_HEADER in (delivery.properties.headers or {})


def _asks_about(
    command: Command | Chore, recipients: Collection[AccountKey], currencies: Collection[int]
) -> AccountKey | None:
    """Return the account of another shard on which the command depends, if it is one of these."""
    if isinstance(command, PrepareTransfer):
        recipient = recipient_to_verify(command)
        return recipient if recipient in recipients else None
    if isinstance(command, ConfigureAccount) and command.creditor_id != ROOT_CREDITOR_ID:
        return (command.debtor_id, ROOT_CREDITOR_ID) if command.debtor_id in currencies else None
    return None


_NO_RECIPIENT: Final = "the shard of the recipient gives no answer"
_NOT_OURS: Final = "it is another shard's"
_NOT_OURS_PAUSE: Final = timedelta(hours=6)
_NO_CURRENCY: Final = "the shard of the currency's root account gives no answer"
