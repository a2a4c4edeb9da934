"""Dead letters are stored with their reasons, and a sick stream stops nobody."""

import logging
from collections.abc import Iterator

import pytest

from swpt_accounts.broker import connection, topology
from swpt_accounts.broker.message import Delivery
from swpt_accounts.broker.publisher import Publisher
from swpt_accounts.workers import dead_letter_office
from swpt_accounts.workers.dead_letter_office import REST_SECONDS_MAX, DeadLetterOffice
from swpt_accounts.workers.quiet import FIRST_COUNT
from tests.broker.proxy import Proxy
from tests.factories import NOW, pending_balance_change
from tests.workers.deliveries import deliveries
from tests.workers.waiting import SECONDS
from tests.workers.wire import Wire


class Stopwatch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def office(queue: str, broker_url: str, stopwatch: Stopwatch) -> Iterator[DeadLetterOffice]:
    office = DeadLetterOffice(
        lambda: Publisher(broker_url, confirm_timeout_seconds=SECONDS),
        lambda: NOW,
        queue=queue,
        stopwatch=stopwatch,
    )
    yield office
    office.close()


def rejected(count: int) -> list[tuple[Delivery, str]]:
    commands = [pending_balance_change(change_id=number) for number in range(count)]
    return [(delivery, f"reason {delivery.tag % 3}") for delivery in deliveries(commands)]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == dead_letter_office.__name__ and record.levelno >= logging.ERROR
    ]


def test_thousands_make_a_few_lines_and_each_has_its_own_reason(
    office: DeadLetterOffice, queue: str, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    letters = rejected(5000)
    for first in range(0, 5000, 1000):
        buried, kept = office.bury(letters[first : first + 1000])
        assert (len(buried), len(kept)) == (1000, 0)
    office.close()
    *singly, summary = errors(caplog)
    assert len(singly) == FIRST_COUNT
    assert singly[0] == f"a message goes to the dead letters of {queue}: reason 1"
    assert summary.startswith(f"4995 more messages go to the dead letters of {queue}: ")
    stored = wire.dead_letters(queue)
    assert len(stored) == 5000
    assert {(letter.properties.headers or {})["dead-letter-reason"] for letter in stored} == {
        "reason 0",
        "reason 1",
        "reason 2",
    }


def test_letters_that_take_much_memory_are_published_in_parts(
    office: DeadLetterOffice, queue: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_office, "_PAGE_BYTES", 1000)
    letters = rejected(50)
    buried, kept = office.bury(letters)
    assert (buried, kept) == ([delivery for delivery, _ in letters], [])
    assert [letter.body for letter in wire.dead_letters(queue)] == [d.body for d in buried]


def test_where_there_is_no_stream_all_is_kept_and_tried_again_after_a_rest(
    office: DeadLetterOffice,
    broker_url: str,
    queue: str,
    wire: Wire,
    stopwatch: Stopwatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire.channel.queue_delete(topology.dead_letter_queue(queue))
    letters = rejected(3)
    for _ in range(3):
        assert office.bury(letters) == ([], letters)
        stopwatch.now += REST_SECONDS_MAX
    [line] = [error for error in errors(caplog) if "cannot be stored" in error]
    assert line.startswith(
        f"dead letters of {queue} cannot be stored there, and are parked: not taken"
    )

    assert office.bury(letters)[0] == []
    topology.subscribe(broker_url, queue, "#")
    assert office.bury(letters)[0] == [], "it rests"
    stopwatch.now += REST_SECONDS_MAX
    assert office.bury(letters) == ([delivery for delivery, _ in letters], [])
    assert len(wire.dead_letters(queue)) == 3


def test_a_stream_that_does_not_confirm_is_left_alone_for_a_while(
    queue: str,
    broker_url: str,
    stopwatch: Stopwatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dead_letter_office, "CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(connection, "STOP_SECONDS", 0.2)
    publishers: list[Publisher] = []
    proxy = Proxy(broker_url)

    def make_publisher() -> Publisher:
        publishers.append(Publisher(proxy.url, confirm_timeout_seconds=SECONDS))
        return publishers[-1]

    office = DeadLetterOffice(make_publisher, lambda: NOW, queue=queue, stopwatch=stopwatch)
    assert len(office.bury(rejected(1))[0]) == 1
    proxy.go_dead()
    letters = rejected(2)
    for _ in range(2):
        assert office.bury(letters) == ([], letters)
    office.close()
    proxy.close()

    assert len(publishers) == 1
    [line] = [error for error in errors(caplog) if "cannot be stored" in error]
    assert line.startswith(f"dead letters of {queue} cannot be stored there, and are parked: ")
    assert "no confirm" in line
