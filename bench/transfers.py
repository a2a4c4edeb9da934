"""Whole transfers, drained from a full queue while nothing else is going on."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from bench import workload
from bench.footprint import DiskUse
from bench.machine import CpuMeter, ProcessMemory, memory_of
from bench.peers import Failed, Peers
from bench.programs import Program, Programs
from bench.workload import Choice, Currency, Pair, Prepared
from swpt_accounts.broker.message import Delivery, Message

Say = Callable[[str], None]

_SEED = 20_070_321
_REGISTERED_PERIOD_SECONDS = 0.002
_DRAINED_PERIOD_SECONDS = 0.02
_STALL_SECONDS = 60.0
# The last batch is acked, and the last page deleted from the outbox, after the last message was
# sent. That work belongs to the transfers, so CPU is read a moment after the clock is stopped.
_REST_SECONDS = 0.25


@dataclass(frozen=True)
class Scenario:
    """Who pays whom, and how many processes consume."""

    name: str
    title: str
    choice: Choice
    consumers_count: int = 1


UNIFORM = Scenario("uniform", "uniform accounts", workload.uniform)
SCENARIOS = (
    UNIFORM,
    Scenario("hot_recipient", "one hot recipient", workload.hot_recipient),
    Scenario("hot_sender", "one hot sender", workload.hot_sender),
    Scenario("two_consumers", "2 consumer processes", workload.uniform, 2),
    Scenario("four_consumers", "4 consumer processes", workload.uniform, 4),
)


@dataclass(frozen=True)
class Window:
    """What was measured while a queue was drained."""

    seconds: float
    cpu_seconds: dict[str, float]
    memory: list[ProcessMemory]


@dataclass(frozen=True)
class TransferRun:
    """All requests, and then all commits."""

    scenario: str
    transfers_count: int
    prepare: Window
    finalize: Window
    disk: DiskUse

    @property
    def seconds(self) -> float:
        return self.prepare.seconds + self.finalize.seconds

    @property
    def rate(self) -> float:
        """Whole transfers per second."""
        return self.transfers_count / self.seconds

    def cpu_milliseconds(self, *groups: str) -> float | None:
        """Per whole transfer; None where a server is not on this machine."""
        windows = (self.prepare.cpu_seconds, self.finalize.cpu_seconds)
        if not all(group in cpu for cpu in windows for group in groups):
            return None
        total = sum(cpu[group] for cpu in windows for group in groups)
        return 1000 * total / self.transfers_count

    def share_of_machine(self, group: str, cores: int) -> float:
        """The part of all CPU time that went to the group."""
        used = self.prepare.cpu_seconds[group] + self.finalize.cpu_seconds[group]
        return used / (cores * (self.seconds + 2 * _REST_SECONDS))


class Transfers:
    """Makes transfers. A flusher must run already, unless a node's consumers bring it with them.

    Consumers are started for each window.
    """

    def __init__(self, node: Programs, peers: Peers, accounts_count: int) -> None:
        self._node = node
        self._peers = peers
        self._accounts_count = accounts_count
        self.chance = random.Random(_SEED)

    def new_currency(self, say: Say) -> Currency:
        """Accounts, each with money, made and filled by messages as in real life."""
        currency = workload.new_currency(self._accounts_count)
        configured = [workload.ROOT_CREDITOR_ID, *currency.creditor_ids]
        opening = [workload.configure_account(currency, creditor) for creditor in configured]
        consumers = self._node.consumers(1)
        say(f"opening {self._accounts_count:,} accounts")
        self.drain(opening, {"AccountUpdate": len(opening)}, consumers, say)
        money = workload.FIRST_MONEY
        issues: list[Pair] = [(workload.ROOT_CREDITOR_ID, each) for each in currency.creditor_ids]
        requests = workload.prepare_all(currency, issues, money)
        _, prepared = self._prepare(requests, consumers, say)
        self._finalize(prepared, consumers, say, amount=money, notices_per_transfer=1)
        return currency

    def run(
        self, scenario: Scenario, count: int, say: Say, currency: Currency | None = None
    ) -> TransferRun:
        """Makes so many transfers between accounts of the currency, or new ones; measures them."""
        currency = currency or self.new_currency(say)
        pairs = [scenario.choice(currency, self.chance) for _ in range(count)]
        requests = workload.prepare_all(currency, pairs)
        before = DiskUse.now(self._node)
        consumers = self._node.consumers(scenario.consumers_count)
        prepare, prepared = self._prepare(requests, consumers, say)
        finalize = self._finalize(prepared, consumers, say)
        disk = DiskUse.now(self._node).since(before)
        return TransferRun(scenario.name, count, prepare, finalize, disk)

    def _prepare(
        self, requests: list[Message], program: Program, say: Say
    ) -> tuple[Window, list[Prepared]]:
        expected = {"PreparedTransfer": len(requests)}
        window, outputs = self.drain(requests, expected, program, say)
        decoder = msgspec.json.Decoder(Prepared)
        return window, [decoder.decode(output.body) for output in outputs]

    def _finalize(
        self,
        prepared: Sequence[Prepared],
        program: Program,
        say: Say,
        *,
        amount: int = 1,
        notices_per_transfer: int = 2,
    ) -> Window:
        commits = [workload.finalize_transfer(each, amount) for each in prepared]
        notices_count = notices_per_transfer * len(commits)
        expected = {"FinalizedTransfer": len(commits), "AccountTransfer": notices_count}
        window, _ = self.drain(commits, expected, program, say)
        return window

    def drain(
        self, messages: list[Message], expected: dict[str, int], program: Program, say: Say
    ) -> tuple[Window, list[Delivery]]:
        """Lets a program take the messages; returns its outputs, which must be so many by type.

        The clock runs from the first registered consumer until all outputs stand in a queue.
        """
        self._peers.send(messages, say)
        node, peers = self._node, self._peers
        with node.running(*program):
            say("waiting for the first consumer")
            node.wait_until(peers.has_consumer, "A consumer", _REGISTERED_PERIOD_SECONDS)
            began = time.monotonic()
            meter = CpuMeter(node.groups)
            self._await_outputs(sum(expected.values()), say)
            seconds = time.monotonic() - began
            time.sleep(_REST_SECONDS)
            cpu_seconds = meter.seconds()
            node.check()
            memory = memory_of(node.groups)
            say("stopping the consumers")
        outputs = peers.take(peers.outputs_count())
        counts = Counter(output.message_type or "" for output in outputs)
        if counts != expected:
            strange = [each.body for each in outputs if each.message_type not in expected]
            raise Failed(
                f"Expected from the node: {expected}. It has sent: {dict(counts)}, {strange[:1]}."
            )
        return Window(seconds, cpu_seconds, memory), outputs

    def _await_outputs(self, count: int, say: Say) -> None:
        seen_count, seen_at = 0, time.monotonic()
        while (found_count := self._peers.outputs_count()) < count:
            now = time.monotonic()
            if found_count > seen_count:
                seen_count, seen_at = found_count, now
                say(f"{found_count:,} of {count:,} messages have come")
            elif now > seen_at + _STALL_SECONDS:
                raise Failed(
                    f"{found_count:,} of {count:,} messages have come from the node, and no more"
                    f" for {_STALL_SECONDS:g} s.\n{self._node.last_words()}"
                )
            self._node.check()
            time.sleep(_DRAINED_PERIOD_SECONDS)


def median_rate(runs: Sequence[TransferRun]) -> float:
    return statistics.median(run.rate for run in runs)
