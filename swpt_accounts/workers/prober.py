"""A thread that tries messages on fresh connections, so that no trial harms those that go."""

import enum
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.publisher import Outcome, Publisher
from swpt_accounts.broker.trial import try_out
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.amqp import to_amqp
from swpt_accounts.workers.destinations import Destination

logger = logging.getLogger(__name__)

_STOP_SECONDS: Final = 2.0


class Question(enum.Enum):
    """What a trial is to find out."""

    IS_WELL = "whether destinations take messages again"
    WHO_NACKS = "whether the destination nacks, or the channel"
    WHO_IS_SILENT = "whether destinations are silent, or the channel"
    WHO_CLOSES = "which message closes the channel"


class Trial(msgspec.Struct):
    """Messages to be tried, each with its destination, and then what became of them."""

    asker: object
    question: Question
    cases: Sequence[tuple[OutboxMessage, Destination]]
    outcomes: list[Outcome] | BrokerLost = msgspec.field(default_factory=list)
    """Or why nothing could be found out: the broker itself does not work."""


class Prober:
    """One trial after the other, from the first one until `stop`."""

    def __init__(self, make_publisher: Callable[[], Publisher]) -> None:
        """`make_publisher` returns a publisher that is not started yet."""
        self._make_publisher = make_publisher
        self._asked: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        self._under_way: list[Trial] = []
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    @property
    def is_busy(self) -> bool:
        """Tell whether a trial is under way."""
        return bool(self._under_way)

    def suspects(self) -> list[Destination]:
        """Return the destinations of messages one of which closes the channel."""
        return [
            destination
            for trial in self._under_way
            if trial.question is Question.WHO_CLOSES
            for _, destination in trial.cases
        ]

    def ids_on_trial(self) -> list[int]:
        """Return the ids of messages one of which closes the channel."""
        return [
            row.id
            for trial in self._under_way
            if trial.question is Question.WHO_CLOSES
            for row, _ in trial.cases
        ]

    def ask(self, trial: Trial) -> None:
        """Have the messages tried, after those of other trials."""
        if self._thread.ident is None:
            self._thread.start()
        self._under_way.append(trial)
        self._asked.put(trial)

    def answer(self) -> Trial | None:
        """Return a trial that has ended, if there is one."""
        try:
            trial = self._answered.get_nowait()
        except queue.Empty:
            return None
        self._under_way.remove(trial)
        return trial

    def stop(self) -> None:
        """End the thread, and a trial that is under way."""
        self._is_stopping.set()
        if self._thread.ident is not None:
            self._asked.put(None)
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        is_told = False
        while (trial := self._asked.get()) is not None:
            messages = [to_amqp(row.message) for row, _ in trial.cases]
            try:
                trial.outcomes = try_out(self._make_publisher, messages, self._is_wanted)
                is_told = False
            except BrokerLost as lost:
                trial.outcomes = lost
            except Exception as error:  # Too many open files or threads, for example.
                trial.outcomes = BrokerLost(f"messages cannot be tried: {error!r}")
                if not is_told:
                    logger.exception("Messages cannot be tried; it is attempted again:")
                is_told = True
            self._answered.put(trial)

    def _is_wanted(self) -> bool:
        return not self._is_stopping.is_set()
