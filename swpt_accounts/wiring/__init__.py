"""The composition root: settings in, running parts out.

Each command imports only what it needs, so that a command for RabbitMQ never
loads the database driver, and the other way round.
"""

from swpt_accounts.wiring.messages import consume_messages, flush, make_web_app
from swpt_accounts.wiring.parts import policy_of, utc_now
from swpt_accounts.wiring.preparation import (
    await_migrations,
    configure_chores_queue,
    configure_database,
    delete_queue,
    list_dead_letters,
    send_back_dead_letters,
    subscribe,
    unsubscribe,
)
from swpt_accounts.wiring.upkeep import consume_chores, scan
from swpt_accounts.wiring.waiting import (
    count_parked,
    drop_parked,
    read_parked,
    send_parked,
    summarize_waiting,
)

__all__ = [
    "await_migrations",
    "configure_chores_queue",
    "configure_database",
    "consume_chores",
    "consume_messages",
    "count_parked",
    "delete_queue",
    "drop_parked",
    "flush",
    "list_dead_letters",
    "make_web_app",
    "policy_of",
    "read_parked",
    "scan",
    "send_back_dead_letters",
    "send_parked",
    "subscribe",
    "summarize_waiting",
    "unsubscribe",
    "utc_now",
]
