"""What the fetch API answers, over real HTTP and from a real database."""

import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from flask import request

from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.lookups import AccountLookups
from swpt_accounts.web.fetch_api import create_app
from tests.web.asking import ask, served

MIN_INT64 = -(2**63)
TEXT = "text/plain; charset=utf-8"
FOR_A_DAY = "max-age=86400"
FOR_SECONDS = "max-age=10"

OpenAccount = Callable[..., None]


@pytest.fixture(scope="module")
def url(shard_url: str) -> Iterator[str]:
    lookups = AccountLookups(shard_url, connections_max=3)
    with served(create_app(lookups, Realm.parse("#"))) as url:
        yield url
    lookups.close()


def test_health_needs_no_database() -> None:
    lookups = AccountLookups("postgresql+psycopg://nobody@127.0.0.1:1/none", connections_max=3)
    with served(create_app(lookups, Realm.parse("#"))) as url:
        status, headers, body = ask(url, "/accounts/healthz")
    assert (status, headers["Content-Type"], body) == (200, "text/plain", b"I am healthy")


@pytest.mark.parametrize(
    ("account", "status"),
    [
        pytest.param({}, 204, id="live"),
        pytest.param({"config_flags": 2}, 204, id="another flag"),
        pytest.param({"config_flags": -2}, 204, id="all other flags"),
        pytest.param({"config_flags": 1}, 404, id="scheduled for deletion"),
        pytest.param({"config_flags": -1}, 404, id="all flags"),
        pytest.param({"is_deleted": True}, 404, id="deleted"),
        pytest.param(None, 404, id="no account"),
    ],
)
@pytest.mark.usefixtures("shard")
def test_an_account_is_reachable_unless_it_is_gone_or_going(
    url: str, open_account: OpenAccount, account: dict[str, object] | None, status: int
) -> None:
    if account is not None:
        open_account(1, 2, **account)
    answered = ask(url, "/accounts/1/2/reachable")
    assert answered.status == status
    assert answered.body == b""
    assert answered.headers["Content-Type"] == TEXT


@pytest.mark.parametrize("account", [None, {}, {"config_flags": 1}, {"is_deleted": True}], ids=repr)
def test_a_root_account_is_always_reachable(
    url: str, open_account: OpenAccount, account: dict[str, object] | None
) -> None:
    if account is not None:
        open_account(1, 0, **account)
    assert ask(url, "/accounts/1/0/reachable").status == 204


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize("creditor_id", [0, 7])
@pytest.mark.parametrize("config_data", ["", '{"rate": 1}\r\n', "данни ☃ 𝄞", "x" * 2000])
def test_a_configuration_comes_as_it_is(
    url: str, open_account: OpenAccount, config_data: str, creditor_id: int, is_deleted: bool
) -> None:
    open_account(1, creditor_id, config_data=config_data, is_deleted=is_deleted)
    status, headers, body = ask(url, f"/accounts/1/{creditor_id}/config")
    assert (status, body) == (200, config_data.encode())
    assert headers["Content-Type"] == TEXT
    assert headers["Cache-Control"] == FOR_A_DAY


@pytest.mark.usefixtures("shard")
def test_an_account_that_does_not_exist_has_no_configuration(url: str) -> None:
    status, headers, body = ask(url, "/accounts/1/2/config")
    assert (status, headers["Content-Type"], body) == (404, TEXT, b"")


