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

__all__ = [
    "await_migrations",
    "configure_chores_queue",
    "configure_database",
    "consume_chores",
    "consume_messages",
    "delete_queue",
    "flush",
    "list_dead_letters",
    "make_web_app",
    "policy_of",
    "scan",
    "send_back_dead_letters",
    "subscribe",
    "unsubscribe",
    "utc_now",
]
