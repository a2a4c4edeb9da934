"""Moments at which a worker can be killed. Each function makes the next worker die at one of them.

The functions of the workers stay as they are; something is wrapped around one
of them, in the process that is about to die.
"""

import os
import signal
from collections.abc import Callable
from typing import Any, Final, NoReturn

import psycopg

from swpt_accounts.broker.consumer import Consumer
from swpt_accounts.broker.publisher import CANARY, Publisher
from swpt_accounts.store import outbox, scans, undelivered
from swpt_accounts.workers import chore_intake, intake, ledger_batch
from swpt_accounts.workers.chore_sender import ChoreSender
from swpt_accounts.workers.dead_letter_office import DeadLetterOffice
from swpt_accounts.workers.pipeline import Pipeline
from swpt_accounts.workers.walk import Walk

Arm = Callable[[int], None]


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process survives SIGKILL")


def before(owner: Any, name: str) -> Arm:
    """Die instead of calling the function for the given time."""

    def arm(time: int) -> None:
        wrapped = getattr(owner, name)
        times = iter(range(1, time + 1))

        def call(*arguments: Any, **options: Any) -> Any:
            if next(times) == time:
                die()
            return wrapped(*arguments, **options)

        setattr(owner, name, call)

    return arm


def after(owner: Any, name: str) -> Arm:
    """Die when the function has done its work for the given time."""

    def arm(time: int) -> None:
        wrapped = getattr(owner, name)
        times = iter(range(1, time + 1))

        def call(*arguments: Any, **options: Any) -> Any:
            result = wrapped(*arguments, **options)
            if next(times) == time:
                die()
            return result

        setattr(owner, name, call)

    return arm


# -- the consumer ----------------------------------------------------------


def commit_sent(time: int) -> None:
    """Die when COMMIT is on its way to the server, whose answer nobody will read."""
    save = ledger_batch.save
    times = iter(range(1, time + 1))

    def save_and_commit(transaction: Any, *arguments: Any) -> None:
        save(transaction, *arguments)
        if next(times) == time:
            send_and_die(transaction._cursor.connection, b"COMMIT")

    ledger_batch.save = save_and_commit


def send_and_die(connection: psycopg.Connection, statement: bytes) -> NoReturn:
    pgconn = connection.pgconn
    pgconn.nonblocking = 1
    pgconn.send_query(statement)
    while pgconn.flush():
        pass
    die()


def half_acked(time: int) -> None:
    """Die when the broker has got half of a batch's acks."""
    settle = Consumer.settle
    times = iter(range(1, time + 1))

    def settle_half(self: Consumer, accepted: Any, *arguments: Any) -> None:
        accepted = list(accepted)
        if accepted and next(times) == time:
            settle(self, accepted[: len(accepted) // 2])
            self.messages_count()  # Answered after what was sent before.
            die()
        settle(self, accepted, *arguments)

    Consumer.settle = settle_half  # type: ignore[method-assign, assignment]


CONSUMER: Final[dict[str, Arm]] = {
    "before decoding": before(intake, "decode_all"),
    "after decoding": after(intake, "decode_all"),
    "after locking": after(ledger_batch, "load"),
    "after accounts are written": before(outbox, "append"),
    "before the commit": after(ledger_batch, "save"),
    "commit sent": commit_sent,
    "committed": after(intake.MessageIntake, "handle"),
    "dead letters published": after(DeadLetterOffice, "bury"),
    "half acked": half_acked,
}


FROZEN: Final = "frozen after locking"
"""Not a death: the process stops where it is, with rows locked, until it is told to go on."""


def freeze(time: int) -> None:
    load = ledger_batch.load
    times = iter(range(1, time + 1))

    def load_and_freeze(*arguments: Any) -> Any:
        result = load(*arguments)
        if next(times, 0) == time:
            os.kill(os.getpid(), signal.SIGSTOP)
        return result

    ledger_batch.load = load_and_freeze


# -- the flusher -----------------------------------------------------------


def half_published(time: int) -> None:
    """Die when half of a page has been published and confirmed."""
    begin = Publisher.begin
    times = iter(range(1, time + 1))

    def begin_half(self: Publisher, messages: Any, tokens: Any, outcomes: Any) -> None:
        if any(message is CANARY for message in messages):
            begin(self, messages, tokens, outcomes)
            return
        if next(times) == time:
            half = messages[: len(messages) // 2]
            begin(self, half, range(len(half)), told := self.outcomes())
            while told.awaited_count:
                told.take(1.0)
            die()
        begin(self, messages, tokens, outcomes)

    Publisher.begin = begin_half  # type: ignore[method-assign]


def delete_sent(time: int) -> None:
    """Die when DELETE is on its way to the server, whose answer nobody will read."""
    delete = outbox.delete
    times = iter(range(1, time + 1))

    def send_delete(connection: psycopg.Connection, ids: Any) -> None:
        if next(times) == time:
            listed = ", ".join(map(str, ids))
            send_and_die(connection, f"DELETE FROM outbox WHERE id IN ({listed})".encode())
        delete(connection, ids)

    outbox.delete = send_delete


FLUSHER: Final[dict[str, Arm]] = {
    "page read": before(Pipeline, "publish"),
    "page under way": after(Pipeline, "publish"),
    "half published": half_published,
    "nothing confirmed": before(Pipeline, "_conclude"),
    "some confirmed": after(Pipeline, "_conclude"),
    "all confirmed": before(outbox, "delete"),
    "delete sent": delete_sent,
}

SET_ASIDE: Final = "set aside"
"""Reached only where something cannot be delivered."""

# -- periodic work -----------------------------------------------------------

CHORES_CONSUMER: Final[dict[str, Arm]] = {
    "before decoding chores": before(chore_intake, "decode_all"),
    "after decoding chores": after(chore_intake, "decode_all"),
    "chores applied": before(ledger_batch, "save"),
    "chores committed": after(chore_intake.ChoreIntake, "handle"),
    **{
        name: arm
        for name, arm in CONSUMER.items()
        if name not in ("before decoding", "after decoding", "committed")
    },
}

SCAN: Final[dict[str, Arm]] = {
    "scan claimed": after(scans, "claim"),
    "scan begun": after(Walk, "begin"),
    "rows read": before(ChoreSender, "send"),
    "half of the chores sent": half_published,
    "chores sent": before(scans, "save"),
    "position saved": after(scans, "save"),
}

ALL: Final = {
    **CONSUMER,
    FROZEN: freeze,
    **FLUSHER,
    SET_ASIDE: after(undelivered, "set_aside"),
    **CHORES_CONSUMER,
    **SCAN,
}
