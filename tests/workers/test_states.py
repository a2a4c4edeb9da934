"""What the log says about trouble that lasts, comes again, or comes and goes."""

import logging

import pytest

from swpt_accounts.workers.states import BEGINNINGS_MAX, REMINDER_SECONDS, StateReport

AWAY = "the server is away"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def report(clock: Clock) -> StateReport:
    return StateReport(logging.getLogger(__name__), clock)


def test_a_state_has_one_line_when_it_begins_and_one_when_it_ends(
    report: StateReport, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for attempt in range(10):
        report.trouble("server", f"{AWAY}, attempt {attempt}")
        clock.now += 2.0
    report.well("server")
    report.well("server")
    assert caplog.messages == [
        f"{AWAY}, attempt 0",
        f"over, after 20.0 seconds: {AWAY}, attempt 9",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_state_that_lasts_is_mentioned_every_minute(
    report: StateReport, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(int(3 * REMINDER_SECONDS)):
        report.trouble("server", AWAY, logging.ERROR)
        clock.now += 1.0
    assert caplog.messages == [
        AWAY,
        f"still, after 60 seconds: {AWAY}",
        f"still, after 120 seconds: {AWAY}",
    ]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_states_with_different_keys_are_told_apart(
    report: StateReport, caplog: pytest.LogCaptureFixture
) -> None:
    report.trouble("one", "one is away")
    report.trouble("two", "two is away")
    report.well("two")
    report.trouble("one", "one is away")
    assert caplog.messages == [
        "one is away",
        "two is away",
        "over, after 0.0 seconds: two is away",
    ]


def test_what_was_never_wrong_is_not_mentioned(
    report: StateReport, caplog: pytest.LogCaptureFixture
) -> None:
    report.well("server")
    assert caplog.messages == []


def test_trouble_that_comes_and_goes_is_told_a_few_times_in_a_minute(
    report: StateReport, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(int(2 * REMINDER_SECONDS)):
        report.trouble("server", AWAY)
        clock.now += 0.5
        report.well("server")
        clock.now += 0.5
    assert caplog.messages == 2 * BEGINNINGS_MAX * [AWAY, f"over, after 0.5 seconds: {AWAY}"]


def test_trouble_that_has_come_and_gone_and_then_lasts_is_told_within_a_minute(
    report: StateReport, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(BEGINNINGS_MAX):
        report.trouble("server", AWAY)
        report.well("server")
    caplog.clear()
    for _ in range(int(REMINDER_SECONDS) + 1):
        report.trouble("server", AWAY)
        clock.now += 1.0
    assert caplog.messages == [AWAY]
