"""How much may be under way to a destination, and what is sent to one that takes nothing."""

import pytest

from swpt_accounts.workers import destinations as module
from swpt_accounts.workers.destinations import (
    EXPELLED_MAX,
    RECENT_SECONDS,
    SHARE_MAX,
    SHARE_MIN,
    STRAGGLERS_SECONDS,
    TRUST_SECONDS,
    UNDER_WAY_MAX,
    Destination,
    Destinations,
    Drain,
)

A, B, C = "to_creditors 00.00.0a", "to_creditors 00.00.0b", "to_debtors 00.00.0a.00.00"
SICK = "312 NO_ROUTE"


def test_a_destination_that_is_new_gets_little_and_more_as_it_takes_it() -> None:
    destination = Destination(A)
    assert destination.room(0.0) == SHARE_MIN
    rooms = []
    for step in range(12):
        room = destination.room(step * 0.01)
        rooms.append(room)
        destination.took(room, step * 0.01)
    assert rooms == sorted(rooms)
    assert rooms[-1] == SHARE_MAX == UNDER_WAY_MAX // 4


def test_what_is_under_way_takes_room() -> None:
    destination = Destination(A)
    destination.under_way_count = SHARE_MIN - 3
    assert destination.room(0.0) == 3
    destination.under_way_count = SHARE_MIN + 3
    assert destination.room(0.0) == 0


def test_a_destination_gets_as_much_as_it_has_taken_lately() -> None:
    destination = Destination(A)
    for tenth in range(100):
        destination.took(10, tenth / 10)
    assert 100 <= destination.share(9.95) <= 200
    assert destination.share(9.95 + 2 * RECENT_SECONDS) == SHARE_MIN


def test_nothing_is_sent_to_a_destination_that_is_sick_or_suspected() -> None:
    destination = Destination(A)
    destination.is_suspected = True
    assert destination.room(0.0) == 0
    destination.fall_sick(SICK)
    assert (destination.room(0.0), destination.is_sick) == (0, True)
    destination.recover(Drain.UNTRIED, 0.0)
    assert (destination.room(0.0), destination.is_sick) == (SHARE_MIN, False)


def test_a_nack_is_blamed_on_the_destination_when_a_new_connection_was_no_help() -> None:
    destination = Destination(A)
    assert not destination.is_blamed(0.0)
    destination.trust(10.0)
    assert destination.is_blamed(10.0 + TRUST_SECONDS - 1)
    assert not destination.is_blamed(10.0 + TRUST_SECONDS + 1)


def test_an_exchange_falls_sick_and_recovers_as_a_whole() -> None:
    destinations = Destinations()
    known, other = destinations.get(A), destinations.get(C)
    own = destinations.get("to_creditors 00.00.0c")
    destinations.fall_sick("to_creditors", "404")
    new = destinations.get(B)
    assert known.is_sick
    assert new.is_sick
    assert not other.is_sick
    own.fall_sick(SICK)  # For a reason of its own.
    assert set(destinations.recover("to_creditors", 0.0)) == {known, new}
    assert not known.is_sick
    assert own.is_sick
    assert not destinations.get("to_creditors 00.00.0d").is_sick


def test_the_sick_are_probed_and_of_a_sick_exchange_only_one() -> None:
    destinations = Destinations()
    destinations.get(C).fall_sick(SICK)
    destinations.fall_sick("to_creditors", "404")
    assert [d.name for d in destinations.to_probe([A, B, C], 0.0)] == [A, C]
    destinations.get(C).is_suspected = True
    assert [d.name for d in destinations.to_probe([B, C], 0.0)] == [B]


def test_of_those_over_which_the_channel_is_closed_a_few_are_probed_in_turns() -> None:
    destinations = Destinations()
    names = [f"to_creditors 00.{number:02x}.00" for number in range(50)]
    for name in names:
        destinations.get(name).fall_sick("forbidden", is_expelled=True)
    destinations.get(A).fall_sick("full")
    turns = [destinations.to_probe([*names, A], now) for now in (1.0, 2.0, 3.0)]
    assert [len(turn) for turn in turns] == [EXPELLED_MAX + 1] * 3
    assert all(turn[-1].name == A for turn in turns)
    assert {destination.name for turn in turns for destination in turn} == {*names, A}
    for destination in turns[-1]:
        destination.recover(Drain.NOTHING, 3.0)
    assert len(destinations.to_probe(names, 4.0)) == 50 - EXPELLED_MAX


def test_the_well_are_probed_from_time_to_time_when_something_is_left() -> None:
    destinations = Destinations()
    well = destinations.get(A)
    well.fall_sick(SICK)
    well.recover(Drain.UNTRIED, 100.0)
    assert not destinations.to_probe([A], 200.0)
    well.drain = Drain.NOTHING
    assert not destinations.to_probe([A], 100.0 + STRAGGLERS_SECONDS - 1)
    assert destinations.to_probe([A], 100.0 + STRAGGLERS_SECONDS + 1) == [well]


def test_a_new_connection_begins_with_nothing_under_way_but_knows_the_sick() -> None:
    destinations = Destinations()
    destination = destinations.get(A)
    destination.fall_sick(SICK)
    destination.under_way_count = destination.held_count = 7
    destinations.get(B).is_suspected = True
    destinations.begin_anew()
    assert (destination.under_way_count, destination.held_count) == (0, 0)
    assert destination.is_sick
    assert not destinations.get(B).is_suspected


def test_destinations_that_are_well_are_forgotten_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 10)
    destinations = Destinations()
    destinations.get(A).fall_sick(SICK)
    for number in range(100):
        destinations.get(f"to_creditors {number}")
    assert len(list(destinations)) <= 11
    assert A in destinations
    assert destinations.get(A).is_sick
