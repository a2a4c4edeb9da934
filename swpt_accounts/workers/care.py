"""Finds out who is to blame when messages are not taken, and sends what was set aside after a cure.

A message that is nacked or not confirmed may be its destination's fault, the
channel's, or the server's. Which of them is told by a trial on a fresh connection (`prober.py`).
"""

import logging
from typing import Final

import psycopg

from swpt_accounts.broker.blame import blame_in
from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.publisher import Outcome, Verdict
from swpt_accounts.protocol.routing import destination as name_of
from swpt_accounts.store import undelivered
from swpt_accounts.store.lanes import Lanes
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.destinations import Destination, Destinations, Drain
from swpt_accounts.workers.held import Entry
from swpt_accounts.workers.pipeline import Pipeline
from swpt_accounts.workers.prober import Prober, Question, Trial
from swpt_accounts.workers.set_aside import SetAside

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
"""How often it is looked what is overdue."""

PROBE_SECONDS: Final = 5.0
"""How often destinations that take nothing are tried."""

REMINDER_SECONDS: Final = 60.0

GIVEN_UP_MAX: Final = 2000
"""With so many messages set aside that it may still have, a channel is replaced."""

DRAINED_AT_ONCE: Final = 500
_READ_BYTES_MAX: Final = 1024 * 1024
_PROBED_MAX: Final = 500
_REMINDED_MAX: Final = 10

_FOUND: Final = "messages were set aside before this flusher began"


class StartAnew(Exception):
    """The connections are to be replaced, at once; nothing is wrong with the servers."""


