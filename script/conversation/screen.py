"""Shows messages as rows of a table that grows while they pass."""

import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from conversation.wire import SCHEDULED_FOR_DELETION, Message

_WIDTH = 118
_COLUMNS = (("   ms", 7), ("", 3), ("message", 18), ("account", 12))
_REFUSALS = ("RejectedTransfer", "RejectedConfig")


class Screen:
    """Times are counted from the beginning of a scene. Safe to use from several threads."""

    def __init__(self, names: dict[int, str]) -> None:
        terminal = Console()
        self.console = terminal if terminal.is_terminal else Console(width=_WIDTH)
        self._names = names
        self._lock = threading.Lock()
        self._scene_began = time.monotonic()

    def say(self, text: str = "") -> None:
        with self._lock:
            self.console.print(text, highlight=False)

    def scene(self, title: str, explanation: str) -> None:
        """Begins a part of the conversation, with the table's head."""
        head = Text()
        for name, width in _COLUMNS:
            head.append(name.ljust(width))
        with self._lock:
            self.console.print(f"\n[bold]{title}[/bold]  [dim]{explanation}[/dim]", highlight=False)
            self.console.print(head, style="dim underline")
            self._scene_began = time.monotonic()

    def sent(self, message: Message) -> None:
        self._row("→", "cyan", message["type"], self._account(message), self._about(message))

    def received(self, message: Message) -> None:
        refused = message["type"] in _REFUSALS or message.get("status_code", "OK") != "OK"
        color = "red" if refused else "green"
        self._row("←", color, message["type"], self._account(message), self._about(message))

    def fetched(self, path: str, verdict: str) -> None:
        self._row("⇄", "magenta", "GET", "", f"{path}  {verdict}")

    def _row(self, arrow: str, color: str, kind: str, account: str, about: str) -> None:
        with self._lock:
            elapsed = (time.monotonic() - self._scene_began) * 1000
            cells = (f"{elapsed:5.0f}", arrow, kind, account)
            row = Text()
            for cell, (_, width) in zip(cells, _COLUMNS, strict=True):
                row.append(cell.ljust(width), style=color if cell in (arrow, kind) else "")
            row.append(about)
            self.console.print(row, no_wrap=True, overflow="ellipsis")

    def _account(self, message: Message) -> str:
        return self._name(message["creditor_id"])

    def _name(self, creditor_id: int | str) -> str:
        number = int(creditor_id)
        signed = number - 2**64 if number >= 2**63 else number
        return self._names.get(signed, str(creditor_id))

    def _about(self, message: Message) -> str:
        describe: dict[str, Callable[[Message], str]] = {
            "ConfigureAccount": self._of_configuration,
            "RejectedConfig": lambda refused: str(refused["rejection_code"]),
            "AccountUpdate": self._of_update,
            "PrepareTransfer": self._of_request,
            "PreparedTransfer": self._of_lock,
            "RejectedTransfer": lambda refused: str(refused["status_code"]),
            "FinalizeTransfer": self._of_finalization,
            "FinalizedTransfer": self._of_end,
            "AccountTransfer": self._of_transfer,
        }
        description = describe.get(message["type"])
        return description(message) if description else ""

    def _of_configuration(self, message: Message) -> str:
        flagged = message["config_flags"] & SCHEDULED_FOR_DELETION
        return "scheduled for deletion" if flagged else _shortened(message["config_data"])

    def _of_update(self, message: Message) -> str:
        words = [f"principal {message['principal']:,}"]
        if message["creditor_id"] != 0:
            words.append(f"interest rate {message['interest_rate']:g} %")
        if message["config_flags"] & SCHEDULED_FOR_DELETION:
            words.append("scheduled for deletion")
        if message["debtor_info_iri"]:
            words.append(f"about the currency: {message['debtor_info_iri']}")
        return ", ".join(words)

    def _of_request(self, message: Message) -> str:
        kind, amount = message["coordinator_type"], message["min_locked_amount"]
        return f"{kind}: {amount:,} to {self._name(message['recipient'])}"

    def _of_lock(self, message: Message) -> str:
        return f"locked {message['locked_amount']:,} for {self._name(message['recipient'])}"

    def _of_finalization(self, message: Message) -> str:
        amount = message["committed_amount"]
        return f"commit {amount:,} “{message['transfer_note']}”" if amount else "dismiss"

    def _of_end(self, message: Message) -> str:
        committed, status = message["committed_amount"], message["status_code"]
        return f"{status}, {f'committed {committed:,}' if committed else 'nothing committed'}"

    def _of_transfer(self, message: Message) -> str:
        amount = message["acquired_amount"]
        other = f"from {self._name(message['sender'])}"
        if amount < 0:
            other = f"to {self._name(message['recipient'])}"
        number, note = message["transfer_number"], message["transfer_note"]
        reason = f"“{note}”" if note else f"({message['coordinator_type']})"
        return f"No. {number}: {amount:+,} {other}, principal {message['principal']:,} {reason}"


def _shortened(text: str, length_max: int = 60) -> str:
    return text if len(text) <= length_max else text[: length_max - 1] + "…"
