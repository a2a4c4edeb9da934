"""How long, over how many connections, and how often other shards are asked."""

import socket
from threading import Barrier, Event

import pytest

from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.web.fetch_client import FetchClient
from swpt_accounts.web.memory import (
    NO_ROOT_ACCOUNT_SECONDS,
    REACHABLE_SECONDS,
    ROOT_CONFIG_DATA_SECONDS,
)
from tests.web.clients import LONG, SHORT, Clock, client_of, reachable, wait_until
from tests.web.scripted_server import (
    Reply,
    drip,
    flood,
    hang_up,
    response,
    scripted_server,
    silence,
)

CONFIG = '{"type": "RootConfigData"}'


def test_there_is_a_deadline_for_all_questions_together() -> None:
    questions = [(1, number) for number in range(100)]
    with (
        scripted_server(silence) as server,
        client_of(server.url, timeout_seconds=SHORT, connections_max=2) as client,
    ):
        assert client.gather(questions, []) == NO_FACTS
        # Each of two connections had time for two questions, more or less.
        assert server.requests.total() <= 8


def test_all_questions_are_asked_with_few_connections() -> None:
    questions = [(1, number) for number in range(100)]
    with (
        scripted_server(response(204)) as server,
        client_of(server.url, connections_max=3) as client,
    ):
        assert client.gather(questions, []).reachable == dict.fromkeys(questions, True)
        assert server.requests.total() == 100
        assert server.connections_count == 3
        assert client.gather([(2, 2)], []).reachable == {(2, 2): True}
        assert server.connections_count == 3  # kept from the first time


def test_questions_are_asked_at_the_same_time() -> None:
    """Nobody is answered before all five have asked."""
    barrier = Barrier(5)

    def wait_for_the_others(connection: socket.socket, over: Event) -> None:
        barrier.wait(timeout=30)
        response(204)(connection, over)

    with scripted_server(wait_for_the_others) as server, client_of(server.url) as client:
        facts = client.gather([(1, 2), (1, 3), (1, 4), (1, 5), (1, 6)], [])
    assert facts.reachable == reachable(yes=[2, 3, 4, 5, 6], no=[])


@pytest.mark.parametrize("reply", [silence, drip, flood, hang_up])
def test_a_connection_that_was_given_up_is_replaced(reply: Reply) -> None:
    with (
        scripted_server(reply) as server,
        client_of(server.url, timeout_seconds=SHORT, connections_max=1) as client,
    ):
        assert client.gather([(1, 2), (1, 3)], []) == NO_FACTS
        server.default = response(204)
        facts = NO_FACTS
        while len(facts.reachable) < 2:  # A slow machine may need more than one attempt.
            facts = client.gather([(1, 2), (1, 3)], [])
    assert facts.reachable == reachable(yes=[2, 3], no=[])


def test_a_server_may_close_a_connection_whenever_it_likes() -> None:
    def answer_and_hang_up(connection: socket.socket, over: Event) -> None:
        response(204)(connection, over)
        connection.shutdown(socket.SHUT_RDWR)

    with (
        scripted_server(answer_and_hang_up) as server,
        client_of(server.url, connections_max=1) as client,
    ):
        for number in range(2, 7):
            facts = NO_FACTS
            while not facts.reachable:  # The client may notice too late; then it asks again.
                facts = client.gather([(1, number)], [])


def test_only_yes_is_remembered_and_not_for_long() -> None:
    clock = Clock()
    yes, no = "/accounts/1/2/reachable", "/accounts/1/3/reachable"
    with scripted_server(response(404)) as server, client_of(server.url, clock=clock) as client:
        server.replies[yes] = response(204)
        for _ in range(2):
            facts = client.gather([(1, 2), (1, 3)], [])
            assert facts.reachable == reachable(yes=[2], no=[3])
        assert server.requests == {yes: 1, no: 2}

        server.replies[no] = response(204)
        assert client.gather([(1, 3)], []).reachable == reachable(yes=[3], no=[])

        clock.now += REACHABLE_SECONDS
        server.replies[yes] = response(404)
        assert client.gather([(1, 2)], []).reachable == reachable(yes=[], no=[2])


def test_configurations_are_remembered_and_missing_ones_not_for_long() -> None:
    clock = Clock()
    configured, missing = "/accounts/1/0/config", "/accounts/2/0/config"
    with scripted_server(response(404)) as server, client_of(server.url, clock=clock) as client:
        server.replies[configured] = response(200, CONFIG.encode())
        for _ in range(2):
            assert client.gather([], [1, 2]).root_config_data == {1: CONFIG, 2: None}
        assert server.requests == {configured: 1, missing: 1}

        clock.now += NO_ROOT_ACCOUNT_SECONDS
        server.replies[missing] = response(200)
        assert client.gather([], [1, 2]).root_config_data == {1: CONFIG, 2: ""}
        assert server.requests == {configured: 1, missing: 2}

        clock.now += ROOT_CONFIG_DATA_SECONDS - NO_ROOT_ACCOUNT_SECONDS
        server.replies[configured] = response(404)
        assert client.gather([], [1]).root_config_data == {1: None}


def test_what_was_not_answered_is_not_remembered() -> None:
    with scripted_server(response(503)) as server, client_of(server.url) as client:
        assert client.gather([(1, 2)], [1]) == NO_FACTS
        server.replies["/accounts/1/2/reachable"] = response(204)
        server.replies["/accounts/1/0/config"] = response(200)
        wait_until(lambda: not client.silent_groups)
        assert client.gather([(1, 2)], [1]) == Facts(
            reachable={(1, 2): True}, root_config_data={1: ""}
        )


def test_the_memory_is_bounded() -> None:
    with scripted_server(response(204)) as server:
        client = FetchClient(server.url, timeout_seconds=LONG, connections_max=5, cache_size=3)
        questions = [(1, number) for number in range(10)]
        assert len(client.gather(questions, []).reachable) == 10
        assert len(client._memory._reachable) == 3
        client.close()


def test_a_closed_client_may_be_used_again() -> None:
    with scripted_server(response(404)) as server, client_of(server.url) as client:
        client.close()
        assert client.gather([(1, 2)], []).reachable == {(1, 2): False}
        client.close()
        client.close()
        assert client.gather([(1, 2)], []).reachable == {(1, 2): False}
