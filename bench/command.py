"""script/bench: the command line, the servers, one part after the other, the report."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pika
from rich.console import Console

from bench import against, backlog, before, fetch_api, floor, latency, memory, sizes, throughput
from bench.node import Node, chosen_settings
from bench.other_node import VHOST
from bench.peers import Failed, Peers
from bench.report import Report, software_versions
from bench.session import Options, Session
from bench.transfers import Transfers
from embedded import FolderInUse, ServerFailed, servers
from steps.environment import ROOT, VAR, Refusal
from steps.interruption import interruptible
from steps.progress import Progress
from swpt_accounts.broker.lost import BrokerLost

PARTS: dict[str, Callable[[Session], None]] = {
    "throughput": throughput.measure,
    "floor": floor.measure,
    "latency": latency.measure,
    "against": against.measure,
    "sizes": sizes.measure,
    "backlog": backlog.measure,
    "fetch_api": fetch_api.measure,
    "memory": memory.measure,
}

_TRANSFERS, _ACCOUNTS, _ROUNDS = 20_000, 1_000, 3
_QUICK_TRANSFERS, _QUICK_ACCOUNTS, _QUICK_ROUNDS = 300, 30, 1
_BEFORE_ROUNDS, _QUICK_BEFORE_ROUNDS = 8, 2
_AGAINST_TRANSFERS, _QUICK_AGAINST_TRANSFERS = 1_000, 60
_WIDTH_MIN = 150
_POSTGRES_VERSION = "SELECT current_setting('server_version_num')::integer"


def main() -> int:
    options = _options()
    progress = Progress()
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_MIN
    try:
        with interruptible():
            report = _measure(options, progress)
    except (Failed, BrokerLost) as failure:
        progress.line(f"\n✗ {failure}\n")
        return 1
    except FolderInUse as refusal:
        raise Refusal(f"{refusal} Wait for it, or stop it.") from None
    except ServerFailed as failure:
        raise Refusal(str(failure)) from None
    progress.line()
    report.print(console)
    if options.is_quick:
        progress.line("\nA quick run proves that everything works. Its figures mean little.")
    progress.line(f"\n{report.write(options.results)}\n")
    return 0


def _measure(options: Options, progress: Progress) -> Report:
    with _session(options, progress) as session:
        for part in options.parts:
            PARTS[part](session)
        if options.before is not None:
            before.measure(session, options.before)
        return session.report


@contextmanager
def _session(options: Options, progress: Progress) -> Iterator[Session]:
    """A node that is configured, and whose flusher runs."""
    vhosts = () if options.against is None and options.before is None else (VHOST,)
    with servers(
        options.folder, progress, holder="script/bench", fresh=True, vhosts=vhosts
    ) as urls:
        node = Node(urls, options.folder / "node")
        with progress.step("Configuring tables, exchanges, queues and bindings"):
            node.configure()
        with Peers(node.broker_url) as peers, node.running("flush_all"):
            transfers = Transfers(node, peers, options.accounts_count)
            report = Report(_described(options), _software(node))
            yield Session(options, node, peers, transfers, progress, report)


def _software(node: Node) -> dict[str, str]:
    connection = pika.BlockingConnection(pika.URLParameters(node.broker_url))
    try:
        properties = connection._impl.server_properties or {}  # noqa: SLF001 - no other way to them
        version = properties.get("version", b"")
    finally:
        connection.close()
    broker_version = version.decode() if isinstance(version, bytes) else str(version)
    return software_versions(node.ask_database(_POSTGRES_VERSION), broker_version)


def _described(options: Options) -> dict[str, object]:
    described = {
        name: value for name, value in asdict(options).items() if name not in ("folder", "results")
    }
    return {**described, "settings": chosen_settings()}


def _options() -> Options:
    named = _parser().parse_args()
    quick = bool(named.quick)
    if named.against is not None or named.before is not None:
        _demand_private_servers("--against" if named.before is None else "--before")
    return Options(
        parts=_parts(named),
        is_quick=quick,
        transfers_count=named.transfers or (_QUICK_TRANSFERS if quick else _TRANSFERS),
        accounts_count=named.accounts or (_QUICK_ACCOUNTS if quick else _ACCOUNTS),
        rounds_count=named.rounds or _rounds_count(named),
        against=named.against,
        against_transfers_count=named.against_transfers
        or (_QUICK_AGAINST_TRANSFERS if quick else _AGAINST_TRANSFERS),
        before=None if named.before is None else before.find_commit(named.before),
        folder=named.folder.resolve(),
        results=named.results.resolve(),
    )


def _parts(named: argparse.Namespace) -> tuple[str, ...]:
    """Without any name all of them; but the comparison with a commit is made for itself."""
    if not named.parts:
        return tuple(PARTS) if named.before is None else ()
    chosen = {*named.parts, *(["against"] if named.against is not None else [])}
    return tuple(part for part in PARTS if part in chosen)


def _rounds_count(named: argparse.Namespace) -> int:
    if named.before is not None:
        return _QUICK_BEFORE_ROUNDS if named.quick else _BEFORE_ROUNDS
    return _QUICK_ROUNDS if named.quick else _ROUNDS


def _demand_private_servers(option: str) -> None:
    named = [name for name in ("POSTGRES_URL", "PROTOCOL_BROKER_URL") if os.environ.get(name)]
    if named:
        raise Refusal(
            f"{option} works with private servers only, because the other node needs a database"
            f" and a virtual host of its own. Unset {' and '.join(named)}."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/bench",
        description="Measures a node, on servers of its own, and compares with the targets.",
        epilog="What is measured, and how: bench/README.md.",
    )
    parser.add_argument(
        "parts",
        nargs="*",
        type=_part,
        metavar="PART",
        help=f"what to measure: {', '.join(PARTS)} [all]",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small numbers, one round: only shows that it works"
    )
    parser.add_argument(
        "--transfers", type=_at_least(1), metavar="N", help=f"drained at once [{_TRANSFERS}]"
    )
    parser.add_argument(
        "--accounts", type=_at_least(3), metavar="N", help=f"that take part [{_ACCOUNTS}]"
    )
    parser.add_argument(
        "--rounds",
        type=_at_least(1),
        metavar="N",
        help="how often throughput is measured; the median counts"
        f" [{_ROUNDS}; with --before {_BEFORE_ROUNDS}]",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--before",
        metavar="COMMIT",
        help="compares the CPU for a whole transfer with that at another commit; does nothing else"
        " unless parts are named",
    )
    other.add_argument(
        "--against",
        metavar="COMMAND",
        help="shell command that starts another accounting authority, to be compared with",
    )
    parser.add_argument(
        "--against-transfers",
        type=_at_least(1),
        metavar="N",
        help=f"the same as --transfers, for the other one [{_AGAINST_TRANSFERS}]",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=VAR / "bench",
        metavar="PATH",
        help="for data and logs of the private servers; emptied first [var/bench]",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "bench" / "results",
        metavar="PATH",
        help="where a folder for the JSON and the plots is made [bench/results]",
    )
    return parser


def _part(word: str) -> str:
    if word not in PARTS:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(PARTS)}")
    return word


def _at_least(least: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {least}, not {word!r}"
            )
        return number

    return read
