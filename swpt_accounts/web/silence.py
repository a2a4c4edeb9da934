"""Which groups of accounts are silent: their shards were asked, and gave no answer."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from swpt_accounts.web.answers import Question

# Groups beyond these are asked in vain each time.
SILENT_GROUPS_MAX: Final = 16_384

# One shard of a group may answer while another one does not.
EXAMPLES_MAX: Final = 8


class _SilentGroup(msgspec.Struct, eq=False):
    since: float
    # Those asked in vain least recently come first.
    examples: list[Question]


class Silence:
    """Remembers the silent groups, with a few questions that were asked of each lately.

    It is changed by one thread; which groups are silent may be read by others.
    """

    def __init__(self) -> None:
        self._groups: dict[int, _SilentGroup] = {}
        self._turns: deque[int] = deque()

    def __contains__(self, group: int) -> bool:
        return group in self._groups

    def __len__(self) -> int:
        return len(self._groups)

    def snapshot(self) -> frozenset[int]:
        """Return the groups that are silent now."""
        # `tuple` copies at once, whatever another thread does.
        return frozenset(tuple(self._groups))

    def begin(self, group: int, examples: Iterable[Question], now: float) -> None:
        """Remember that the group is silent; when there are too many, it is not remembered."""
        if len(self._groups) < SILENT_GROUPS_MAX:
            self._groups[group] = _SilentGroup(now, [])
            self._turns.append(group)
            for example in examples:
                self.note(group, example)

    def note(self, group: int, question: Question) -> None:
        """Remember what has been asked of a silent group; it is the next one to be tried."""
        examples = self._groups[group].examples
        if question not in examples:
            examples.insert(0, question)
            del examples[EXAMPLES_MAX:]

    def end(self, group: int, now: float) -> float:
        """Forget that the group was silent; return for how many seconds it was."""
        self._turns.remove(group)
        return now - self._groups.pop(group).since

    def next_probes(self, count_max: int) -> Iterator[tuple[int, Question]]:
        """Give a question for each silent group, or for so many of them as had to wait longest."""
        for _ in range(min(count_max, len(self._turns))):
            group = self._turns[0]
            self._turns.rotate(-1)
            examples = self._groups[group].examples
            examples.append(examples.pop(0))
            yield group, examples[-1]
