"""The command that lists dead letters, and sends them in again after a repair."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from swpt_accounts.cli.messages import printable, read_numbers, shown_body
from swpt_accounts.cli.start import (
    DONE,
    FAILED,
    NO_SERVER,
    begin,
    exit_when_server_is_lost,
    queue_option,
    url_option,
)

if TYPE_CHECKING:
    from swpt_accounts.broker.dead_letter_stream import DeadLetter

logger = logging.getLogger(__name__)

OFFSETS_SHOWN_MAX: Final = 10


def _read_offsets(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> list[int] | None:
    if text is None:
        return None
    offsets = read_numbers(text)
    if offsets is None:
        raise click.BadParameter(f"{text!r}. Allowed: offsets as listed, such as 3 or 3,7.")
    return offsets


@click.command("dead_letters")
@url_option
@queue_option
@click.option(
    "--send-back",
    "offsets",
    callback=_read_offsets,
    metavar="OFFSET[,OFFSET...]",
    help="Send the messages with these offsets to the queue again.",
)
def dead_letters(url: str | None, queue: str | None, offsets: list[int] | None) -> None:
    """List the messages that could not be applied, with the reasons; or send them back.

    Needs no database. A message that is sent back also stays listed.
    """
    settings = begin(required=NO_SERVER)
    url = url or settings.protocol_broker_url
    queue = queue or settings.protocol_broker_queue
    from swpt_accounts import wiring

    with exit_when_server_is_lost(settings):
        if offsets is None:
            click.echo(listing(queue, wiring.list_dead_letters(settings, url, queue)))
            raise SystemExit(DONE)
        outcomes = wiring.send_back_dead_letters(settings, url, queue, offsets)
    from swpt_accounts.broker.publisher import CONFIRMED

    for offset in offsets:
        outcome = outcomes.get(offset)
        if outcome is None:
            text = "there is no dead letter with this offset"
        else:
            text = "sent back" if outcome == CONFIRMED else f"not sent back: {outcome.reason}"
        click.echo(f"#{offset}: {text}")
    is_complete = all(outcomes.get(offset) == CONFIRMED for offset in offsets)
    raise SystemExit(DONE if is_complete else FAILED)


def listing(queue: str, letters: Iterable["DeadLetter"]) -> str:
    """Return dead letters as text: each message once for each reason, and how often it came."""
    groups: dict[tuple[str | None, str, bytes], list[DeadLetter]] = {}
    count = 0
    for letter in letters:
        kind = (letter.message_type, letter.reason, letter.body_sha256)
        groups.setdefault(kind, []).append(letter)
        count += 1
    if not count:
        return f"The queue {queue} has no dead letters."
    lines = [f"The queue {queue} has {count} dead {'letter' if count == 1 else 'letters'}."]
    for same in groups.values():
        lines += ["", *_entry(same)]
    return "\n".join(lines)


def _entry(same: list["DeadLetter"]) -> list[str]:
    first, last = same[0], same[-1]
    offsets = ", ".join(f"#{letter.offset}" for letter in same[-OFFSETS_SHOWN_MAX:])
    if len(same) > OFFSETS_SHOWN_MAX:
        offsets = f"..., {offsets}"
    how_often = "once" if len(same) == 1 else f"{len(same)} times"
    when = _when(first.rejected_at)
    if _when(last.rejected_at) != when:
        when = f"{when} to {_when(last.rejected_at)}"
    return [
        f"{offsets}  {printable(first.message_type or 'no type')}  {how_often}  {when}",
        f"    reason: {printable(first.reason)}",
        f"    body:   {shown_body(first.body, first.body_size)}",
    ]


def _when(text: str) -> str:
    try:
        return datetime.fromisoformat(text).isoformat(sep=" ", timespec="seconds")
    except ValueError:
        return "at an unknown time"
