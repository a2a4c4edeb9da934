"""A clock that jumps is not believed for an hour, whichever way and however far it has jumped."""

from datetime import timedelta

import pytest

from swpt_accounts.store.clock import TimeUncertain
from swpt_accounts.workers.steady_clock import (
    DISBELIEF,
    JUMP_MAX,
    SteadyClock,
    time_since_boot,
)
from tests.factories import NOW

SECOND = timedelta(seconds=1)
JUMPS = {
    "a bit more than what is corrected": JUMP_MAX + SECOND,
    "an hour": timedelta(hours=1),
    "a day": timedelta(days=1),
    "ten years": timedelta(days=3652),
}
DIRECTIONS = {"forward": 1, "back": -1}

each_jump = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)


class Machine:
    """Its clock can be set, the time since it was booted cannot."""

    def __init__(self) -> None:
        self.now = NOW
        self.since_boot = timedelta(days=3)
        self.steady_clock = SteadyClock(lambda: self.now, lambda: self.since_boot)

    def wait(self, time: timedelta, *, drift: timedelta = timedelta(0)) -> None:
        """Let time pass, in which the clock goes on by as much, or by a bit more."""
        self.since_boot += time
        self.now += time + drift

    def is_believed(self) -> bool:
        try:
            now = self.steady_clock()
        except TimeUncertain:
            return False
        assert now == self.now
        return True


@pytest.fixture
def machine() -> Machine:
    return Machine()


@each_jump
@each_direction
def test_a_clock_that_has_jumped_is_believed_after_an_hour_and_not_before(
    machine: Machine, direction: str, jump: timedelta
) -> None:
    machine.now += DIRECTIONS[direction] * jump
    assert not machine.is_believed()

    machine.wait(DISBELIEF - SECOND)
    assert not machine.is_believed()

    machine.wait(SECOND)
    assert machine.is_believed()
    machine.wait(timedelta(days=1))
    assert machine.is_believed()


@each_jump
@each_direction
def test_whoever_asks_is_told_how_far_the_clock_has_jumped_and_what_to_do(
    machine: Machine, direction: str, jump: timedelta
) -> None:
    machine.now += DIRECTIONS[direction] * jump

    with pytest.raises(TimeUncertain) as raised:
        machine.steady_clock()

    reason = str(raised.value)
    assert f"has jumped {direction} by {jump}, to {machine.now.isoformat()}" in reason
    assert "set it right within 1:00:00" in reason
    assert "start this program again" in reason


@pytest.mark.parametrize("drift", [JUMP_MAX, -JUMP_MAX, SECOND, -SECOND])
def test_a_clock_that_is_corrected_all_the_time_is_always_believed(
    machine: Machine, drift: timedelta
) -> None:
    """Together, the corrections come to an hour or more."""
    for _ in range(4000):
        machine.wait(timedelta(hours=1), drift=drift)
        assert machine.is_believed()


@each_jump
@each_direction
def test_a_clock_that_is_set_right_again_is_believed_at_once(
    machine: Machine, direction: str, jump: timedelta
) -> None:
    machine.now += DIRECTIONS[direction] * jump
    assert not machine.is_believed()
    machine.wait(timedelta(minutes=30))
    machine.now -= DIRECTIONS[direction] * jump

    assert machine.is_believed()


def test_a_clock_that_jumps_to_the_same_wrong_time_again_is_not_believed_for_another_hour(
    machine: Machine,
) -> None:
    jump = timedelta(days=365)
    machine.now += jump
    assert not machine.is_believed()
    machine.now -= jump
    assert machine.is_believed()
    machine.wait(timedelta(days=1))
    assert machine.is_believed()

    machine.now += jump

    assert not machine.is_believed()
    machine.wait(DISBELIEF - SECOND)
    assert not machine.is_believed()
    machine.wait(SECOND)
    assert machine.is_believed()


def test_with_each_further_jump_the_hour_begins_anew(machine: Machine) -> None:
    for _ in range(5):
        machine.now += timedelta(days=1)
        assert not machine.is_believed()
        machine.wait(DISBELIEF - SECOND)
        assert not machine.is_believed()

    machine.wait(SECOND)
    assert machine.is_believed()


def test_a_clock_that_jumps_back_after_it_was_believed_is_doubted_like_any_other(
    machine: Machine,
) -> None:
    machine.now += timedelta(days=1)
    assert not machine.is_believed()
    machine.wait(DISBELIEF)
    assert machine.is_believed()

    machine.now -= timedelta(days=1)

    assert not machine.is_believed()
    machine.wait(DISBELIEF)
    assert machine.is_believed()


def test_a_machine_that_was_asleep_has_not_jumped() -> None:
    """The time since boot goes on meanwhile, unlike the monotonic clock."""
    machine = Machine()
    machine.wait(timedelta(days=100))
    assert machine.is_believed()
    assert time_since_boot() > timedelta(0)
