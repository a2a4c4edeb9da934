"""What the fetch API answers, over real HTTP and from a real database."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from swpt_accounts.protocol.sharding import Realm
from tests.web.asking import ask
from tests.web.serving import served

MIN_INT64 = -(2**63)
TEXT = "text/plain; charset=utf-8"
FOR_A_DAY = "max-age=86400"
FOR_SECONDS = "max-age=10"

OpenAccount = Callable[..., None]


@pytest.fixture(scope="module")
def url(shard_url: str) -> Iterator[str]:
    with served(shard_url) as server:
        yield server.url


@pytest.fixture(scope="module")
def url_without_database() -> Iterator[str]:
    with served("postgresql+psycopg://nobody@127.0.0.1:1/none") as server:
        yield server.url


def test_health_needs_no_database(url_without_database: str) -> None:
    status, headers, body = ask(url_without_database, "/accounts/healthz")
    assert (status, headers["Content-Type"], body) == (200, "text/plain", b"I am healthy")


@pytest.mark.parametrize("question", ["config", "reachable"])
def test_without_a_database_the_answer_is_that_there_is_none(
    url_without_database: str, question: str
) -> None:
    for _ in range(50):
        status, headers, body = ask(url_without_database, f"/accounts/1/2/{question}")
        assert (status, headers["Cache-Control"]) == (503, "no-store")
        assert body == b"The database is away.\n"
    assert ask(url_without_database, "/accounts/1/0/reachable").status == 204


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
        "1" * 4000,
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
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
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
    assert set(answered.headers["Allow"].split(", ")) >= {"GET", "HEAD"}


def test_an_account_of_another_realm_is_a_server_error(
    shard_url: str, open_account: OpenAccount
) -> None:
    ours, theirs = Realm.parse("0.#"), Realm.parse("1.#")
    foreign = [number for number in range(1, 50) if theirs.contains(1, number)]
    own = next(number for number in range(1, 50) if ours.contains(1, number))
    for creditor_id in (own, *foreign):
        open_account(1, creditor_id)
    with served(shard_url, realm="0.#") as server:
        for question in ("reachable", "config"):
            assert ask(server.url, f"/accounts/1/{own}/{question}").status in (200, 204)
            for creditor_id in foreign:
                answered = ask(server.url, f"/accounts/1/{creditor_id}/{question}")
                assert (answered.status, answered.headers["Cache-Control"]) == (500, "no-store")
        said = server.stop()
    assert said.count("not in this shard's realm") == 1


def test_an_account_that_many_ask_about_is_answered_to_each_of_them(
    url: str, open_account: OpenAccount
) -> None:
    open_account(1, 1, config_data="here")
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: ask(url, "/accounts/1/1/config"), range(200)))
    assert all((each.status, each.body) == (200, b"here") for each in answers)
