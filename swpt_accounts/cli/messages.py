"""What commands that list messages have in common: how these are shown, and chosen by numbers."""

from typing import Final

BODY_SHOWN_MAX: Final = 300
_NUMBER_MAX: Final = 2**63 - 1


def read_numbers(text: str) -> list[int] | None:
    """Return the numbers, with commas between them, in order; None when it is anything else."""
    words = text.split(",")
    # int() alone would let "1_0" through.
    if not all(word.isascii() and word.isdigit() and int(word) <= _NUMBER_MAX for word in words):
        return None
    return sorted({int(word) for word in words})


def shown_body(body: bytes, size: int) -> str:
    """Return the beginning of a body in one line, and how many bytes it has if there is more."""
    text = body.decode("utf-8", "backslashreplace")
    shown = printable(text[:BODY_SHOWN_MAX])
    is_all = len(text) <= BODY_SHOWN_MAX and size <= len(body)
    return shown if is_all else f"{shown}... ({size} bytes)"


def printable(text: str) -> str:
    """Return a text that a terminal shows as it is: strangers may have written it."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
