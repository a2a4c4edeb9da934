"""Which silent groups are remembered, what they are probed with, and what is logged."""

import pytest

from swpt_accounts.protocol.sharding import GROUP_BITS_MIN, Groups
from swpt_accounts.web.silence import EXAMPLES_MAX, SILENT_GROUPS_MAX, Silence
from swpt_accounts.web.silence_report import (
    GATHERING_SECONDS,
    PAUSE_SECONDS,
    UNANSWERED_PAUSE_SECONDS,
    SilenceReport,
)


def test_a_group_is_probed_with_all_its_questions_in_turn_and_new_ones_first() -> None:
    silence = Silence()
    silence.begin(7, [(1, 1), (1, 2)], 100.0)
    asked = [dict(silence.next_probes(10))[7] for _ in range(3)]
    assert asked == [(1, 2), (1, 1), (1, 2)]
    silence.note(7, 3)
    silence.note(7, 3)
    asked = [dict(silence.next_probes(10))[7] for _ in range(4)]
    assert asked == [3, (1, 1), (1, 2), 3]


def test_few_questions_of_a_group_are_remembered() -> None:
    silence = Silence()
    silence.begin(7, [(1, n) for n in range(100)], 100.0)
    asked = [dict(silence.next_probes(1))[7] for _ in range(100)]
    assert set(asked) == {(1, n) for n in range(100 - EXAMPLES_MAX, 100)}


def test_groups_are_probed_in_turn_when_there_are_many() -> None:
    silence = Silence()
    for group in range(5):
        silence.begin(group, [group], 100.0)
    assert [group for group, _ in silence.next_probes(3)] == [0, 1, 2]
    assert silence.end(3, 107.5) == 7.5
    assert [group for group, _ in silence.next_probes(3)] == [4, 0, 1]
    assert [group for group, _ in silence.next_probes(9)] == [2, 4, 0, 1]
    assert silence.snapshot() == {0, 1, 2, 4}


def test_so_many_silent_groups_are_remembered_and_no_more() -> None:
    silence = Silence()
    for group in range(SILENT_GROUPS_MAX + 1):
        silence.begin(group, [group], 100.0)
    assert len(silence) == SILENT_GROUPS_MAX
    assert SILENT_GROUPS_MAX not in silence


@pytest.fixture
def report() -> SilenceReport:
    return SilenceReport(Groups(GROUP_BITS_MIN))


def test_what_was_over_before_anybody_could_read_of_it_is_not_logged(
    report: SilenceReport, caplog: pytest.LogCaptureFixture
) -> None:
    report.has_fallen(7, (1, 2), "status 500")
    report.was_freed(7, 0.1)
    report.write(0, 100.0)
    assert caplog.text == ""


def test_lines_about_groups_come_with_pauses(
    report: SilenceReport, caplog: pytest.LogCaptureFixture
) -> None:
    assert report.seconds_left(100.0) == GATHERING_SECONDS
    report.has_fallen(160, (1, 2), "status 500")
    report.has_fallen(161, (1, 3), "status 501")
    report.write(2, 100.0)
    assert report.seconds_left(101.0) == PAUSE_SECONDS - 1.0
    assert report.seconds_left(200.0) == GATHERING_SECONDS
    report.was_freed(160, 12.34)
    report.was_freed(161, 1.0)
    report.write(0, 105.0)
    report.write(0, 110.0)
    [fallen, freed] = [record.getMessage() for record in caplog.records]
    assert fallen == (
        "2 groups of accounts of other shards have fallen silent; 2 are silent now, and what needs"
        " their answers waits. For example /accounts/1/2/reachable in 1.0.1.0.0.0.0.0.#: status 500"
    )
    assert freed == (
        "2 silent groups of accounts of other shards answer again, after up to 12.3 seconds; 0 are"
        " silent now. For example 1.0.1.0.0.0.0.0.#"
    )


def test_a_question_that_is_never_answered_is_logged_now_and_then(
    report: SilenceReport, caplog: pytest.LogCaptureFixture
) -> None:
    for now in (100.0, 101.0, 102.0, 100.0 + UNANSWERED_PAUSE_SECONDS):
        report.is_unanswered(1, "status 500", now)
    assert caplog.text.count("/accounts/1/0/config got no answer") == 2
