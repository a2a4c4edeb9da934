"""The commands about messages that wait, on a real database."""

import json
from collections.abc import Callable, Iterator

import pytest

from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store import parked, waiting
from swpt_accounts.store.parked import Kind, Parked
from swpt_accounts.store.transaction import Database
from swpt_accounts.store.waiting import Wait, WaitingKey, WaitingMessage
from tests.cli.programs import run
from tests.factories import NOW

REALM = Realm.parse("0.#")
OURS, FOREIGN = (
    next(n for n in range(1, 1000) if REALM.contains(1, n) == is_ours) for is_ours in (True, False)
)


@pytest.fixture
def database(make_shard: Callable[[], str]) -> Iterator[Database]:
    database = Database(make_shard(), application_name="tests")
    yield database
    database.close()


@pytest.fixture
def environment(database: Database) -> dict[str, str]:
    return {
        "POSTGRES_URL": database._postgres_url,
        "PROTOCOL_BROKER_QUEUE_ROUTING_KEY": REALM.routing_key,
        "APP_LOG_FORMAT": "text",
        "APP_LOG_LEVEL": "warning",
    }


def park(database: Database, kind: Kind, creditor_id: int | None, body: bytes = b"{}") -> None:
    is_letter = kind is Kind.DEAD_LETTER
    message = Parked(
        kind,
        "some \x1b[1m reason",
        None if is_letter else 1,
        creditor_id,
        None if is_letter else "PrepareTransfer",
        b"s" * 32,
        body,
        "swpt_accounts.XQ" if is_letter else None,
        b"\0\0" if is_letter else None,
    )
    with database.transaction() as transaction:
        parked.insert(transaction, [message], NOW)


def test_parked_messages_are_listed_sent_and_dropped(
    database: Database, environment: dict[str, str]
) -> None:
    done = run("parked_messages", **environment)
    assert (done.returncode, done.stdout) == (0, "No messages are parked.\n")

    park(database, Kind.CAME_BACK, FOREIGN, b"\xff" + b"x" * 500)
    park(database, Kind.FAILED, OURS)
    park(database, Kind.DEAD_LETTER, None)
    park(database, Kind.MISROUTED, FOREIGN)

    listed = run("parked_messages", **environment)
    assert listed.returncode == 0
    first, *_ = listed.stdout.splitlines()
    assert first == "4 parked messages: 1 came_back, 1 dead_letter, 1 failed, 1 misrouted."
    assert f"#1  came_back  PrepareTransfer for account (1, {FOREIGN})" in listed.stdout
    assert "for the stream swpt_accounts.XQ" in listed.stdout
    assert "some \\x1b[1m reason" in listed.stdout
    assert "... (501 bytes)" in listed.stdout

    documents = [
        json.loads(line)
        for line in run("parked_messages", "--json", **environment).stdout.split("\n")
        if line
    ]
    assert [d["kind"] for d in documents] == ["came_back", "failed", "dead_letter", "misrouted"]

    sent = run("parked_messages", "--send", "1,2,3,77", **environment)
    assert sent.returncode == 1
    assert sent.stdout.splitlines() == [
        "#1: is sent on to its shard",
        "#2: will be applied here",
        "#3: stays: it is given to the stream of dead letters by itself, again and again",
        "#77: there is no parked message with this number",
    ]
    dropped = run("parked_messages", "--drop", "all", **environment)
    assert dropped.returncode == 0
    assert dropped.stdout.splitlines() == ["#3: dropped", "#4: dropped"]
    assert run("parked_messages", **environment).stdout == "No messages are parked.\n"


@pytest.mark.parametrize("arguments", [("--send", "x"), ("--send", "1", "--drop", "2")])
def test_wrong_command_lines_change_nothing(
    database: Database, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    park(database, Kind.MISROUTED, FOREIGN)
    assert run("parked_messages", *arguments, **environment).returncode == 2
    with database.transaction() as transaction:
        assert parked.exists(transaction, Kind.MISROUTED)


def test_waiting_messages_are_counted_by_reason(
    database: Database, environment: dict[str, str]
) -> None:
    assert run("waiting_messages", **environment).stdout == "No messages wait.\n"

    messages = [
        WaitingMessage(WaitingKey(1, n, "PrepareTransfer", b"%d" % n), b"{}") for n in range(3)
    ]
    waits = [Wait(m, f"because {m.key.creditor_id // 2}", None, NOW) for m in messages]
    with database.transaction() as transaction:
        waiting.insert(transaction, waits, NOW)

    done = run("waiting_messages", **environment)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["messages", "2", "1"]
    assert "because 0" in done.stdout
    first = json.loads(run("waiting_messages", "--json", **environment).stdout.splitlines()[0])
    assert (first["messages_count"], first["reason"]) == (2, "because 0")


def test_an_absent_database_is_one_line(environment: dict[str, str]) -> None:
    environment |= {"POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    for command in ("parked_messages", "waiting_messages"):
        done = run(command, **environment)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
