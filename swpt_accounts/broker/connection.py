"""A connection to RabbitMQ, in a thread of its own that alone touches it."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any, Final

from pika.adapters.select_connection import IOLoop
from pika.channel import Channel

from swpt_accounts.broker.address import connection_parameters, without_password
from swpt_accounts.broker.frames import Content
from swpt_accounts.broker.limits import NO_LIMITS, Limits
from swpt_accounts.broker.link import Link
from swpt_accounts.broker.lost import BrokerLost, describe

__all__ = ["CHANNEL_NUMBER", "BrokerLost", "ConnectionThread"]

CHANNEL_NUMBER: Final = 1

SETUP_SECONDS: Final = 10.0
"""So long declaring, consuming and the like may take when a connection starts."""

ANSWER_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
ABORT_SECONDS: Final = 1.0

_LOOK_SECONDS: Final = 0.1
"""How long it goes unnoticed that nobody waits for a start any more."""

logger = logging.getLogger(__name__)


class ConnectionThread:
    """One AMQP connection with one channel.

    `prepare` gets the open channel, and has `ready()` called when all is set
    up. `on_content` gets messages and confirms in the order they came.
    `on_lost` is called once, when the connection is gone, has failed, or was
    stopped. All three run on the connection's own thread, except that `on_lost`
    runs on the thread that declares the connection lost. They must not block.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        prepare: Callable[[Channel], None],
        on_content: Callable[[list[Content]], None],
        on_lost: Callable[[], None],
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._parameters = connection_parameters(url)
        self.address = without_password(self._parameters)
        self._limits = limits
        self._prepare = prepare
        self._on_content = on_content
        self._on_lost = on_lost
        self._ioloop: IOLoop
        self._thread = threading.Thread(target=self._run, name=f"broker-{name}", daemon=True)
        self._link: Link | None = None
        self._channel: Channel | None = None
        self._is_aborting = False
        self._started = threading.Event()
        self._lock = threading.Lock()
        self.blocked_reason = ""
        """Why the broker reads nothing from this connection for now; empty when it does."""
        self._reason: str | None = None
        self._cause: BaseException | None = None
        self._questions: set[Future[Any]] = set()

    # From any thread:

    def start(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Connect and prepare.

        Raises `BrokerLost` if that fails, or takes too long, or is not wanted any more.
        """
        parameters = self._parameters
        attempt_seconds = parameters.stack_timeout + parameters.retry_delay
        seconds = 2 * parameters.connection_attempts * attempt_seconds + SETUP_SECONDS
        self._ioloop = IOLoop()
        self._thread.start()
        deadline = time.monotonic() + seconds
        while not self._started.wait(_LOOK_SECONDS):
            if not is_wanted():
                self.fail("nobody waits for the connection any more")
            elif time.monotonic() >= deadline:
                self.fail(f"no answer within {seconds:g} seconds")
        if self._reason is not None:
            self._thread.join(ABORT_SECONDS)
            raise self.lost()

    @property
    def is_lost(self) -> bool:
        """Tell whether the connection is gone for good."""
        return self._reason is not None

    def lost(self) -> BrokerLost:
        """Return the exception to raise, after the connection was lost."""
        error = BrokerLost(f"the broker at {self.address}: {self._reason}")
        error.__cause__ = self._cause
        return error

    def post(self, callback: Callable[[], None]) -> None:
        """Have the callback called on the connection's thread, after all posted before.

        Raises `BrokerLost` if that will never happen. If the connection is lost
        at this very moment, it may still not happen: `on_lost` tells.
        """
        if self._reason is not None:
            raise self.lost()
        self._ioloop.add_callback_threadsafe(callback)

    def ask(
        self,
        question: Callable[[Channel, Callable[[Any], None]], object],
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        """Put the question to the channel, and return the method that answers it.

        The question is called with the channel and a callback for the answer.
        Raises what the question raises, and `BrokerLost`, also when the answer
        takes longer than `seconds`.
        """
        answer: Future[Any] = Future()

        def accept(frame: Any) -> None:
            if not answer.done():
                answer.set_result(frame.method)

        def put() -> None:
            try:
                question(self.channel, accept)
            except Exception as error:  # noqa: BLE001 - whoever asks gets it
                if not answer.done():
                    answer.set_exception(error)

        with self._lock:
            self._questions.add(answer)
        try:
            self.post(put)
            return answer.result(seconds)
        except TimeoutError:
            self.fail(f"no answer within {seconds:g} seconds")
            raise self.lost() from None
        finally:
            with self._lock:
                self._questions.discard(answer)

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        """Declare the connection lost, and drop it without farewell."""
        self._lose(reason, cause)
        self._ioloop.add_callback_threadsafe(self._abort)

    def drop(self, reason: str) -> None:
        """Declare the connection lost, and wait until it is gone; never raise."""
        if self._thread.ident is None:
            self._lose(reason)
            return
        self.fail(reason)
        self._thread.join(ABORT_SECONDS)

    def stop(self, farewell: Callable[[Channel, Callable[[], None]], None] | None = None) -> None:
        """Close the connection, in order if the broker plays along in time, and never raise.

        The farewell is called on the connection's thread, with the channel and
        a function to call when the connection may be closed.
        """
        if self._thread.ident is None:
            self._lose("the connection was never started")
            return
        self._ioloop.add_callback_threadsafe(partial(self._close, farewell))
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            logger.warning(
                "The broker at %s has not closed the connection within %g seconds; dropping it.",
                self.address,
                STOP_SECONDS,
            )
            self.drop("the connection was dropped, since it would not close")

    # From the connection's thread only:

    @property
    def channel(self) -> Channel:
        """The open channel."""
        assert self._channel is not None, "the channel is not open yet"
        return self._channel

    @property
    def frame_size_max(self) -> int:
        """The greatest frame, in bytes, that the broker and we have agreed on."""
        assert self._link is not None, "there is no connection yet"
        return self._link.frame_size_max

    def ready(self) -> None:
        """Let `start` return."""
        self._started.set()

    def send(self, frames: bytes) -> None:
        """Send encoded frames; they are buffered if the broker does not read."""
        if self._link is not None and self._link.is_open:
            self._link.send(frames)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have the callback called after so long, unless the connection is lost before."""
        self._ioloop.call_later(seconds, callback)

    def _run(self) -> None:
        try:
            self._link = Link(
                self._parameters,
                self._ioloop,
                CHANNEL_NUMBER,
                self._limits,
                on_open=self._open_channel,
                on_content=self._on_content,
                on_defect=self._on_defect,
                on_end=self._on_end,
            )
            self._ioloop.start()
        except Exception as error:
            logger.exception("The connection to the broker at %s is at an end:", self.address)
            self._lose(f"a defect on our side: {error!r}", error)
            self._tear_down()
        finally:
            self._lose("the connection's thread has ended")
            self._ioloop.close()

    def _tear_down(self) -> None:
        """Close the socket, after the loop was ended by an exception."""
        try:
            self._ioloop.add_callback_threadsafe(self._abort)
            self._ioloop.start()
        except Exception:
            logger.exception("The connection to %s could not be torn down.", self.address)

    def _open_channel(self, link: Link) -> None:
        link.add_on_connection_blocked_callback(self._on_blocked)
        link.add_on_connection_unblocked_callback(self._on_unblocked)
        link.channel(CHANNEL_NUMBER, on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_close)
        self._prepare(channel)

    def _on_blocked(self, _connection: object, frame: Any) -> None:
        self.blocked_reason = f"it has blocked this connection: {frame.method.reason}"

    def _on_unblocked(self, _connection: object, _frame: object) -> None:
        self.blocked_reason = ""

    def _on_channel_close(self, _channel: Channel, error: Exception) -> None:
        assert self._link is not None
        if self._link.is_open:
            self._lose(describe(error), error)
            self._link.close()

    def _on_defect(self, error: Exception) -> None:
        logger.error(
            "What the broker at %s has sent was not understood:", self.address, exc_info=error
        )
        self._lose(f"a defect on our side: {error!r}", error)

    def _on_end(self, error: BaseException) -> None:
        self._lose(describe(error), error)
        self._ioloop.stop()

    def _close(self, farewell: Callable[[Channel, Callable[[], None]], None] | None) -> None:
        link, channel = self._link, self._channel
        if link is None or channel is None or not channel.is_open:
            self._abort()
        elif farewell is None:
            link.close()
        else:
            farewell(channel, link.close)

    def _abort(self) -> None:
        if self._link is None or self._link.is_closed:
            self._ioloop.stop()
        elif not self._is_aborting:
            self._is_aborting = True
            self._link.abort()

    def _lose(self, reason: str, cause: BaseException | None = None) -> None:
        with self._lock:
            if self._reason is not None:
                return
            self._cause = cause
            self._reason = reason
            questions = list(self._questions)
        for question in questions:
            with contextlib.suppress(InvalidStateError):  # It was answered at the last moment.
                question.set_exception(self.lost())
        self._started.set()
        self._on_lost()
