"""What an operator is told about silent groups: a line for each state, and few for many groups."""

import logging
from typing import Final

from swpt_accounts.protocol.sharding import Groups
from swpt_accounts.web.answers import Question, path_of

# When a proxy goes away, all groups fall silent within moments: one line.
GATHERING_SECONDS: Final = 1.0
# Groups that are found silent one after the other, because of one shard.
PAUSE_SECONDS: Final = 5.0
# A question that cannot be answered is asked again and again.
UNANSWERED_PAUSE_SECONDS: Final = 60.0

_logger = logging.getLogger(__name__)


class SilenceReport:
    """Gathers what has happened until it is time to write it down."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._fallen: dict[int, str] = {}
        self._freed_count = 0
        self._freed_example = ""
        self._silence_seconds = 0.0
        self._written_at = float("-inf")
        self._unanswered_at = float("-inf")

    def has_fallen(self, group: int, question: Question, trouble: str) -> None:
        """Take down that a group has fallen silent."""
        realm = self._groups.routing_key(group)
        self._fallen[group] = f"{path_of(question)} in {realm}: {trouble}"

    def was_freed(self, group: int, silence_seconds: float) -> None:
        """Take down that a silent group has answered; if nobody has read of it, nobody will."""
        if self._fallen.pop(group, None) is None:
            self._freed_count += 1
            self._freed_example = self._freed_example or self._groups.routing_key(group)
            self._silence_seconds = max(self._silence_seconds, silence_seconds)

    def seconds_left(self, now: float) -> float:
        """Return how long to wait before writing, so that more may be gathered."""
        return max(GATHERING_SECONDS, self._written_at + PAUSE_SECONDS - now)

    def write(self, silent_count: int, now: float) -> None:
        """Log what was gathered; `silent_count` groups are silent now."""
        if self._fallen:
            _logger.warning(
                "%d groups of accounts of other shards have fallen silent; %d are silent now, and"
                " what needs their answers waits. For example %s",
                len(self._fallen),
                silent_count,
                next(iter(self._fallen.values())),
            )
        if self._freed_count:
            _logger.warning(
                "%d silent groups of accounts of other shards answer again, after up to %.1f"
                " seconds; %d are silent now. For example %s",
                self._freed_count,
                self._silence_seconds,
                silent_count,
                self._freed_example,
            )
        self._fallen.clear()
        self._freed_count = 0
        self._freed_example = ""
        self._silence_seconds = 0.0
        self._written_at = now

    def is_unanswered(self, question: Question, trouble: str, now: float) -> None:
        """Log a question that got no answer while others of its group did; seldom."""
        if now >= self._unanswered_at + UNANSWERED_PAUSE_SECONDS:
            self._unanswered_at = now
            _logger.warning(
                "%s got no answer, unlike others of its shard: %s", path_of(question), trouble
            )
