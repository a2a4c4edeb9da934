"""From an environment to settings, or to the list of everything that is wrong with it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import environ

from swpt_accounts.settings.readers import Bad
from swpt_accounts.settings.reference import declarations
from swpt_accounts.settings.relations import RELATIONS
from swpt_accounts.settings.variables import Settings


class SettingsError(Exception):
    """Says what is wrong with the environment: in `problems`, one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    environment: Mapping[str, str],
    *,
    required: Iterable[str] = ("POSTGRES_URL",),
    now: datetime | None = None,
) -> Settings:
    """Return the settings in an environment; unknown variables are ignored.

    `required` names the variables that this use cannot do without. Raises
    `SettingsError` with all problems at once.
    """
    settings = environ.to_config(Settings, dict(environment))
    bad = {
        name: value
        for name in declarations()
        if isinstance(value := getattr(settings, name.lower()), Bad)
    }
    problems = [
        f"{name}: {value.shown} is not allowed: {value.reason}. Allowed: {value.allowed}."
        for name, value in bad.items()
    ]
    for name in required:
        if getattr(settings, name.lower()) in (None, ""):
            allowed = declarations()[name].reader.allowed
            problems.append(f"{name}: it is not set, and this needs it. Allowed: {allowed}.")
    for relation in RELATIONS:
        if not any(attribute.upper() in bad for attribute in relation.attributes):
            problem = relation.refusal(settings, now or datetime.now(UTC))
            problems += [problem] if problem else []
    if problems:
        raise SettingsError(problems)
    return settings


def unused_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that are set, and have no effect."""
    return [
        name
        for name, declared in declarations().items()
        if declared.kind == "unused" and name in environment
    ]
