"""An event loop in a thread of its own, which nobody has to wait for."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from typing import Any, Final

CLOSE_SECONDS: Final = 2.0


class Background:
    """Runs functions and coroutines, one at a time, from when it is made until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Unawaited())
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the function called soon, in the background."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def close(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the coroutine, and end; what takes longer than `CLOSE_SECONDS` is left behind."""
        ending = asyncio.run_coroutine_threadsafe(farewell(), self._loop)
        try:
            with suppress(TimeoutError):
                ending.result(CLOSE_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        # Signals are for the main thread, which may be asleep.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


class _Unawaited(ThreadPoolExecutor):
    """Looks up names in threads that don't keep the process alive.

    While the name servers are away, a look-up takes up to a minute, and the
    interpreter waits at its end for all threads of an ordinary executor.
    """

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **named: Any
    ) -> "Future[Any]":
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = function(*arguments, **named)
                except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
                    future.set_exception(error)
                else:
                    future.set_result(result)

        Thread(target=run, daemon=True).start()
        return future
