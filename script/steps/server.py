"""Keeps a whole node running, and says where everything listens."""

import argparse
from pathlib import Path

from embedded import FolderInUse, ServerFailed, processes, servers
from steps.environment import VAR, Refusal
from steps.interruption import interruptible
from steps.node import Node, refuse_fresh_for_named_servers, running_node, stay
from steps.progress import Progress


def main() -> int:
    options = _parser().parse_args()
    refuse_fresh_for_named_servers(options.fresh)
    progress = Progress()
    try:
        with (
            interruptible(),
            servers(VAR, progress, holder="script/server", fresh=options.fresh) as urls,
            running_node(VAR, urls, progress) as node,
        ):
            progress.line(_welcome(node))
            code = stay(node)
            progress.line(f"The node has ended.\n{processes.last_words(Path(node.log))}")
            return code
    except FolderInUse as refusal:
        raise Refusal(f"{refusal} Wait for it, or stop it.") from None
    except ServerFailed as failure:
        raise Refusal(str(failure)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/server",
        description="Runs a whole node: PostgreSQL, RabbitMQ, and docker/entrypoint.sh all.",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="remove the data of earlier runs, and begin anew"
    )
    return parser


def _welcome(node: Node) -> str:
    logs = "\n".join(f"             {log}" for log in node.server_logs)
    return f"""
The node is running. Ctrl-C stops it, and the servers that were started for it.

PostgreSQL   {node.postgres_url}
RabbitMQ     {node.broker_url}
             SMP messages are consumed from the queue {node.queue}
Fetch API    {node.fetch_api_url}/accounts/...
Logs         {node.log}
{logs}

To send it a message, publish JSON to the exchange accounts_in with the AMQP properties
content_type (application/json) and type (such as ConfigureAccount), and the routing key of the
account: protocol.rst says how. To see it all done, run script/demo in another terminal.
"""
