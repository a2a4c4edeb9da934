"""A shard that does not answer: who waits for it, who does not, and when it is asked again."""

import random
import threading
import time
from itertools import islice

import pytest

from swpt_accounts.ledger.facts import NO_FACTS
from swpt_accounts.ledger.values import AccountKey
from swpt_accounts.protocol.sharding import Groups
from swpt_accounts.web.asking import PROBE_SECONDS
from swpt_accounts.web.fetch_client import GATHER_SECONDS, FetchClient
from tests.web.clients import GROUPS, LONG, client_of, reachable, wait_until
from tests.web.scripted_server import (
    AUTHORITY,
    Reply,
    flood,
    hang_up,
    later,
    raw,
    response,
    scripted_server,
    silence,
)

HEALTHY = response(204)


def path(account: AccountKey) -> str:
    return "/accounts/{}/{}/reachable".format(*account)


def companions(account: AccountKey, count: int) -> list[AccountKey]:
    """Other accounts of the same group."""
    group = GROUPS.of(*account)
    found = ((2, n) for n in range(1, 1_000_000) if GROUPS.of(2, n) == group)
    return list(islice(found, count))


def one_of_each_group() -> list[AccountKey]:
    by_group = {GROUPS.of(3, n): (3, n) for n in range(1, 5000)}
    assert len(by_group) == 256
    return [by_group[group] for group in sorted(by_group)]


@pytest.mark.parametrize("connections_max", [1, 10])
def test_a_shard_that_accepts_and_never_answers_is_waited_for_once(connections_max: int) -> None:
    with (
        scripted_server(silence) as server,
        client_of(server.url, connections_max=connections_max) as client,
    ):
        begun_at = time.monotonic()
        assert client.gather([(1, 2)], []) == NO_FACTS
        assert time.monotonic() - begun_at < 10 * GATHER_SECONDS
        assert client.is_silent(GROUPS.of(1, 2))
        assert client.silent_groups == {GROUPS.of(1, 2)}

        begun_at = time.monotonic()
        for account in companions((1, 2), 100):
            assert client.gather([account], []) == NO_FACTS
        # Each of them would have waited for half a second.
        assert time.monotonic() - begun_at < 10 * GATHER_SECONDS


@pytest.mark.parametrize(
    "reply", [hang_up, response(503), response(404, headers="Content-Type: text/html\r\n")]
)
def test_a_shard_in_trouble_is_not_asked_by_each_batch(reply: Reply) -> None:
    with scripted_server(reply) as server, client_of(server.url) as client:
        for account in companions((1, 2), 100):
            assert client.gather([account], []) == NO_FACTS
        assert server.requests.total() < 50


@pytest.mark.parametrize("connections_max", [1, 2, 10])
def test_a_healthy_shard_is_asked_while_another_one_is_silent(connections_max: int) -> None:
    """Also when most of the questions are for the silent one."""
    with (
        scripted_server(HEALTHY) as server,
        client_of(server.url, connections_max=connections_max) as client,
    ):
        hung = [(1, 2), *companions((1, 2), 200)]
        for account in hung:
            server.replies[path(account)] = silence
        client.gather(hung[:1], [])
        healthy = [(1, 3), (1, 4), (1, 5), (1, 6)]
        assert client.gather([*hung, *healthy], []).reachable == dict.fromkeys(healthy, True)
        assert client.silent_groups == {GROUPS.of(1, 2)}


def test_a_group_that_nobody_knows_to_be_silent_leaves_connections_to_others() -> None:
    with scripted_server(HEALTHY) as server, client_of(server.url, connections_max=10) as client:
        hung = [(1, 2), *companions((1, 2), 200)]
        for account in hung:
            server.replies[path(account)] = silence
        facts = client.gather([*hung, (1, 3), (1, 4)], [])
        assert facts.reachable == reachable(yes=[3, 4], no=[])


