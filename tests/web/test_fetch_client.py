"""What the answers of other shards tell, and what is no answer at all."""

import logging
import socket
from collections.abc import Callable
from threading import Event

import pytest

from swpt_accounts.ledger.facts import NO_FACTS, Facts
from swpt_accounts.web.fetch_client import FetchClient
from swpt_accounts.web.http_get import BODY_BYTES_MAX
from tests.web.clients import GROUPS, client_of, reachable
from tests.web.scripted_server import (
    AUTHORITY,
    TEXT,
    Reply,
    drip,
    flood,
    hang_up,
    raw,
    response,
    scripted_server,
    silence,
)
from tests.web.serving import served

MIN_INT64 = -(2**63)


def config(remark: str) -> str:
    return '{"type": "RootConfigData", "remark": "' + remark + '"}'


LONGEST = config("x" * (BODY_BYTES_MAX - len(config(""))))


def test_what_one_shard_asks_another_one_answers(
    shard_url: str, open_account: Callable[..., None]
) -> None:
    open_account(1, 2)
    open_account(1, 3, config_flags=1)
    open_account(-1, MIN_INT64)
    open_account(7, 0, config_data='{"type": "RootConfigData", "rate": 1.5, "x": "☃"}')
    open_account(MIN_INT64, 0)
    with served(shard_url) as server, client_of(server.url) as client:
        facts = client.gather({(1, 2), (1, 3), (1, 4), (-1, MIN_INT64), (5, 0)}, {7, 8, MIN_INT64})
    assert facts == Facts(
        reachable={
            (1, 2): True,
            (1, 3): False,
            (1, 4): False,
            (-1, MIN_INT64): True,
            (5, 0): True,
        },
        root_config_data={
            7: '{"type": "RootConfigData", "rate": 1.5, "x": "☃"}',
            8: None,
            MIN_INT64: "",
        },
    )


def test_asking_nothing_takes_no_connection() -> None:
    with scripted_server(response(204)) as server, client_of(server.url) as client:
        assert client.gather([], []) == NO_FACTS
        assert server.connections_count == 0


@pytest.mark.parametrize("suffix", ["", "/", "/some/path", "/x?query#fragment"])
def test_only_the_server_is_taken_from_the_url(suffix: str) -> None:
    with scripted_server(response(404)) as server, client_of(server.url + suffix) as client:
        client.gather([(1, -1)], [-2])
        assert set(server.requests) == {
            "/accounts/1/18446744073709551615/reachable",
            "/accounts/18446744073709551614/0/config",
        }


@pytest.mark.parametrize(
    "url", ["shard", "shard:8080", "ftp://shard", "http://", "http://x:0", "http://x:y", "http://["]
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not the URL of a web server"):
        FetchClient(url, timeout_seconds=5, connections_max=1, cache_size=1)


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        pytest.param(response(204), {(1, 2): True}, id="204"),
        pytest.param(response(404), {(1, 2): False}, id="404"),
        pytest.param(
            response(404, headers="content-type:TEXT/plain\r\nCACHE-CONTROL:public,MAX-AGE=0\r\n"),
            {(1, 2): False},
            id="404, written differently",
        ),
        pytest.param(
            response(404, headers=TEXT + "Cache-Control: public\r\nCache-Control: max-age=7\r\n"),
            {(1, 2): False},
            id="404, two headers",
        ),
    ],
)
def test_two_statuses_tell_whether_an_account_is_reachable(
    reply: Reply, facts: dict[tuple[int, int], bool]
) -> None:
    with scripted_server(reply) as server, client_of(server.url) as client:
        assert client.gather([(1, 2)], []).reachable == facts


@pytest.mark.parametrize(
    ("reply", "config_data"),
    [
        pytest.param(response(200, config("").encode()), config(""), id="200"),
        pytest.param(response(200), "", id="200, empty"),
        pytest.param(response(200, config("☃").encode()), config("☃"), id="200, not ASCII"),
        pytest.param(response(200, LONGEST.encode()), LONGEST, id="200, the longest"),
        pytest.param(response(404), None, id="404"),
    ],
)
def test_two_statuses_tell_how_a_root_account_is_configured(
    reply: Reply, config_data: str | None
) -> None:
    with scripted_server(reply) as server, client_of(server.url) as client:
        assert client.gather([], [1]).root_config_data == {1: config_data}


NO_ANSWERS = [
    *(
        pytest.param(response(status, headers="Location: /elsewhere\r\n"), id=str(status))
        for status in (201, 206, 301, 302, 304, 307, 400, 401, 403, 410, 429, 500, 502, 503, 504)
    ),
    pytest.param(hang_up, id="hangs up"),
    pytest.param(raw(b"\x00\xff\r\n\r\n"), id="not HTTP"),
    pytest.param(raw(b"HTTP/1.1 nan WHAT\r\n\r\n"), id="no status"),
    pytest.param(raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000), id="headers without end"),
    pytest.param(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), id="another protocol"),
    pytest.param(flood, id="a body without end"),
    pytest.param(response(404, b"x" * (BODY_BYTES_MAX + 1)), id="a long 404"),
    pytest.param(response(404, b"<html>"), id="a page with a 404"),
    pytest.param(silence, id="silence"),
    pytest.param(drip, id="a byte now and then"),
]


