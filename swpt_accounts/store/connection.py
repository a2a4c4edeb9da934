"""Opening connections to the shard's database."""

import time
from collections.abc import Generator
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn

# A client that has stopped in the middle of a transaction would keep its rows from
# everybody else; one whose machine has vanished, or that does not read what it has
# asked for, must be noticed too.
SESSION_OPTIONS: Final = (
    "-c TimeZone=UTC -c idle_in_transaction_session_timeout=10s -c tcp_user_timeout=10s"
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)

IDLE_SECONDS_MAX: Final = 10

HOLDS_LOCKS: Final = f" -c idle_session_timeout={IDLE_SECONDS_MAX}s"
"""For sessions that hold advisory locks, by which processes share the work.

The server closes one that asks for nothing for so long: its process may be frozen,
and others wait for its share. One that is alive asks for something more often than
that, even when it has nothing to do.
"""

LOOK_UPS_ONLY: Final = (
    " -c enable_seqscan=off -c enable_bitmapscan=off"
    " -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
    " -c plan_cache_mode=force_generic_plan"
)
"""For sessions that only ever look for rows by their keys, a batch at a time.

Right after a start, when a table is small or nobody has counted its rows yet,
PostgreSQL may prefer to read all of it, and keep to that plan while it grows.
And since it takes arrays of unknown length to be longer than those it is given,
it would plan each small batch anew, which takes longer than carrying it out.
"""

ANSWER_SECONDS_MAX: Final = 12.0
"""So long a server may take to answer: a little longer than most workers let a statement take.

One that is frozen, or whose disk is, keeps its connections open, and says nothing.
"""

# A half-open connection must be noticed within seconds, not after the two
# hours that the operating system waits by default.
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def conninfo(postgres_url: str, session_options: str = "") -> str:
    """Return libpq connection information for a URL such as `postgresql+psycopg://u:p@host/db`.

    The driver suffix is dropped, libpq's query options are kept and go before
    `session_options`, a session always runs in UTC. Raises
    `psycopg.ProgrammingError` for a URL that libpq does not understand.
    """
    scheme, separator, rest = postgres_url.partition("://")
    options = conninfo_to_dict(f"{scheme.partition('+')[0]}{separator}{rest}")
    given = str(options.pop("options", "") or "")
    all_options = f"{given} {SESSION_OPTIONS}{session_options}".strip()
    return make_conninfo("", **{**_DEFAULTS, **options, "options": all_options})


def connect(
    postgres_url: str,
    *,
    application_name: str,
    autocommit: bool = False,
    session_options: str = "",
    answer_seconds: float | None = None,
) -> psycopg.Connection:
    """Open one connection; raise `psycopg.OperationalError` when the server cannot be reached.

    When the server takes longer than `answer_seconds` for any answer (or `ANSWER_SECONDS_MAX`),
    the connection is closed, and the same error raised: what was asked may have been done.
    """
    connection = _Connection.connect(
        conninfo(postgres_url, session_options),
        application_name=application_name,
        autocommit=autocommit,
    )
    connection.answer_seconds = answer_seconds or ANSWER_SECONDS_MAX
    return connection


class _Connection(psycopg.Connection):
    """Waits for answers, but not for ever."""

    answer_seconds = ANSWER_SECONDS_MAX

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **named: Any) -> Any:
        """Do what psycopg does, within the limit."""
        return super().wait(_limited(gen, self.pgconn, self.answer_seconds), *arguments, **named)


class AsyncConnection(psycopg.AsyncConnection):
    """The same, for a server that is waited for by many at once."""

    answer_seconds = ANSWER_SECONDS_MAX

    async def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **named: Any) -> Any:
        """Do what psycopg does, within the limit."""
        limited = _limited(gen, self.pgconn, self.answer_seconds)
        return await super().wait(limited, *arguments, **named)


def _limited(
    gen: Generator[Any, Any, Any], session: PGconn, seconds: float
) -> Generator[Any, Any, Any]:
    """Give on what psycopg tells its generator: also, every 0.1 seconds, that nothing has come."""
    deadline = time.monotonic() + seconds
    try:
        awaited = next(gen)
        while True:
            ready = yield awaited
            if not ready and time.monotonic() >= deadline:
                session.finish()
                raise psycopg.OperationalError(
                    f"the server has not answered for {seconds:g} seconds"
                )
            awaited = gen.send(ready)
    except StopIteration as end:
        return end.value
