"""A burst of events makes a few lines, in which every event is counted."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swpt_accounts.workers.quiet import (
    BURST_SECONDS,
    FIRST_COUNT,
    LINE_SECONDS,
    REASONS_KEPT_MAX,
    REASONS_SHOWN_MAX,
    Quiet,
)


class Log:
    """What was written, and when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[str] = []
        self.times: list[float] = []
        self.quiet = Quiet(self._one, self._many, lambda: self.now)

    def _one(self, reason: str) -> None:
        self._write(f"one: {reason}")

    def _many(self, count: int, reasons: str) -> None:
        self._write(f"{count} more: {reasons}")

    def _write(self, line: str) -> None:
        self.lines.append(line)
        self.times.append(self.now)

    def tell(self, *reasons: str) -> None:
        for reason in reasons:
            self.quiet.tell(reason)

    @property
    def told_count(self) -> int:
        numbers = [re.match(r"(\d+) more: ", line) for line in self.lines]
        return sum(1 if found is None else int(found[1]) for found in numbers)


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_first_few_have_lines_of_their_own(log: Log) -> None:
    log.tell(*["a"] * FIRST_COUNT)
    assert log.lines == ["one: a"] * FIRST_COUNT


def test_the_rest_is_counted_by_reason_once_a_second(log: Log) -> None:
    log.tell(*["a"] * FIRST_COUNT, "b", "c", "b")
    assert len(log.lines) == FIRST_COUNT
    log.quiet.tell_the_rest()
    assert len(log.lines) == FIRST_COUNT
    log.now += LINE_SECONDS
    log.quiet.tell_the_rest()
    assert log.lines[FIRST_COUNT:] == ["3 more: 2 × b; 1 × c"]
    log.tell("d")
    log.now += LINE_SECONDS
    log.tell("d")
    assert log.lines[FIRST_COUNT + 1 :] == ["2 more: 2 × d"]


def test_the_last_counts_are_written_when_it_is_closed(log: Log) -> None:
    log.tell(*["a"] * (FIRST_COUNT + 7))
    log.quiet.close()
    log.quiet.close()
    assert log.lines[FIRST_COUNT:] == ["7 more: 7 × a"]


def test_after_a_pause_events_have_lines_of_their_own_again(log: Log) -> None:
    log.tell(*["a"] * (FIRST_COUNT + 1))
    log.now += BURST_SECONDS
    log.tell("b")
    assert log.lines[FIRST_COUNT:] == ["1 more: 1 × a", "one: b"]


def test_a_line_is_short_however_many_reasons_there_are(log: Log) -> None:
    log.tell(*["a"] * FIRST_COUNT, *[f"r{number}" for number in range(100_000)])
    log.quiet.close()
    assert len(log.quiet._untold) <= REASONS_KEPT_MAX + 1
    assert log.lines[-1].startswith("100000 more: ")
    assert log.lines[-1].count(" × ") <= REASONS_SHOWN_MAX + 1


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0, 0.1, 0.9, 3, 20]))))
def test_every_event_is_told_and_never_too_often(events: list[tuple[str, float]]) -> None:
    log = Log()
    for reason, pause in events:
        log.tell(reason)
        log.now += pause
        log.quiet.tell_the_rest()
    log.quiet.close()
    assert log.told_count == len(events)
    told = zip(log.times[:-1], log.lines[:-1], strict=True)
    summed_up_at = [at for at, line in told if " more: " in line]
    assert all(later - at >= LINE_SECONDS - 1e-6 for at, later in pairwise(summed_up_at))
