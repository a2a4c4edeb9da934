"""PostgreSQL and RabbitMQ of one's own: private to a folder, on ports of their own.

Nothing here touches a server that somebody else runs.
"""

from embedded.postgres import EmbeddedPostgres
from embedded.processes import ServerFailed
from embedded.rabbitmq import EmbeddedRabbitMQ
from embedded.servers import FolderInUse, Urls, servers

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedRabbitMQ",
    "FolderInUse",
    "ServerFailed",
    "Urls",
    "servers",
]