def test_an_answer_that_comes_late_is_remembered_and_frees_its_group() -> None:
    with scripted_server(later(2.0, HEALTHY)) as server, client_of(server.url) as client:
        server.replies[path((1, 3))] = later(2.0, response(404))
        server.replies["/accounts/4/0/config"] = later(2.0, response(200))
        assert client.gather([(1, 2), (1, 3)], [4]) == NO_FACTS
        assert len(client.silent_groups) == 3
        assert client.known([(1, 2), (1, 3)], [4]) == NO_FACTS

        wait_until(lambda: not client.silent_groups)
        for ask in (client.known, client.gather):
            facts = ask([(1, 2), (1, 3)], [4])
            assert facts.reachable == reachable(yes=[2], no=[3])
            assert facts.root_config_data == {4: ""}


def test_what_is_known_is_not_asked() -> None:
    with scripted_server(HEALTHY) as server, client_of(server.url) as client:
        assert client.known([(1, 2)], [1]) == NO_FACTS
        client.gather([(1, 2)], [])
        assert client.known([(1, 2), (1, 3)], [1]).reachable == reachable(yes=[2], no=[])
        assert server.requests == {path((1, 2)): 1}


def test_an_answer_frees_no_other_group() -> None:
    with scripted_server(silence) as server, client_of(server.url) as client:
        client.gather([(1, 2), (1, 3), (1, 4)], [])
        assert len(client.silent_groups) == 3
        server.replies[path((1, 3))] = HEALTHY
        wait_until(lambda: not client.is_silent(GROUPS.of(1, 3)))
        assert client.silent_groups == {GROUPS.of(1, 2), GROUPS.of(1, 4)}
        assert client.known([(1, 3)], []).reachable == reachable(yes=[3], no=[])

        [companion] = companions((1, 3), 1)
        server.replies[path(companion)] = HEALTHY
        assert client.gather([companion, (1, 4)], []).reachable == {companion: True}


def test_a_group_is_freed_by_the_one_that_answers() -> None:
    with scripted_server(silence) as server, client_of(server.url) as client:
        hung = [(1, 2), *companions((1, 2), 20)]
        client.gather(hung[:-1], [])
        server.replies[path(hung[-1])] = HEALTHY
        assert client.gather([hung[-1]], []) == NO_FACTS
        wait_until(lambda: not client.silent_groups)
        assert client.known(hung, []).reachable == {hung[-1]: True}


@pytest.mark.parametrize("reply", [silence, response(500), response(200), response(404, b"x")])
def test_one_question_without_an_answer_does_not_silence_others_of_its_group(reply: Reply) -> None:
    with scripted_server(HEALTHY) as server, client_of(server.url, connections_max=50) as client:
        odd, *others = [(1, 2), *companions((1, 2), 20)]
        server.replies[path(odd)] = reply
        for _ in range(2):
            assert client.gather([odd, *others], []).reachable == dict.fromkeys(others, True)
            assert client.silent_groups == set()
            others = [account for account in companions((1, 2), 40) if account not in others]


def test_a_question_that_gave_up_its_connection_can_be_asked_again() -> None:
    with scripted_server(HEALTHY) as server, client_of(server.url, connections_max=20) as client:
        odd, companion = companions((1, 2), 2)
        server.replies[path(odd)] = silence
        assert client.gather([odd, companion], []).reachable == {companion: True}
        assert client.silent_groups == set()

        server.default = silence
        client.gather(one_of_each_group()[:30], [])
        server.replies[path(odd)] = HEALTHY
        assert client.gather([odd], []).reachable == {odd: True}


def test_silent_groups_are_probed_together_and_at_most_once_a_second() -> None:
    with scripted_server(silence) as server, client_of(server.url) as client:
        accounts = [(1, 2), (1, 3), (1, 4)]
        client.gather(accounts, [])
        begun_at = time.monotonic()
        while min(server.requests[path(account)] for account in accounts) < 4:
            client.gather(accounts, [])  # It asks nothing.
            time.sleep(0.01)
        seconds = time.monotonic() - begun_at
        probes = [server.requests[path(account)] - 1 for account in accounts]
        assert max(probes) <= seconds / PROBE_SECONDS + 1


