"""The part `backlog`: how a node takes its messages when very many more of them wait."""

import time
from dataclasses import asdict, dataclass

from bench import workload
from bench.machine import NODE, ProcessMemory, memory_of
from bench.report import Figure
from bench.session import Session
from bench.transfers import Say
from bench.workload import Currency

_PART = "backlog"
_WAITING, _QUICK_WAITING = 1_000_000, 2_000
_UNSENT = "SELECT count(*) FROM outbox"
_PAGE = 20_000
_LOOK_SECONDS = 0.02
_STARTED_SECONDS = 0.002


@dataclass(frozen=True)
class Taken:
    """What it was like to take the first messages of a queue."""

    count: int
    seconds: float
    memory: list[ProcessMemory]

    @property
    def rate(self) -> float:
        return self.count / self.seconds


def measure(session: Session) -> None:
    """The messages are PrepareTransfers, as after a time in which the node was away."""
    options = session.options
    waiting_count = _QUICK_WAITING if options.is_quick else _WAITING
    few = min(options.transfers_count, waiting_count // 2)
    with session.progress.step("Opening accounts") as step:
        currency = session.transfers.new_currency(step.say)
    alone = _take_first(session, currency, few, few, "Taking messages, no others wait")
    behind = _take_first(
        session, currency, few, waiting_count, f"Taking messages, {waiting_count:,} wait"
    )
    greatest = max(process.peak_rss for process in behind.memory if process.group == NODE)
    title = f"PrepareTransfers while {waiting_count:,} wait"
    session.add(
        Figure("backlog_rate", _PART, title, "/s", (behind.rate,)),
        Figure(
            "backlog_ratio", _PART, "… by those of a short queue", "×", (behind.rate / alone.rate,)
        ),
        Figure("backlog_memory", _PART, "… greatest process of ours", "MB", (greatest,)),
    )
    session.report.details[_PART] = {"alone": asdict(alone), "behind": asdict(behind)}


def _take_first(
    session: Session, currency: Currency, count: int, waiting_count: int, title: str
) -> Taken:
    """Has the node take so many messages of a queue that holds more; the rest is thrown away."""
    node, peers = session.node, session.peers
    with session.progress.step(title) as step:
        _fill(session, currency, waiting_count, step.say)
        with node.running("consume_messages", "-p", "1"):
            step.say("waiting for the first consumer")
            node.wait_until(peers.has_consumer, "A consumer", _STARTED_SECONDS)
            began = time.monotonic()
            node.wait_until(lambda: peers.outputs_count() >= count, "Messages", _LOOK_SECONDS)
            seconds = time.monotonic() - began
            taken_count = peers.outputs_count()
            memory = memory_of(node.groups)
        node.wait_until(lambda: not node.ask_database(_UNSENT), "The last messages", _LOOK_SECONDS)
        peers.forget_all()
        step.done(f"{title}: {taken_count / seconds:,.0f} messages/s")
    return Taken(taken_count, seconds, memory)


def _fill(session: Session, currency: Currency, count: int, say: Say) -> None:
    chance = session.transfers.chance
    for start in range(0, count, _PAGE):
        numbers = range(start, min(start + _PAGE, count))
        say(f"{start:,} of {count:,} messages put into the queue")
        session.peers.send(
            [
                workload.prepare_transfer(currency, workload.uniform(currency, chance), number)
                for number in numbers
            ],
            lambda _words: None,
        )
