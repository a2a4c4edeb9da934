"""Which question is asked when, so that nobody suffers from a shard that is silent.

Groups of accounts take turns. A group that gave no answer in time is not asked
any more, except by probes, until one of them is answered.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from swpt_accounts.web.answers import Answer, Question
from swpt_accounts.web.connections import Connections, Request
from swpt_accounts.web.http_get import HttpGet
from swpt_accounts.web.memory import Memory
from swpt_accounts.web.round import Round
from swpt_accounts.web.silence import Silence
from swpt_accounts.web.silence_report import SilenceReport

PROBE_SECONDS: Final = 1.0
"""How often all silent groups are probed, together."""

# With more silent groups than these they are probed in turns: probes must not
# take much of the processor.
PROBES_MAX: Final = 256

# After so many questions without an answer, the rest of the group's are not asked.
FAILURES_MAX: Final = 4

# A group that may turn out to be silent gets such a part of the connections.
_GROUPS_AT_ONCE: Final = 10

# Before more are begun, those that are under way get the processor. A hundred
# at once would all be late when the processor is busy.
_BEGUN_AT_ONCE: Final = 8


class _Group(msgspec.Struct, eq=False):
    """A group that is not silent, while it is being asked."""

    waiting: deque[Request] = msgspec.field(default_factory=deque)
    under_way: set[Request] = msgspec.field(default_factory=set)
    # Still under way, but nobody waits for them.
    overdue: set[Request] = msgspec.field(default_factory=set)
    has_turn: bool = False
    answered_at: float = float("-inf")
    # What has failed since then, with the last one's trouble.
    failures_count: int = 0
    failure: tuple[Question, str] | None = None


class Asking:
    """Asks, probes, and decides which groups are silent. Belongs to one event loop.

    See `Connections` for the limits.
    """

    def __init__(
        self,
        get: HttpGet,
        memory: Memory,
        silence: Silence,
        report: SilenceReport,
        *,
        connections_max: int,
        timeout_seconds: float,
    ) -> None:
        self._get = get
        self._memory = memory
        self._silence = silence
        self._report = report
        self._connections = Connections(
            get, self, count_max=connections_max, timeout_seconds=timeout_seconds
        )
        self._group_connections_max = max(1, connections_max // _GROUPS_AT_ONCE)
        self._waiting_seconds_max = timeout_seconds
        # What has been asked of groups that are not silent.
        self._requests: dict[Question, Request] = {}
        self._groups: dict[int, _Group] = {}
        self._turns: deque[_Group] = deque()
        self._probes: deque[tuple[int, Question]] = deque()
        self._is_going_on = False
        self._probe_timer: asyncio.TimerHandle | None = None
        self._report_timer: asyncio.TimerHandle | None = None

    def ask(self, round_: Round) -> None:
        """Ask the round's questions, as far as their groups are not silent."""
        now = _now()
        for group, question in round_.in_vain.items():
            if group in self._silence:
                self._silence.note(group, question)
        for question, group in round_.questions.items():
            request = self._requests.get(question)
            if group in self._silence:
                self._silence.note(group, question)
                round_.settle(question)
            elif request is None:
                self._enqueue(Request(question, group, now, round_))
            elif self._connections.is_patient(request):
                round_.settle(question)
            else:
                request.round = round_
        self._go_on_soon()

    async def close(self) -> None:
        """Give up all that is under way, and close all connections."""
        for timer in (self._probe_timer, self._report_timer):
            if timer is not None:
                timer.cancel()
        self._write_report()
        self._turns.clear()
        self._probes.clear()
        self._connections.drop_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._get.close()

    def take_answer(self, request: Request, answer: Answer) -> None:
        """Remember the answer, and that its group gives answers."""
        now = _now()
        round_ = request.round
        is_in_time = round_ is not None and round_.answer(request.question, answer)
        self._memory.remember(request.question, answer, is_late=not is_in_time)
        if request.group in self._silence:
            self._report.was_freed(request.group, self._silence.end(request.group, now))
            self._report_soon()
        group = self._groups.get(request.group)
        if group is not None:
            group.answered_at = now
            group.failures_count = 0
            if group.failure is not None:
                self._report.is_unanswered(*group.failure, now)
                group.failure = None
        self._leave(request)
        self._go_on_soon()

    def take_failure(self, request: Request, trouble: str, *, is_awaited: bool) -> None:
        """Find out whether the group has fallen silent, or has trouble with one question only."""
        if is_awaited:
            group = self._groups[request.group]
            group.under_way.discard(request)
            group.failures_count += 1
            group.failure = (request.question, trouble)
            if group.answered_at >= request.asked_at:
                self._report.is_unanswered(request.question, trouble, _now())
                group.failure = None
            elif group.failures_count >= FAILURES_MAX or not (group.waiting or group.under_way):
                self._fall_silent(request, trouble)
        self._leave(request)
        request.settle()
        self._go_on_soon()

    def take_overdue(self, request: Request, trouble: str) -> None:
        """Wait no longer for any of the group's answers, unless others were in time."""
        group = self._groups[request.group]
        group.under_way.discard(request)
        group.overdue.add(request)
        if group.answered_at >= request.begun_at:
            self._report.is_unanswered(request.question, trouble, _now())
            self._give_turn(group)
        else:
            self._fall_silent(request, trouble)
        request.settle()
        self._go_on_soon()

    def _enqueue(self, request: Request) -> None:
        self._requests[request.question] = request
        group = self._groups.setdefault(request.group, _Group())
        group.waiting.append(request)
        self._give_turn(group)

    def _give_turn(self, group: _Group) -> None:
        has_room = len(group.under_way) < self._group_connections_max
        if group.waiting and has_room and not group.has_turn:
            group.has_turn = True
            self._turns.append(group)

    def _go_on_soon(self) -> None:
        if not self._is_going_on:
            self._is_going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Begin some of the requests that there are connections for."""
        self._is_going_on = False
        for _ in range(_BEGUN_AT_ONCE):
            if self._turns and self._connections.make_room():
                group = self._turns.popleft()
                group.has_turn = False
                if group.waiting:
                    self._begin(group.waiting.popleft(), group)
            elif self._probes and self._connections.has_room:
                number, question = self._probes.popleft()
                if number in self._silence:
                    self._connections.begin_probe(Request(question, number, _now()))
            else:
                return
        self._go_on_soon()

    def _begin(self, request: Request, group: _Group) -> None:
        if _now() > request.asked_at + self._waiting_seconds_max:
            self._leave(request)
            request.settle()
        else:
            group.under_way.add(request)
            self._connections.begin(request)
            self._give_turn(group)

    def _leave(self, request: Request) -> None:
        """Strike off a request that has ended."""
        if self._requests.get(request.question) is request:
            del self._requests[request.question]
        group = self._groups.get(request.group)
        if group is not None:
            group.under_way.discard(request)
            group.overdue.discard(request)
            self._give_turn(group)
            if not (group.waiting or group.under_way or group.overdue):
                del self._groups[request.group]

    def _fall_silent(self, request: Request, trouble: str) -> None:
        """Ask nothing more of the group; what is under way may still be answered."""
        group = self._groups.pop(request.group)
        for other in group.under_way:
            self._connections.make_patient(other)
        others = (*group.waiting, *group.under_way, *group.overdue)
        group.waiting.clear()
        questions = [*(other.question for other in others), request.question]
        self._silence.begin(request.group, questions, _now())
        for other in others:
            self._requests.pop(other.question, None)
            other.settle()
        self._report.has_fallen(request.group, request.question, trouble)
        self._report_soon()
        if self._probe_timer is None:
            self._probe_timer = _later(PROBE_SECONDS, self._probe)

    def _probe(self) -> None:
        self._probe_timer = None
        if self._silence:
            self._connections.drop_younger_half()
            self._probes = deque(self._silence.next_probes(PROBES_MAX))
            self._go_on_soon()
            self._probe_timer = _later(PROBE_SECONDS, self._probe)

    def _report_soon(self) -> None:
        if self._report_timer is None:
            self._report_timer = _later(self._report.seconds_left(_now()), self._write_report)

    def _write_report(self) -> None:
        self._report_timer = None
        self._report.write(len(self._silence), _now())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _later(seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, function)
