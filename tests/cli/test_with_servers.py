"""Commands that prepare real servers, and look after what is left in them."""

import sys
from collections.abc import Callable

import pika
import pytest

from tests.cli.programs import BIN, Program, run

MEMORY_MAX = 150_000_000


@pytest.fixture
def environment(
    make_database: Callable[[], str], broker_url: str, queue_name: str
) -> dict[str, str]:
    return {
        "POSTGRES_URL": make_database(),
        "PROTOCOL_BROKER_URL": broker_url,
        "PROTOCOL_BROKER_QUEUE": queue_name,
        "CHORES_BROKER_URL": broker_url,
        "CHORES_BROKER_QUEUE": f"{queue_name}_chores",
        "SETUP_RABBITMQ_BINDINGS": "yes",
        "APP_LOG_FORMAT": "text",
        "APP_LOG_LEVEL": "warning",
    }


@pytest.fixture
def subscribed_environment(environment: dict[str, str]) -> dict[str, str]:
    assert run("subscribe", **environment).returncode == 0
    return environment


def queue_exists(url: str, queue: str) -> bool:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True


def test_configure_makes_everything_and_can_be_repeated(environment: dict[str, str]) -> None:
    queue = environment["PROTOCOL_BROKER_QUEUE"]
    for _ in range(2):
        done = run("configure", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert done.stdout.splitlines() == [
            "Configuring the database's schema.",
            "Done: the database's schema.",
            "Configuring the queue of chores.",
            "Done: the queue of chores.",
            f"Configuring exchanges, bindings, and the queue {queue}.",
            f"Done: exchanges, bindings, and the queue {queue}.",
        ]
    for name in (queue, f"{queue}.XQ", f"{queue}_chores"):
        assert queue_exists(environment["PROTOCOL_BROKER_URL"], name)
    done = run("await_migrations", **environment)
    assert done.returncode == 0
    assert "is up to date" in done.stdout


def test_unsubscribe_and_delete_queue_take_it_away_again_and_can_be_repeated(
    subscribed_environment: dict[str, str],
) -> None:
    environment = subscribed_environment | {"POSTGRES_URL": ""}
    queue = environment["PROTOCOL_BROKER_QUEUE"]
    for _ in range(2):
        assert run("unsubscribe", **environment).returncode == 0
    assert queue_exists(environment["PROTOCOL_BROKER_URL"], queue)
    assert not queue_exists(environment["PROTOCOL_BROKER_URL"], f"{queue}_chores")
    for _ in range(2):
        assert run("delete_queue", **environment).returncode == 0
    assert not queue_exists(environment["PROTOCOL_BROKER_URL"], queue)


def test_a_dead_letter_is_listed_and_sent_back(subscribed_environment: dict[str, str]) -> None:
    environment = subscribed_environment
    queue = environment["PROTOCOL_BROKER_QUEUE"]
    properties = pika.BasicProperties(
        type="PrepareTransfer", headers={"dead-letter-reason": "it was never good"}
    )
    with pika.BlockingConnection(
        pika.URLParameters(environment["PROTOCOL_BROKER_URL"])
    ) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", f"{queue}.XQ", b"{}", properties)

        listed = run("dead_letters", **environment)
        assert listed.returncode == 0
        assert "#0  PrepareTransfer  once" in listed.stdout
        assert "reason: it was never good" in listed.stdout

        sent = run("dead_letters", "--send-back", "0", **environment)
        assert (sent.returncode, sent.stdout) == (0, "#0: sent back\n")
        _, received, body = channel.basic_get(queue, auto_ack=True)
        assert received is not None
        assert (received.type, body) == ("PrepareTransfer", b"{}")


# A process counts what the one that it was forked from had: so that one must be small.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:])
print("kilobytes:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_long_dead_letters_are_listed_in_little_memory(
    subscribed_environment: dict[str, str],
) -> None:
    environment = subscribed_environment
    queue = environment["PROTOCOL_BROKER_QUEUE"]
    with pika.BlockingConnection(
        pika.URLParameters(environment["PROTOCOL_BROKER_URL"])
    ) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(12):
            channel.basic_publish("", f"{queue}.XQ", b"x" * 16_000_000)

    for words, said in [
        ([], "(16000000 bytes)"),
        (["--send-back", "11"], "#11: not sent back: its body had 16000000 bytes"),
    ]:
        command = [sys.executable, "-c", MEASURE, BIN / "swpt_accounts", "dead_letters", *words]
        with Program(command, environment) as program:
            program.wait_for_line(said)
            line = program.wait_for_line("kilobytes: ")
        assert int(line.split()[-1]) * 1024 < MEMORY_MAX


def test_a_queue_without_dead_letters(subscribed_environment: dict[str, str]) -> None:
    done = run("dead_letters", **subscribed_environment)
    assert done.returncode == 0
    assert done.stdout.endswith("has no dead letters.\n")


def test_a_queue_that_does_not_exist_has_no_list_of_dead_letters(
    environment: dict[str, str],
) -> None:
    done = run("dead_letters", **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Failed: ")
    assert "Traceback" not in done.stderr + done.stdout
