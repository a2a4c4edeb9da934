"""Commands about messages that wait: for their time, for another shard, or for an operator."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from swpt_accounts.cli.messages import printable, read_numbers, shown_body
from swpt_accounts.cli.start import DONE, FAILED, begin, exit_when_server_is_lost
from swpt_accounts.settings import Settings

if TYPE_CHECKING:
    from swpt_accounts.store.parked import ParkedMessage

LISTED_MAX: Final = 1_000
_PAGE_SIZE: Final = 100
_ALL: Final = "all"


def _read_ids(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> list[int] | str | None:
    if text is None or text == _ALL:
        return text
    ids = read_numbers(text)
    if ids is None:
        raise click.BadParameter(f"{text!r}. Allowed: numbers as listed, such as 3 or 3,7; or all.")
    return ids


@click.command("parked_messages")
@click.option(
    "--send",
    "sent_ids",
    callback=_read_ids,
    metavar="NUMBER[,NUMBER...]|all",
    help="Let these go on: to this shard if they are its own, else to the shard they belong to.",
)
@click.option(
    "--drop",
    "dropped_ids",
    callback=_read_ids,
    metavar="NUMBER[,NUMBER...]|all",
    help="Forget these for good.",
)
@click.option("--json", "as_json", is_flag=True, help="List one JSON document a line.")
def parked_messages(
    sent_ids: list[int] | str | None, dropped_ids: list[int] | str | None, as_json: bool
) -> None:
    """List the messages that wait for an operator; or let them go on, or drop them.

    Misrouted ones are sent on to their shards by themselves, unless one has
    come back: then none is, until those that came back are sent or dropped.
    """
    if sent_ids is not None and dropped_ids is not None:
        raise click.UsageError("--send and --drop exclude each other.")
    settings = begin()
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        if sent_ids is not None:
            _order(settings, sent_ids, wiring.send_parked)
        elif dropped_ids is not None:
            _order(settings, dropped_ids, wiring.drop_parked)
        elif as_json:
            for message in _parked(settings):
                click.echo(json.dumps(_document(message)))
        else:
            _list(settings)
    raise SystemExit(DONE)


@click.command("waiting_messages")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def waiting_messages(as_json: bool) -> None:
    """Tell how many messages wait to be tried again, why, and since when."""
    settings = begin()
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        rows = wiring.summarize_waiting(settings)
    if as_json:
        for row in rows:
            click.echo(
                json.dumps({**row._asdict(), "waiting_since": row.waiting_since.isoformat()})
            )
    elif not rows:
        click.echo("No messages wait.")
    else:
        click.echo(f"{'messages':>10}  {'since':19}  {'tries':>5}  reason")
        for row in rows:
            since, tries = _when(row.waiting_since), row.attempts_count_max
            click.echo(f"{row.messages_count:>10,}  {since}  {tries:>5}  {row.reason}")
    raise SystemExit(DONE)


def _order(settings: Settings, ids: list[int] | str, order: Any) -> None:
    """Have the order carried out, and exit with FAILED if a number does not exist."""
    from swpt_accounts.workers.operator_orders import BY_ITSELF, MISSING

    is_complete = True
    if isinstance(ids, str):
        after_id = 0
        while page := _page(settings, after_id):
            after_id = page[-1].id
            outcomes = order(settings, [message.id for message in page])
            _tell(outcomes)
    else:
        outcomes = order(settings, ids)
        _tell(outcomes)
        is_complete = not {MISSING, BY_ITSELF}.intersection(outcomes.values())
    if not is_complete:
        raise SystemExit(FAILED)


def _tell(outcomes: dict[int, str]) -> None:
    for id_, outcome in outcomes.items():
        click.echo(f"#{id_}: {outcome}")


def _page(settings: Settings, after_id: int) -> "list[ParkedMessage]":
    from swpt_accounts import wiring

    return wiring.read_parked(settings, after_id, _PAGE_SIZE)


def _parked(settings: Settings) -> "list[ParkedMessage]":
    from swpt_accounts import wiring

    return wiring.read_parked(settings, 0, LISTED_MAX)


def _list(settings: Settings) -> None:
    from swpt_accounts import wiring

    counts = wiring.count_parked(settings)
    if not counts:
        click.echo("No messages are parked.")
        return
    total = sum(counts.values())
    kinds = ", ".join(f"{count:,} {kind.value}" for kind, count in sorted(counts.items()))
    click.echo(f"{total:,} parked {'message' if total == 1 else 'messages'}: {kinds}.")
    for message in _parked(settings):
        click.echo("\n" + "\n".join(_entry(message)))
    if total > LISTED_MAX:
        click.echo(f"\nOnly the oldest {LISTED_MAX:,} are listed.")


def _entry(parked: "ParkedMessage") -> list[str]:
    message = parked.message
    about = f"{message.message_type} for account ({message.debtor_id}, {message.creditor_id})"
    if message.message_type is None:
        about = f"for the stream {message.queue}"
    return [
        f"#{parked.id}  {message.kind.value}  {printable(about)}  {_when(parked.parked_at)}",
        f"    reason: {printable(message.reason)}",
        f"    body:   {shown_body(message.body, len(message.body))}",
    ]


def _document(parked: "ParkedMessage") -> dict[str, Any]:
    message = parked.message
    return {
        "id": parked.id,
        "kind": message.kind.value,
        "reason": message.reason,
        "debtor_id": message.debtor_id,
        "creditor_id": message.creditor_id,
        "message_type": message.message_type,
        "body": message.body.decode("utf-8", "backslashreplace"),
        "parked_at": parked.parked_at.isoformat(),
    }


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
