"""How long a process waits for company before it begins a batch."""

import pytest

from swpt_accounts.workers.gathering import GATHERING_SECONDS_MAX, Gathering


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("count", "took", "expected"),
    [
        pytest.param(0, 5.0, 0.0, id="nothing was there"),
        pytest.param(1, 5.0, 0.0, id="one came alone"),
        pytest.param(2, 0.004, 0.004, id="as long as the batch has taken"),
        pytest.param(1000, 5.0, GATHERING_SECONDS_MAX, id="but not for long"),
    ],
)
def test_the_next_batch_waits_when_there_was_company(
    count: int, took: float, expected: float
) -> None:
    clock = Clock()
    gathering = Gathering(clock)
    assert gathering.seconds_left == 0.0
    gathering.begin()
    clock.now += took
    gathering.end(count)
    assert gathering.seconds_left == pytest.approx(expected)


def test_time_that_passes_counts() -> None:
    clock = Clock()
    gathering = Gathering(clock)
    gathering.begin()
    clock.now += 0.004
    gathering.end(2)
    clock.now += 0.003
    assert gathering.seconds_left == pytest.approx(0.001)
    clock.now += 1
    assert gathering.seconds_left == 0.0