@pytest.mark.parametrize("reply", NO_ANSWERS)
def test_anything_else_is_no_answer(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    with (
        scripted_server(reply) as server,
        client_of(server.url, timeout_seconds=1.0) as client,
        caplog.at_level(logging.WARNING),
    ):
        assert client.gather([(1, 2), (1, 3)], [1]) == NO_FACTS
        client.close()
    assert caplog.text.count("3 groups of accounts of other shards have fallen silent") == 1


NGINX = (
    b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n"
    b"<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
HTML = "Server: nginx/1.22.1\r\nContent-Type: text/html\r\n"


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        pytest.param(NGINX, HTML, "its Content-Type is 'text/html'", id="a web server's page"),
        pytest.param(b"", AUTHORITY.replace("plain", "html"), "text/html", id="another media type"),
        pytest.param(b"", AUTHORITY.replace("plain", "plainer"), "plainer", id="a similar type"),
        pytest.param(b"", "Cache-Control: max-age=9\r\n", "its Content-Type is ''", id="no type"),
        pytest.param(b"", TEXT, "its Cache-Control is ''", id="no Cache-Control"),
        pytest.param(b"", TEXT + "Cache-Control: no-store\r\n", "'no-store'", id="no max-age"),
        pytest.param(b"", TEXT + "Cache-Control: s-max-age=9\r\n", "s-max-age", id="another age"),
        pytest.param(b"Hello!", AUTHORITY, "body", id="a body that does not belong there"),
    ],
)
def test_a_strangers_words_are_not_believed(
    status: int, body: bytes, headers: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = response(status, body, headers=headers)
    with scripted_server(reply) as server, client_of(server.url) as client:
        assert client.gather([(1, 2)] if status == 404 else [], [3]) == NO_FACTS
        client.close()
    assert f"a {status} that is not from an accounting authority" in caplog.text
    assert reason in caplog.text
    assert "Is FETCH_API_URL right?" in caplog.text


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(response(204), id="204"),
        pytest.param(response(200, b"\xff"), id="not UTF-8"),
        pytest.param(response(200, b"\xed\xa0\x80"), id="a lone surrogate"),
        pytest.param(response(200, b"{}"), id="not RootConfigData"),
        pytest.param(response(200, (LONGEST[:-2] + 'x"}').encode()), id="too long"),
        pytest.param(
            response(200, b"\x1f\x8b", headers=AUTHORITY + "Content-Encoding: gzip\r\n"),
            id="packed",
        ),
    ],
)
def test_a_configuration_that_cannot_be_one_is_no_answer(reply: Reply) -> None:
    with scripted_server(reply) as server, client_of(server.url) as client:
        assert client.gather([], [1]) == NO_FACTS


def test_a_body_that_breaks_off_is_no_answer() -> None:
    def break_off(connection: socket.socket, over: Event) -> None:
        response(200, b"x" * 10, length=11)(connection, over)
        connection.shutdown(socket.SHUT_RDWR)

    with scripted_server(break_off) as server, client_of(server.url) as client:
        assert client.gather([], [1]) == NO_FACTS


def test_a_server_that_does_not_exist_gives_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    with (
        socket.socket() as bound_but_not_listening,
        caplog.at_level(logging.WARNING),
    ):
        bound_but_not_listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound_but_not_listening.getsockname()[1]}"
        with client_of(url) as client:
            assert client.gather([(1, 2)], [3]) == NO_FACTS
    assert caplog.text.count("2 groups of accounts of other shards have fallen silent") == 1
    assert "ClientConnectorError" in caplog.text


def test_a_name_that_does_not_exist_gives_no_answer() -> None:
    with client_of("http://no-such-shard.invalid:8080") as client:
        assert client.gather([(1, 2)], []) == NO_FACTS


def test_without_a_url_nothing_is_answered_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with client_of(None) as client, caplog.at_level(logging.WARNING):
        assert client.gather([], []) == NO_FACTS
        assert caplog.text == ""
        for _ in range(3):
            assert client.gather([(1, 2)], [3]) == NO_FACTS
    assert caplog.text.count("FETCH_API_URL is not set") == 1


def test_trouble_with_some_questions_leaves_the_answers_to_others() -> None:
    with scripted_server(response(204)) as server, client_of(server.url) as client:
        server.replies["/accounts/1/3/reachable"] = silence
        server.replies["/accounts/1/4/reachable"] = response(500)
        server.replies["/accounts/1/5/reachable"] = response(404)
        facts = client.gather([(1, 2), (1, 3), (1, 4), (1, 5), (1, 6)], [])
        assert facts.reachable == reachable(yes=[2, 6], no=[5])
        assert client.silent_groups == {GROUPS.of(1, 3), GROUPS.of(1, 4)}