class Care:
    """Looks after the destinations of one pipeline."""

    def __init__(
        self,
        connection: psycopg.Connection,
        lanes: Lanes,
        pipeline: Pipeline,
        destinations: Destinations,
        set_aside: SetAside,
        prober: Prober,
    ) -> None:
        self._connection = connection
        self._lanes = lanes
        self._pipeline = pipeline
        self._destinations = destinations
        self._set_aside = set_aside
        self._prober = prober
        for destination in prober.suspects():
            destination.is_suspected = True
        self._draining = [d for d in destinations if d.drain is not Drain.NOTHING]
        self._next_look = 0.0
        self._next_probe = 0.0
        self._next_reminder = 0.0

    @property
    def is_busy(self) -> bool:
        """Tell whether anything that was set aside is being tried, or sent."""
        return self._prober.is_busy or bool(self._draining) or not self._next_probe

    def step(self, now: float, blocked_reason: str) -> None:
        """Do what it is time for.

        Raises `BrokerLost` when the broker itself is in trouble, and `StartAnew`
        when only the connection is.
        """
        if (trial := self._prober.answer()) is not None:
            self._learn(trial, now)
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look(now, blocked_reason)
        for destination in self._draining.copy():
            self._drain(destination, now)

    # -- who is to blame ------------------------------------------------------

    def _look(self, now: float, blocked_reason: str) -> None:
        silent = self._pipeline.take_overdue(now)
        if silent and blocked_reason:
            raise BrokerLost(f"the broker takes no messages: {blocked_reason}")
        if not self._prober.is_busy:
            if self._pipeline.nacked:
                self._ask(Question.WHO_NACKS, self._pipeline.nacked)
                self._pipeline.nacked = []
            elif silent:
                self._ask(Question.WHO_IS_SILENT, silent)
            elif now >= self._next_probe:
                self._next_probe = now + PROBE_SECONDS
                self._probe(now)
        for destination in self._pipeline.take_excess(now):
            self._send_what_was_set_aside(destination, Drain.UNTRIED, now)
        if self._pipeline.given_up_count >= GIVEN_UP_MAX:
            raise StartAnew(f"{GIVEN_UP_MAX} messages may still be confirmed, though nobody waits")
        if now >= self._next_reminder:
            self._next_reminder = now + REMINDER_SECONDS
            self._remind()

    def _ask(self, question: Question, entries: list[Entry]) -> None:
        """Have the first message of each destination tried."""
        first: dict[Destination, OutboxMessage] = {}
        for entry in entries:
            first.setdefault(entry.destination, entry.row)
        self._prober.ask(Trial(self, question, [(row, d) for d, row in first.items()]))

    def _learn(self, trial: Trial, now: float) -> None:
        if isinstance(trial.outcomes, BrokerLost):
            self._learn_nothing(trial, trial.outcomes)
        elif trial.question is Question.IS_WELL:
            self._learn_who_is_well(trial, trial.outcomes, now)
        elif trial.question is Question.WHO_CLOSES:
            self._learn_who_closes(trial, trial.outcomes)
        else:
            self._learn_who_is_to_blame(trial, trial.outcomes, now)

    def _learn_nothing(self, trial: Trial, lost: BrokerLost) -> None:
        for _, destination in trial.cases:
            destination.is_suspected = False
        if trial.asker is self and trial.question is not Question.IS_WELL:
            raise lost

    def _learn_who_is_to_blame(self, trial: Trial, outcomes: list[Outcome], now: float) -> None:
        """What is taken over a fresh connection was the channel's fault, which is then replaced.

        It is replaced as well when a message was not taken for its own sake: the
        others of its destination, which wait for the answer, have to be sent again.
        """
        if trial.asker is not self:
            return  # The channel was replaced meanwhile.
        is_silent = trial.question is Question.WHO_IS_SILENT
        still_under_way = {entry.row.id for entry in self._pipeline.under_way()}
        to_blame: list[Destination] = []
        is_anew = False
        for (row, destination), outcome in zip(trial.cases, outcomes, strict=True):
            destination.is_suspected = False
            if is_silent and row.id not in still_under_way:
                continue  # It was confirmed meanwhile.
            is_anew |= is_silent
            if outcome.verdict is Verdict.CONFIRMED:
                destination.trust(now)
                self._pipeline.delete([row])
                is_anew = True
            else:
                self._blame(destination, row, outcome)
                to_blame.append(destination)
                is_anew |= not destination.is_sick
        self._pipeline.put_away(with_under_way=to_blame if is_silent else ())
        if is_anew:
            raise StartAnew("the channel does not work, or not with all destinations")

    def _learn_who_closes(self, trial: Trial, outcomes: list[Outcome]) -> None:
        for (row, destination), outcome in zip(trial.cases, outcomes, strict=True):
            destination.is_suspected = False
            if outcome.verdict is not Verdict.CONFIRMED:
                self._blame(destination, row, outcome)
        confirmed = [
            row
            for (row, _), outcome in zip(trial.cases, outcomes, strict=True)
            if outcome.verdict is Verdict.CONFIRMED
        ]
        self._pipeline.delete(confirmed)
        self._pipeline.put_away()

    def _blame(self, destination: Destination, row: OutboxMessage, outcome: Outcome) -> None:
        """Set a message aside that was not taken, and what goes to the same place after it."""
        if outcome.verdict is Verdict.EXPELLED:
            blame = blame_in(outcome.reason)
            if blame.is_for_all:
                self._destinations.fall_sick(row.message.exchange, outcome.reason)
            elif blame.routing_key is not None:
                destination.fall_sick(outcome.reason, is_expelled=True)
        else:
            destination.fall_sick(outcome.reason)
        self._pipeline.let_go(row.id)
        self._set_aside.add(row, destination, outcome.reason, is_tried=True)

    # -- who is well again ------------------------------------------------------

    def _probe(self, now: float) -> None:
        names = undelivered.destinations(self._connection, self._lanes.held, name_of)
        for name in names:
            if name not in self._destinations:
                self._destinations.get(name).fall_sick(_FOUND)
        for destination in self._destinations:
            is_found = destination.name in names or destination.is_for_exchange
            if destination.is_sick and not is_found:  # What was set aside was confirmed at last.
                self._send_what_was_set_aside(destination, Drain.EVERYTHING, now)
        chosen = self._destinations.to_probe(names, now)[:_PROBED_MAX]
        if chosen:
            by_name = {destination.name: destination for destination in chosen}
            rows = undelivered.samples(
                self._connection, self._lanes.held, by_name.keys(), bytes_max=_READ_BYTES_MAX
            )
            cases = [(row, by_name[_name(row)]) for row in rows]
            self._prober.ask(Trial(self, Question.IS_WELL, cases))

    def _learn_who_is_well(self, trial: Trial, outcomes: list[Outcome], now: float) -> None:
        results: dict[Destination, list[tuple[OutboxMessage, Outcome]]] = {}
        for (row, destination), outcome in zip(trial.cases, outcomes, strict=True):
            results.setdefault(destination, []).append((row, outcome))
            if outcome.verdict is Verdict.CONFIRMED:
                self._pipeline.delete([row])
            else:
                self._set_aside.add(row, destination, outcome.reason, is_tried=True)
        self._set_aside.flush()
        for destination, tried in results.items():
            self._judge(destination, [outcome for _, outcome in tried], now)

    def _judge(self, destination: Destination, outcomes: list[Outcome], now: float) -> None:
        """The first outcome is of a message set aside in the company of others, if there is one."""
        if destination.is_for_exchange:
            blame = blame_in(outcomes[0].reason)
            if outcomes[0].verdict is Verdict.EXPELLED and blame.is_for_all:
                return
            for other in self._destinations.recover(destination.exchange, now):
                self._send_what_was_set_aside(other, Drain.EVERYTHING, now)
        taken = [outcome.verdict is Verdict.CONFIRMED for outcome in outcomes]
        if all(taken):
            self._send_what_was_set_aside(destination, Drain.EVERYTHING, now)
        elif taken[0]:
            self._send_what_was_set_aside(destination, Drain.UNTRIED, now)
        elif destination.is_sick or len(taken) > 1:
            is_expelled = outcomes[0].verdict is Verdict.EXPELLED
            destination.fall_sick(outcomes[0].reason, is_expelled=is_expelled)
        else:
            destination.recover(Drain.NOTHING, now)  # Others are taken, this one is not.

    def _send_what_was_set_aside(self, destination: Destination, drain: Drain, now: float) -> None:
        is_slow = destination.is_slow
        destination.recover(drain, now)
        destination.is_slow = is_slow
        if destination not in self._draining:
            self._draining.append(destination)

    def _drain(self, destination: Destination, now: float) -> None:
        if destination.drain is Drain.NOTHING:  # It has fallen sick again.
            self._draining.remove(destination)
            return
        if not self._pipeline.has_room or destination.held_count > destination.share(now):
            return
        rows = undelivered.take(
            self._connection,
            self._lanes.held,
            destination.name,
            with_tried=destination.drain is Drain.EVERYTHING,
            count_max=DRAINED_AT_ONCE,
            bytes_max=_READ_BYTES_MAX,
            taken_ids=self._pipeline.taken_ids(),
        )
        if rows:
            destination.sent_after_cure += len(rows)
            self._pipeline.take(rows, now)
            return
        self._draining.remove(destination)
        destination.drain = Drain.NOTHING
        destination.is_slow = False
        if destination.is_told:
            destination.is_told = False
            logger.warning(
                "The destination %s takes messages again: %d were sent that had been set aside.",
                destination.name,
                destination.sent_after_cure,
            )

    def _remind(self) -> None:
        told = [d for d in self._destinations if d.is_told and d.is_sick][:_REMINDED_MAX]
        if not told:
            return
        counts = undelivered.counts(self._connection, self._lanes.held, [d.name for d in told])
        for destination in told:
            logger.warning(
                "The destination %s still takes nothing: %d messages are set aside (%s)",
                destination.name,
                counts.get(destination.name, 0),
                destination.reason,
            )


def _name(row: OutboxMessage) -> str:
    message = row.message
    return name_of(message.exchange, message.routing_key, message.coordinator_type)
