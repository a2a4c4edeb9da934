"""Requests under way, over a limited number of connections, and who has to give one up."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from swpt_accounts.web.answers import Answer, Question, path_of, read
from swpt_accounts.web.http_get import Response
from swpt_accounts.web.round import Round

ANSWER_SECONDS: Final = 0.45
"""How long an answer may take. It is less than anybody waits, who then knows who is silent."""


class Request(msgspec.Struct, eq=False):
    """A question on its way to an answer; nobody has asked a probe, which has no round."""

    question: Question
    group: int
    asked_at: float
    round: Round | None = None
    begun_at: float = 0.0
    timer: asyncio.TimerHandle | None = None
    task: "asyncio.Task[Answer] | None" = None

    def settle(self) -> None:
        """Let whoever has asked wait no longer."""
        if self.round is not None:
            self.round.settle(self.question)


class Listener(Protocol):
    """Hears what becomes of each request, until `drop_all`."""

    def take_answer(self, request: Request, answer: Answer) -> None:
        """The request has ended."""

    def take_failure(self, request: Request, trouble: str, *, is_awaited: bool) -> None:
        """The request has ended without an answer."""

    def take_overdue(self, request: Request, trouble: str) -> None:
        """The request goes on, but nobody waits for it any more."""


class Connections:
    """At most `count_max` requests at once, each of which takes `timeout_seconds` at most.

    While somebody waits, a request is *awaited*. After `ANSWER_SECONDS` it is
    *patient*, as probes are from the beginning: it goes on, until the
    connection is needed for something else. Belongs to one event loop.
    """

    def __init__(
        self,
        get: Callable[[str], Awaitable[Response]],
        listener: Listener,
        *,
        count_max: int,
        timeout_seconds: float,
    ) -> None:
        self._get = get
        self._listener = listener
        self._count_max = count_max
        self._timeout_seconds = timeout_seconds
        self._awaited: set[Request] = set()
        # Those that have been under way for longest come first.
        self._patient: dict[Request, None] = {}

    @property
    def has_room(self) -> bool:
        """Tell whether a request can be begun."""
        return len(self._awaited) + len(self._patient) < self._count_max

    def is_patient(self, request: Request) -> bool:
        """Tell whether the request is under way, and nobody waits for it."""
        return request in self._patient

    def make_room(self) -> bool:
        """Drop a patient request, if need be; tell whether a request can be begun."""
        if not self.has_room and self._patient:
            # The others are more likely to be answered at last.
            self._drop(next(reversed(self._patient)))
        return self.has_room

    def drop_younger_half(self) -> None:
        """Leave at most half of the connections to patient requests, those that wait longest."""
        for request in list(self._patient)[self._count_max // 2 :]:
            self._drop(request)

    def begin(self, request: Request) -> None:
        """Send a request that somebody waits for. There must be room."""
        self._awaited.add(request)
        self._send(request)

    def begin_probe(self, request: Request) -> None:
        """Send a request that nobody waits for. There must be room."""
        self._patient[request] = None
        self._send(request)

    def make_patient(self, request: Request) -> None:
        """Let nobody wait for the request any more."""
        self._awaited.discard(request)
        self._patient[request] = None
        self._set_timer(request)

    def drop_all(self) -> None:
        """Drop whatever is under way."""
        for request in [*self._awaited, *self._patient]:
            self._cancel(request)

    def _send(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        request.begun_at = loop.time()
        self._set_timer(request)
        request.task = loop.create_task(self._request(request.question))
        request.task.add_done_callback(partial(self._done, request))

    async def _request(self, question: Question) -> Answer:
        return read(question, await self._get(path_of(question)))

    def _set_timer(self, request: Request) -> None:
        seconds, in_time = self._timeout_seconds, self._give_up
        if request in self._awaited and seconds > ANSWER_SECONDS:
            seconds, in_time = ANSWER_SECONDS, self._overdue
        if request.timer is not None:
            request.timer.cancel()
        loop = asyncio.get_running_loop()
        request.timer = loop.call_at(request.begun_at + seconds, in_time, request)

    def _overdue(self, request: Request) -> None:
        self.make_patient(request)
        self._listener.take_overdue(request, f"no answer within {ANSWER_SECONDS} seconds")

    def _give_up(self, request: Request) -> None:
        is_awaited = request in self._awaited
        self._cancel(request)
        trouble = f"no answer within {self._timeout_seconds:g} seconds"
        self._listener.take_failure(request, trouble, is_awaited=is_awaited)

    def _drop(self, request: Request) -> None:
        self._cancel(request)
        self._listener.take_failure(request, "the connection was needed", is_awaited=False)

    def _cancel(self, request: Request) -> None:
        assert request.task is not None
        self._strike_off(request)
        request.task.cancel()

    def _strike_off(self, request: Request) -> None:
        self._awaited.discard(request)
        self._patient.pop(request, None)
        if request.timer is not None:
            request.timer.cancel()

    def _done(self, request: Request, task: "asyncio.Task[Answer]") -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        is_awaited = request in self._awaited
        if not is_awaited and request not in self._patient:
            return  # It was cancelled.
        self._strike_off(request)
        if error is None:
            self._listener.take_answer(request, task.result())
        else:
            # What `read` says is a sentence, and needs no name of a class.
            name = "" if type(error) is ValueError else f"{type(error).__name__}: "
            trouble = f"{name}{error}".rstrip(": ")
            self._listener.take_failure(request, trouble, is_awaited=is_awaited)