def test_a_freshly_opened_account_is_not_kept_unreachable_by_caches(
    url: str, open_account: OpenAccount
) -> None:
    for question in ("reachable", "config"):
        headers = ask(url, f"/accounts/1/2/{question}").headers
        assert headers["Cache-Control"] == FOR_SECONDS
    open_account(1, 2)
    for question in ("reachable", "config"):
        headers = ask(url, f"/accounts/1/2/{question}").headers
        assert headers["Cache-Control"] == FOR_A_DAY


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", MIN_INT64),
        ("18446744073709551615", -1),
        ("%31", 1),
    ],
)
def test_ids_are_unsigned_decimals(
    url: str, open_account: OpenAccount, text: str, number: int
) -> None:
    open_account(number, number, config_data="here")
    assert ask(url, f"/accounts/{text}/{text}/config").body == b"here"
    assert ask(url, f"/accounts/{text}/{text}/reachable").status == 204


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "01",
        "00",
        "1.0",
        "1e3",
        "0x1",
        "a",
        "1_0",
        "%201",
        "1%20",
        "1%0A",
        "1%00",
        "1%2F",
        quote("١"),  # an Arabic one
        quote("１"),  # a wide one
        "%FF",
        "18446744073709551616",
        "100000000000000000000",
        "1" * 21,
        "1" * 5000,
        "'%20OR%201=1--",
        "..",
    ],
)
def test_other_ids_are_not_found(url: str, open_account: OpenAccount, text: str) -> None:
    open_account(1, 1)
    for ids in (f"{text}/1", f"1/{text}"):
        for question in ("reachable", "config"):
            assert ask(url, f"/accounts/{ids}/{question}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/accounts",
        "/accounts/",
        "/healthz",
        "/accounts/healthz/",
        "/accounts/1/1",
        "/accounts/1/1/",
        "/accounts/1/1/reachable/",
        "/accounts/1/1/config/",
        "/accounts/1/1/Config",
        "/accounts//1/1/config",
        "/accounts/1/1/other",
        "/static/x",
    ],
)
def test_other_paths_are_not_found(url: str, open_account: OpenAccount, path: str) -> None:
    open_account(1, 1)
    assert ask(url, path).status == 404


PATHS = ["/accounts/healthz", "/accounts/1/1/reachable", "/accounts/1/1/config"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_nothing_can_be_changed(url: str, path: str, method: str) -> None:
    assert ask(url, path, method=method, headers={"Content-Length": "0"}).status == 405


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(url: str, open_account: OpenAccount, path: str) -> None:
    open_account(1, 1, config_data="{}")
    get, head = ask(url, path), ask(url, path, method="HEAD")
    assert head.body == b""
    assert head.status == get.status
    for name in ("Content-Type", "Content-Length", "Cache-Control"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("path", PATHS)
def test_options_tell_the_methods(url: str, path: str) -> None:
    answered = ask(url, path, method="OPTIONS")
    assert answered.status == 200
    assert set(answered.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("question", ["reachable", "config"])
def test_an_account_of_another_realm_is_a_server_error(
    shard_url: str, open_account: OpenAccount, question: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = Realm.parse("0.#"), Realm.parse("1.#")
    foreign = [number for number in range(1, 50) if theirs.contains(1, number)]
    own = next(number for number in range(1, 50) if ours.contains(1, number))
    open_account(1, own)
    for creditor_id in foreign:
        open_account(1, creditor_id)
    lookups = AccountLookups(shard_url, connections_max=3)
    with served(create_app(lookups, ours)) as url, caplog.at_level(logging.ERROR):
        assert ask(url, f"/accounts/1/{own}/{question}").status in (200, 204)
        for creditor_id in foreign:
            status, headers, _ = ask(url, f"/accounts/1/{creditor_id}/{question}")
            assert (status, headers["Cache-Control"]) == (500, "no-store")
    lookups.close()
    assert caplog.text.count("not in this shard's realm") == 1


def test_one_proxy_is_believed_where_a_request_comes_from(shard_url: str) -> None:
    app = create_app(AccountLookups(shard_url, connections_max=3), Realm.parse("#"))
    app.add_url_rule("/seen", view_func=lambda: f"{request.url} {request.remote_addr}")
    headers = {
        "Host": "shard",
        "X-Forwarded-For": "10.1.1.1, 10.2.2.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "444",
    }
    with served(app) as url:
        assert ask(url, "/seen", headers=headers).body == b"https://shard:444/seen 10.2.2.2"
