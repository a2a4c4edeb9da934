"""How dead letters are shown to a person, and how they are chosen."""

import re
from hashlib import sha256
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swpt_accounts import logs, wiring
from swpt_accounts.broker.dead_letter_stream import BODY_SHOWN_BYTES, DeadLetter
from swpt_accounts.broker.publisher import CONFIRMED, Outcome, Verdict
from swpt_accounts.cli import main, signals
from swpt_accounts.cli.dead_letters import listing


def letter(offset: int, **different: Any) -> DeadLetter:
    values = {
        "reason": "amount: must be an integer",
        "rejected_at": "2026-01-31T12:00:00.123456+00:00",
        "queue": "swpt_accounts",
        "exchange": "accounts_in",
        "routing_key": "0.1",
        "message_type": "PrepareTransfer",
        "content_type": "application/json",
        "body": b'{"amount":true}',
    }
    values |= different
    body = values["body"]
    values = {"body_size": len(body), "body_sha256": sha256(body).digest()} | values
    return DeadLetter(offset=offset, **(values | {"body": body[:BODY_SHOWN_BYTES]}))


def test_no_dead_letters() -> None:
    assert listing("q", []) == "The queue q has no dead letters."


def test_reason_type_time_and_body_are_shown() -> None:
    assert listing("q", [letter(3)]).splitlines() == [
        "The queue q has 1 dead letter.",
        "",
        "#3  PrepareTransfer  once  2026-01-31 12:00:00+00:00",
        "    reason: amount: must be an integer",
        '    body:   {"amount":true}',
    ]


def test_a_message_that_came_again_is_shown_once_with_how_often_it_came() -> None:
    letters = [
        letter(0),
        letter(1, reason="another"),
        letter(7, rejected_at="2026-02-01T00:00:00+00:00"),
    ]
    lines = listing("q", letters).splitlines()
    assert lines[0] == "The queue q has 3 dead letters."
    assert [line for line in lines if line.startswith("#")] == [
        "#0, #7  PrepareTransfer  2 times  2026-01-31 12:00:00+00:00 to 2026-02-01 00:00:00+00:00",
        "#1  PrepareTransfer  once  2026-01-31 12:00:00+00:00",
    ]


def test_bodies_that_begin_alike_are_not_taken_for_the_same() -> None:
    beginning = b"x" * BODY_SHOWN_BYTES
    lines = listing("q", [letter(0, body=beginning + b"1"), letter(1, body=beginning + b"2")])
    assert lines.count("  once  ") == 2


def test_of_many_offsets_only_the_newest_are_shown() -> None:
    text = listing("q", [letter(offset) for offset in range(50)])
    assert "\n..., #40, #41, #42, #43, #44, #45, #46, #47, #48, #49  " in text


@pytest.mark.parametrize(
    ("different", "shown"),
    [
        ({"message_type": None}, "no type"),
        ({"rejected_at": ""}, "at an unknown time"),
        ({"body": b"\xff\x00\x1b[2J"}, r"body:   \xff\x00\x1b[2J"),
        ({"reason": "bad\n\x1b[31m"}, r"reason: bad\n\x1b[31m"),
        ({"message_type": "\x07\u202e"}, r"\x07\u202e"),
        ({"body": "€".encode() * 5000}, f"{'€' * 300}... (15000 bytes)"),
        ({"body": b"short", "body_size": 16_000_000}, "body:   short... (16000000 bytes)"),
    ],
)
def test_what_strangers_wrote_is_shown_harmlessly_and_not_endlessly(
    different: dict[str, Any], shown: str
) -> None:
    assert shown in listing("q", [letter(0, **different)])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(logs, "set_up", lambda *_: None)
    monkeypatch.setattr(signals, "end_on_signals", lambda: None)
    for name in ("POSTGRES_URL", "PROTOCOL_BROKER_URL", "PROTOCOL_BROKER_QUEUE"):
        monkeypatch.delenv(name, raising=False)

    def run_command(options: str) -> Result:
        return CliRunner().invoke(main, ["dead_letters", *options.split()])

    return run_command


def test_the_dead_letters_of_the_named_queue_are_listed(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def read_all(_settings: object, url: str, queue: str) -> list[DeadLetter]:
        asked.append((url, queue))
        return [letter(0)]

    monkeypatch.setattr(wiring, "list_dead_letters", read_all)
    result = run("-u amqp://x -q y")
    assert asked == [("amqp://x", "y")]
    assert result.exit_code == 0
    assert result.stdout.startswith("The queue y has 1 dead letter.\n")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--send-back 1", 0, ["#1: sent back"]),
        (
            "--send-back 2,1,2",
            1,
            ["#1: sent back", "#2: not sent back: the queue is gone"],
        ),
        ("--send-back 3", 1, ["#3: there is no dead letter with this offset"]),
    ],
)
def test_chosen_ones_are_sent_back_and_each_outcome_is_told(
    run: Any, monkeypatch: pytest.MonkeyPatch, options: str, code: int, said: list[str]
) -> None:
    outcomes = {1: CONFIRMED, 2: Outcome(Verdict.RETURNED, "the queue is gone")}

    def send_back(
        _settings: object, _url: str, _queue: str, offsets: list[int]
    ) -> dict[int, Outcome]:
        return {offset: outcomes[offset] for offset in offsets if offset in outcomes}

    monkeypatch.setattr(wiring, "send_back_dead_letters", send_back)
    result = run(options)
    assert result.exit_code == code
    assert result.stdout.splitlines() == said


@pytest.mark.parametrize("offsets", ["", "x", "1,", "-1", "1_0", "1.5", "1..3", str(2**63), "²"])
def test_what_is_not_an_offset_is_a_usage_error(run: Any, offsets: str) -> None:
    result = run(f"--send-back={offsets}")
    assert result.exit_code == 2
    assert re.search("Allowed: offsets as listed", result.stderr)
