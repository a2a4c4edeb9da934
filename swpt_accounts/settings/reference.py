"""The settings as a table, made from their declarations, for people to read."""

from dataclasses import dataclass
from functools import cache
from typing import cast

import attrs

from swpt_accounts.settings.variables import DECLARED, Declared, Settings


@dataclass(frozen=True)
class Row:
    """One environment variable. `kind` is public, internal, or unused."""

    name: str
    type_name: str
    unit: str
    default: str | None
    allowed: str
    meaning: str
    kind: str


@cache
def declarations() -> dict[str, Declared]:
    """Return what is declared, by the name of the environment variable."""
    # Type checkers cannot know what `environ.config` makes of a class.
    attributes = attrs.fields(cast("type[attrs.AttrsInstance]", Settings))
    return {attribute.name.upper(): attribute.metadata[DECLARED] for attribute in attributes}


def reference() -> list[Row]:
    """Return a row for each environment variable, in the order of their declarations."""
    return [
        Row(
            name=name,
            type_name=declared.reader.type_name,
            unit=declared.reader.unit,
            default=declared.default,
            allowed=declared.reader.allowed,
            meaning=declared.meaning,
            kind=declared.kind,
        )
        for name, declared in declarations().items()
    ]