def test_all_groups_are_probed_though_there_are_fewer_connections() -> None:
    accounts = one_of_each_group()
    with (
        scripted_server(silence) as server,
        client_of(server.url, connections_max=20) as client,
    ):
        while len(client.silent_groups) < len(accounts):
            client.gather(accounts, [])
        server.default = HEALTHY
        wait_until(lambda: not client.silent_groups)
        assert client.known(accounts, []).reachable == dict.fromkeys(accounts, True)


def test_when_everything_goes_away_and_comes_back_that_is_a_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Or a few lines, on a slow machine."""
    accounts = one_of_each_group()

    def last_line() -> str:
        return caplog.records[-1].getMessage() if caplog.records else ""

    with (
        scripted_server(hang_up) as server,
        client_of(server.url, connections_max=100) as client,
    ):
        for _ in range(10):
            client.gather(accounts, [])
        wait_until(lambda: "fallen silent; 256 are silent now" in last_line())
        server.default = HEALTHY
        wait_until(lambda: "answer again" in last_line() and "0 are silent now" in last_line())
    assert len(caplog.records) < 10


def test_thousands_of_questions_are_answered_in_the_end() -> None:
    questions = [(5, n) for n in range(1, 3001)]
    with (
        scripted_server(HEALTHY) as server,
        client_of(server.url, connections_max=50, cache_size=5000) as client,
    ):
        while len(client.gather(questions, []).reachable) < len(questions):
            pass
        wait_until(lambda: not client.silent_groups)
        assert server.connections_count <= 50 + server.requests.total() - len(questions)


@pytest.mark.parametrize("connections_max", [1, 7, 60])
def test_whatever_happens_all_is_answered_in_the_end_and_nothing_is_left(
    connections_max: int,
) -> None:
    chance = random.Random(connections_max)
    moods: list[Reply] = [HEALTHY, silence, hang_up, response(500), later(0.7, HEALTHY), flood]
    accounts = [(6, n) for n in range(1, 400)]
    with (
        scripted_server(HEALTHY) as server,
        client_of(server.url, timeout_seconds=1.0, connections_max=connections_max) as client,
    ):
        for _ in range(15):
            for account in chance.sample(accounts, 50):
                server.replies[path(account)] = chance.choice(moods)
            client.gather(chance.sample(accounts, 40), [])
        server.replies.clear()
        wait_until(lambda: len(client.gather(accounts, []).reachable) == len(accounts))
        wait_until(lambda: not client.silent_groups)
        asking = client._asking
        assert asking
        wait_until(lambda: not (asking._requests or asking._groups or asking._turns))
        wait_until(lambda: not (asking._connections._awaited or asking._connections._patient))


def test_groups_are_as_small_as_they_are_asked_to_be() -> None:
    first = GROUPS.of(1, 2)
    fine = Groups(12)
    [companion] = [c for c in companions((1, 2), 50) if fine.of(*c) != fine.of(1, 2)][:1]
    with scripted_server(HEALTHY) as server:
        server.replies[path((1, 2))] = silence
        client = FetchClient(
            server.url, timeout_seconds=LONG, connections_max=5, cache_size=9, groups=fine
        )
        client.gather([(1, 2)], [])
        assert client.silent_groups == {fine.of(1, 2)}
        assert fine.of(1, 2) >> 4 == first
        assert client.gather([companion], []).reachable == {companion: True}
        client.close()


@pytest.mark.parametrize("reply", [silence, raw(f"HTTP/1.1 404 X\r\n{AUTHORITY}".encode())])
def test_closing_does_not_wait_for_answers(reply: Reply) -> None:
    before = threading.active_count()
    with scripted_server(reply) as server:
        with client_of(server.url, connections_max=50) as client:
            client.gather([(1, n) for n in range(1000)], [])
            begun_at = time.monotonic()
        assert time.monotonic() - begun_at < LONG / 3
        assert "fetch_client" not in {thread.name for thread in threading.enumerate()}
    assert threading.active_count() == before
