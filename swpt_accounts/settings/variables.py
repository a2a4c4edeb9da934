"""Every environment variable: its name, type, default, unit and meaning.

The attribute is the variable's name in lower case. Defaults are written as
they would stand in the environment. Three kinds:

* `public`: part of the deployment contract, explained in the README;
* `internal`: operators may set it, but should rarely need to;
* `unused`: deployments set it, this design has no use for it. It is accepted
  and its type is checked; the meaning gives the reason.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import environ

from swpt_accounts.settings.readers import (
    Reader,
    amqp_url,
    boolean,
    choice,
    exactly,
    http_url,
    integer,
    json_object,
    moment,
    number,
    optional,
    postgres_url,
    queue_name,
    routing_key,
    text,
    variable_names,
)

DECLARED: Final = "declared"

# Beyond these limits a setting is surely a mistake.
PROCESSES_MAX: Final = 1_000
THREADS_MAX: Final = 1_000
SECONDS_MAX: Final = 86_400
DAYS_MAX: Final = 36_500
SCAN_HOURS_MAX: Final = 48
# An AMQP frame has 16 bits for it.
PREFETCH_COUNT_MAX: Final = 65_535
# AccountUpdate.commit_period is in seconds, and has 31 bits.
COMMIT_DAYS_MAX: Final = 24_855
INTEGER_MAX: Final = 2**31 - 1

_PROCESSES = integer(0, PROCESSES_MAX)
_PREFETCH_COUNT = integer(1, PREFETCH_COUNT_MAX)
_ANY_INTEGER = integer(-INTEGER_MAX, INTEGER_MAX)
_DAYS = number("days", at_most=DAYS_MAX)
_ANY_SECONDS = number("seconds", at_least=-SECONDS_MAX, at_most=SECONDS_MAX)

_ONE_BATCH_AT_A_TIME = "a process applies one batch at a time; more processes do more work"
_APPLIED_ON_RECEIPT = "a message is applied in the batch that receives it, not in a later stage"
_PREFETCH_SIZE = "RabbitMQ does not implement a limit in bytes"
_PAGE_SIZE = "a page of the outbox holds messages of all types, and its size is fixed"
_SCAN_BY_KEY = "tables are walked in the order of their keys, not block by block"


@dataclass(frozen=True)
class Declared:
    """What `environ.var` has no place for."""

    kind: str
    reader: Reader
    default: str | None
    meaning: str


def _declare(kind: str, default: str | None, reader: Reader, meaning: str) -> Any:
    attribute = environ.var(default, converter=reader, help=meaning)
    attribute.metadata[DECLARED] = Declared(kind, reader, default, meaning)
    return attribute


def public(default: str | None, reader: Reader, meaning: str) -> Any:
    """Declare a variable of the deployment contract."""
    return _declare("public", default, reader, meaning)


def internal(default: str | None, reader: Reader, meaning: str) -> Any:
    """Declare a variable that rarely needs to be set."""
    return _declare("internal", default, reader, meaning)


def unused(default: str | None, reader: Reader, reason: str) -> Any:
    """Declare a variable that is accepted without having an effect, and why."""
    return _declare("unused", default, reader, f"No effect: {reason}.")


@environ.config(prefix="", frozen=True)
class Settings:
    """All settings of a process. They hold passwords: never print them whole."""

    def __repr__(self) -> str:
        return "<Settings>"

    # Servers, and what is used there.

    postgres_url: str = public(
        "",
        postgres_url(),
        "The database of this shard. Required, except by commands that only concern RabbitMQ.",
    )
    protocol_broker_url: str = public(
        "amqp://guest:guest@localhost:5672",
        amqp_url(),
        "The RabbitMQ server that SMP messages come from and go to.",
    )
    protocol_broker_queue: str = public(
        "swpt_accounts", queue_name(), "The queue that SMP messages are consumed from."
    )
    protocol_broker_queue_routing_key: str = public(
        "#",
        routing_key(),
        "The binding key of that queue, and so the accounts that belong to this shard.",
    )
    chores_broker_url: str = public(
        "amqp://guest:guest@localhost:5672",
        amqp_url(),
        "The RabbitMQ server that holds the queue of chores.",
    )
    chores_broker_queue: str = public(
        "swpt_accounts_chores",
        queue_name(),
        "The queue that chores are sent to, and consumed from.",
    )
    fetch_api_url: str | None = public(
        None,
        http_url(),
        "Where accounts of all shards can be asked about. Needed when there is another shard.",
    )

    # How much is done at the same time.

    webserver_processes: int = public(
        "1", integer(1, PROCESSES_MAX), "Processes of the web server."
    )
    webserver_threads: int = public(
        "3",
        integer(1, THREADS_MAX),
        "Database connections of each process of the web server.",
    )
    webserver_port: int = public(
        "8080", integer(1, 65_535), "The TCP port on which the web server listens."
    )
    protocol_broker_processes: int = public(
        "1", _PROCESSES, "Processes that consume SMP messages; with 0, the command idles."
    )
    protocol_broker_prefetch_count: int = public(
        # One by one, each message would cost a transaction of its own. A queue
        # that is nearly empty makes small batches by itself.
        "1000",
        _PREFETCH_COUNT,
        "The most SMP messages that are taken and applied as one batch; above 796, it is 796.",
    )
    protocol_broker_threads: int = unused("1", _ANY_INTEGER, _ONE_BATCH_AT_A_TIME)
    protocol_broker_prefetch_size: int = unused("0", _ANY_INTEGER, _PREFETCH_SIZE)
    chores_broker_processes: int = public(
        "1", _PROCESSES, "Processes that consume chores; with 0, the command idles."
    )
    chores_broker_prefetch_count: int = public(
        "1000",
        _PREFETCH_COUNT,
        "The most chores that are taken and applied as one batch; above 796, it is 796.",
    )
    chores_broker_threads: int = unused("1", _ANY_INTEGER, _ONE_BATCH_AT_A_TIME)
    chores_broker_prefetch_size: int = unused("0", _ANY_INTEGER, _PREFETCH_SIZE)
    flush_processes: int = public(
        "1", _PROCESSES, "Processes that send outgoing messages; with 0, the command idles."
    )
    flush_period: float = public(
        "2.0",
        number("seconds", at_most=SECONDS_MAX),
        "How often the outbox is looked at when nobody tells that there is something to send.",
    )
    app_account_update_delay_seconds: float | None = public(
        None,
        optional(number("seconds", at_most=SECONDS_MAX)),
        "How long an AccountUpdate about a changed balance may wait for further changes. If not"
        " set, an hour, or APP_ACCOUNTS_SCAN_HOURS if that is less.",
    )
    process_transfer_requests_threads: int = unused("1", _ANY_INTEGER, _APPLIED_ON_RECEIPT)
    process_finalization_requests_threads: int = unused("1", _ANY_INTEGER, _APPLIED_ON_RECEIPT)
    process_balance_changes_threads: int = unused("1", _ANY_INTEGER, _APPLIED_ON_RECEIPT)

    # Shards, setting up, logs.

    delete_parent_shard_records: bool = public(
        "false", boolean(), "After a split: delete what the parent shard has left to the sibling."
    )
    remove_from_archive_threshold_date: datetime = public(
        "1970-01-01",
        moment(),
        "Registered balance changes that were committed before this may be forgotten.",
    )
    setup_rabbitmq_bindings: bool = public(
        "",
        exactly("yes"),
        "With `yes`, `configure` also does what `subscribe` does.",
    )
    substitute_localhost_in_vars: tuple[str, ...] = public(
        "",
        variable_names(),
        "In these variables the entry point replaces localhost with the container's gateway.",
    )
    app_log_level: str = public(
        "warning",
        choice("debug", "info", "warning", "error"),
        "The least severe log lines that are written; debug adds the web server's access log.",
    )
    app_log_format: str = public("text", choice("text", "json"), "How log lines are written.")

    # The operator's delays and limits.

    app_intranet_extreme_delay_days: float = internal(
        "14", _DAYS, "After so long, no message is still under way between our own shards."
    )
    app_message_max_delay_days: float = internal(
        "7", _DAYS, "A ConfigureAccount that is older than this does not create an account."
    )
    app_account_heartbeat_days: float = internal(
        "7",
        number("days", at_most=14),
        "An AccountUpdate is sent at least so often for each account.",
    )
    app_prepared_transfer_remainder_days: float = internal(
        "7", _DAYS, "How often the coordinator is reminded of a transfer that stays prepared."
    )
    app_prepared_transfer_max_delay_days: float = internal(
        "90",
        number("days", at_least=30, at_most=COMMIT_DAYS_MAX),
        "For how long a prepared transfer can be committed (AccountUpdate.commit_period).",
    )
    app_min_interest_capitalization_days: float = internal(
        "14",
        number("days", at_most=92),
        "Interest is added to an account's principal at most so often. With 0, all of it is, at"
        " every scan.",
    )
    app_max_interest_to_principal_ratio: float = internal(
        "0.0001",
        number("", above=0, at_most=0.10),
        "Interest that exceeds this part of the principal is added to it.",
    )
    app_deletion_attempts_min_days: float = internal(
        "14", _DAYS, "The deletion of an account is attempted at most so often."
    )

    # Questions to other shards.

    app_fetch_api_timeout_seconds: float = internal(
        "5",
        number("seconds", above=0, at_most=SECONDS_MAX),
        "How long a question to another shard may take. A batch waits for half a second at most.",
    )
    app_fetch_connections: int = internal(
        "100", integer(1, 10_000), "The most questions that a process asks at the same time."
    )
    app_fetch_data_cache_size: int = internal(
        "1000",
        integer(1, 10_000_000),
        "The most root configurations, and as many reachable accounts, that a process remembers.",
    )
    app_fetch_dns_cache_seconds: float = internal(
        "10",
        number("seconds", at_most=SECONDS_MAX),
        "The time for which the address of FETCH_API_URL is remembered.",
    )

    # Periodic work.

    app_accounts_scan_hours: float = internal(
        "8",
        number("hours", at_most=SCAN_HOURS_MAX),
        "How long one pass over all accounts may take.",
    )
    app_accounts_scan_blocks_per_query: int = unused("40", _ANY_INTEGER, _SCAN_BY_KEY)
    app_accounts_scan_beat_millisecs: int = unused("100", _ANY_INTEGER, _SCAN_BY_KEY)
    app_prepared_transfers_scan_days: float = internal(
        "1", _DAYS, "How long one pass over all prepared transfers may take."
    )
    app_prepared_transfers_scan_blocks_per_query: int = unused("40", _ANY_INTEGER, _SCAN_BY_KEY)
    app_prepared_transfers_scan_beat_millisecs: int = unused("100", _ANY_INTEGER, _SCAN_BY_KEY)
    app_registered_balance_changes_scan_days: float = internal(
        "7", _DAYS, "How long one pass over all registered balance changes may take."
    )
    app_registered_balance_changes_scan_blocks_per_query: int = unused(
        "40", _ANY_INTEGER, _SCAN_BY_KEY
    )
    app_registered_balance_changes_scan_beat_millisecs: int = unused(
        "100", _ANY_INTEGER, _SCAN_BY_KEY
    )
    app_verify_shard_yield_per: int = internal(
        "10000", integer(1, 1_000_000), "Rows that `verify_shard_content` reads at once."
    )
    app_verify_shard_sleep_seconds: float = internal(
        "0.005",
        number("seconds", at_most=SECONDS_MAX),
        "How long `verify_shard_content` pauses after so many rows.",
    )

    # What other designs need.

    app_process_balance_changes_wait: float = unused("2.0", _ANY_SECONDS, _APPLIED_ON_RECEIPT)
    app_process_balance_changes_max_count: int = unused("50000", _ANY_INTEGER, _APPLIED_ON_RECEIPT)
    app_process_transfer_requests_wait: float = unused("2.0", _ANY_SECONDS, _APPLIED_ON_RECEIPT)
    app_process_transfer_requests_max_count: int = unused(
        "50000", _ANY_INTEGER, _APPLIED_ON_RECEIPT
    )
    app_process_finalization_requests_wait: float = unused("2.0", _ANY_SECONDS, _APPLIED_ON_RECEIPT)
    app_process_finalization_requests_max_count: int = unused(
        "50000", _ANY_INTEGER, _APPLIED_ON_RECEIPT
    )
    app_flush_rejected_transfers_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_prepared_transfers_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_finalized_transfers_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_account_transfers_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_account_updates_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_account_purges_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_rejected_configs_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_flush_pending_balance_changes_burst_count: int = unused("5000", _ANY_INTEGER, _PAGE_SIZE)
    app_use_pgplsql_functions: bool = unused(
        "true", boolean(), "each rule exists once, in Python, and not as a stored procedure"
    )
    app_associated_loggers: str = unused(
        "", text(), "the log level applies to all loggers of this program"
    )
    sqlalchemy_engine_options: dict[str, Any] = unused(
        '{"pool_size": 0}',
        json_object(),
        "connections are made by psycopg; libpq's options can be given in POSTGRES_URL",
    )
    sqlalchemy_echo: bool = unused(
        "false", boolean(), "SQL statements do not go through SQLAlchemy"
    )
    max_content_length: int = unused(
        "20480", _ANY_INTEGER, "the web server only answers requests that have no body"
    )
