"""The main show: a whole node, and a conversation with it over RabbitMQ."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conversation.books import Books
from conversation.burst import Burst, Rates
from conversation.cast import Cast
from conversation.peer import Peer, Unmet
from conversation.screen import Screen
from conversation.story import Story
from embedded import FolderInUse, ServerFailed, processes, servers
from steps.environment import VAR, Refusal
from steps.interruption import interruptible, undisturbed
from steps.node import Node, already_running, refuse_fresh_for_named_servers, running_node
from steps.progress import Progress

_TRADERS_COUNT = 20
_TRANSFERS_COUNT = 3_000

_ORDINARY_INTERVALS = """
[bold]Time[/bold]  [dim]That Dave's account is deleted, and interest paid, may take hours or days at
a node with ordinary settings, such as this one. Both are left out here. When no node runs already,
and APP_ACCOUNTS_SCAN_HOURS is not set, this script starts a hastier one.[/dim]"""


def main() -> int:
    options = _parser().parse_args()
    refuse_fresh_for_named_servers(options.fresh)
    progress = Progress()
    began = time.monotonic()
    log = Path()
    try:
        with interruptible(), _node(progress, fresh=options.fresh) as node:
            progress.line(f"  Ready after {time.monotonic() - began:.1f} s.")
            log = Path(node.log)
            show(node, progress)
    except Unmet as failure:
        progress.line(f"\n✗ {failure}\n\n{processes.last_words(log)}\n")
        return 1
    except ServerFailed as failure:
        raise Refusal(str(failure)) from None
    return 0


def show(node: Node, progress: Progress) -> None:
    """Holds the conversation. Raises Unmet when an expectation does not hold."""
    cast = Cast(_TRADERS_COUNT)
    screen = Screen(cast.names)
    books = Books(node.postgres_url, cast)
    if earlier := books.earlier():
        screen.say(f"\n{earlier}")
    peer = Peer(node.broker_url, cast.debtor_id, on_sent=screen.sent, on_received=screen.received)
    try:
        peer.start()
        story = Story(peer, cast, screen, node.fetch_api_url)
        story.tell()
        if node.is_hasty:
            story.tell_of_time()
        else:
            screen.say(_ORDINARY_INTERVALS)
        peer.forget_messages()
        rates, balances = _burst(peer, cast, story, screen, progress)
        books.check(screen, balances)
        _tell_rates(screen, rates, peer)
        screen.say("\n[bold green]✓ Everything was as the protocol promises.[/bold green]\n")
    finally:
        with undisturbed():
            peer.stop()


def _burst(
    peer: Peer, cast: Cast, story: Story, screen: Screen, progress: Progress
) -> tuple[Rates, dict[int, int]]:
    screen.say("\n[bold]A burst[/bold]  [dim]The messages are too many to show.[/dim]")
    peer.on_sent = peer.on_received = lambda message: None
    title = f"{_TRANSFERS_COUNT:,} payments among {_TRADERS_COUNT} traders"
    with progress.step(title) as step:
        burst = Burst(peer, cast, story, step.say)
        rates = burst.run(_TRANSFERS_COUNT)
        step.done(f"{title} in {rates.seconds:.1f} s")
    return rates, burst.balances


def _tell_rates(screen: Screen, rates: Rates, peer: Peer) -> None:
    screen.say(
        f"\nThe burst: [bold]{rates.transfers_count / rates.seconds:,.0f} transfers[/bold] and "
        f"[bold]{rates.messages_count / rates.seconds:,.0f} messages[/bold] per second, from the "
        f"first request to the last notice.\nIn all, {peer.sent_count:,} messages were sent to "
        f"the node, and {peer.received_count:,} came back."
    )


@contextmanager
def _node(progress: Progress, *, fresh: bool) -> Iterator[Node]:
    """A node for this script alone, or the one that script/server keeps running."""
    try:
        with (
            servers(VAR, progress, holder="script/demo", fresh=fresh) as urls,
            running_node(VAR, urls, progress, hasty=True) as node,
        ):
            yield node
    except FolderInUse as refusal:
        found = already_running(VAR)
        if found is None or fresh:
            raise Refusal(f"{refusal} Wait for it, or stop it.") from None
        progress.line(f"  {refusal} Using the node that it runs.")
        yield found
        return
    progress.line("\nTo keep a node running, with this data: script/server\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/demo",
        description="Starts a whole node and shows money move in it, over real RabbitMQ.",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="remove the data of earlier runs, and begin anew"
    )
    return parser
