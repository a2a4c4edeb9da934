"""The container files fit together, and fit the program, as far as this shows without an engine."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from swpt_accounts import settings
from swpt_accounts.protocol.sharding import Realm

ROOT = Path(__file__).resolve().parents[2]
DEVELOPMENT = "docker-compose.yml"
EVERYTHING = "docker-compose-all.yml"
COMPOSE_FILES = (DEVELOPMENT, EVERYTHING)
NODE_SERVICES = ("accounts-server", "accounts-server-config")
SUPPLIED_BY_THE_OPERATOR = {"${SWPT_NODEDATA_DIR:-./var/nodedata}"}
SET_BY_THE_NGINX_IMAGE = {"NGINX_LOCAL_RESOLVERS"}

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>\w+)|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})"
)


@cache
def compose(file: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / file).read_text())


def services(file: str) -> dict[str, dict[str, Any]]:
    return compose(file)["services"]


def texts(node: Any) -> Iterator[str]:
    """Yield all strings in a YAML document."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts(key)
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


def development_env() -> dict[str, str]:
    lines = (ROOT / "development.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated(text: str, environment: dict[str, str]) -> str:
    """Return the text as Compose reads it; `KeyError` for a variable without any value."""

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["plain"] or match["name"]
        if match["default"] is None:
            return environment[name]
        return environment.get(name) or match["default"]

    return _VARIABLE.sub(value, text)


def environment_of(service: str) -> dict[str, str]:
    given = services(EVERYTHING)[service]["environment"]
    return {name: interpolated(value, {}) for name, value in given.items()}


# -- the compose files ---------------------------------------------------------


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_variable_has_a_value_that_agrees_with_development_env(file: str) -> None:
    known = development_env()
    for text in texts(compose(file)):
        assert interpolated(text, {}) == interpolated(text, known), (
            f"{text!r} in {file} means something else with the values of development.env"
        )


@pytest.mark.parametrize("service", NODE_SERVICES)
def test_the_node_gets_settings_that_it_knows_accepts_and_uses(service: str) -> None:
    environment = environment_of(service)
    assert environment.keys() <= {row.name for row in settings.reference()}
    assert settings.load(environment).postgres_url
    assert settings.unused_variables(environment) == []


@pytest.mark.parametrize("service", NODE_SERVICES)
def test_the_node_is_given_a_command_that_the_entrypoint_knows(
    service: str, tmp_path: Path
) -> None:
    program = tmp_path / "swpt_accounts"
    program.write_text('#!/bin/sh\necho "swpt_accounts $1"\n')
    program.chmod(0o755)
    command = services(EVERYTHING)[service]["command"]
    outcome = subprocess.run(
        [ROOT / "docker/entrypoint.sh", *shlex.split(command)],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.stdout, outcome.returncode) == (f"swpt_accounts {command}\n", 0), outcome.stderr


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_mounted_file_exists_or_is_supplied_by_the_operator(file: str) -> None:
    declared = compose(file)["volumes"]
    for name, service in services(file).items():
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            assert (
                source in SUPPLIED_BY_THE_OPERATOR or source in declared or (ROOT / source).exists()
            ), f"{name} in {file} mounts {source}, which is not there"


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_services_wait_for_something_that_will_happen(file: str) -> None:
    order: dict[str, list[str]] = {}
    for name, service in services(file).items():
        awaited = service.get("depends_on", {})
        order[name] = list(awaited)
        for other, wait in awaited.items():
            what = services(file)[other]
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in what, f"{name} waits for {other}, which has no health"
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert what["restart"] == "on-failure", f"{name} waits for {other} to end"
            assert set(what.get("profiles", [])) <= set(service.get("profiles", [])), (
                f"{other}, which {name} waits for, is not started with it"
            )
    tuple(TopologicalSorter(order).static_order())


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_address_is_one_of_a_service(file: str) -> None:
    for name, service in services(file).items():
        for variable, value in service.get("environment", {}).items():
            url = urlsplit(interpolated(value, {}))
            if url.netloc:
                assert url.hostname in services(file), f"{variable} of {name}"


def test_servers_with_well_known_passwords_listen_on_this_machine_only() -> None:
    for file in COMPOSE_FILES:
        for name in ("pg", "rabbitmq"):
            for port in services(file)[name].get("ports", []):
                assert port.startswith("127.0.0.1:"), f"{name} in {file}"


def test_development_env_finds_the_servers_of_the_development_compose_file() -> None:
    known = development_env()
    published = {
        name: {
            int(interpolated(port, {}).split(":")[1])
            for port in services(DEVELOPMENT)[name]["ports"]
        }
        for name in ("pg", "rabbitmq")
    }
    for variable, server in (
        ("POSTGRES_URL", "pg"),
        ("PROTOCOL_BROKER_URL", "rabbitmq"),
        ("CHORES_BROKER_URL", "rabbitmq"),
    ):
        url = urlsplit(known[variable])
        assert url.hostname in {"localhost", "127.0.0.1"}, variable
        assert url.port in published[server], variable


def test_the_stomp_server_finds_the_plugin_it_needs() -> None:
    plugins = (ROOT / "docker/rabbitmq/enabled_plugins").read_text()
    assert {"rabbitmq_random_exchange", "rabbitmq_management"} <= set(re.findall(r"\w+", plugins))


# -- the proxies ---------------------------------------------------------------


def test_the_api_proxy_sends_all_questions_to_the_web_server_of_the_node() -> None:
    lines = (ROOT / "docker/apiproxy/accounts.conf").read_text().splitlines()
    [(routing_key, address)] = [line.split() for line in lines]
    server = environment_of("accounts-server")
    assert Realm.parse(routing_key) == Realm.parse(server["PROTOCOL_BROKER_QUEUE_ROUTING_KEY"])
    assert address == f"http://accounts-server:{server['WEBSERVER_PORT']}"


def test_the_cache_is_given_every_variable_of_its_template() -> None:
    template = (ROOT / "docker/nginx/templates/default.conf.template").read_text()
    needed = set(re.findall(r"\$\{(\w+)\}", template))
    given = environment_of("accounts-cache")
    assert needed <= given.keys() | SET_BY_THE_NGINX_IMAGE
    assert given["NGINX_ENTRYPOINT_LOCAL_RESOLVERS"]


# -- the image -----------------------------------------------------------------


@cache
def instructions() -> list[list[str]]:
    """Return the words of each instruction of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def copied() -> list[str]:
    """Return what the Dockerfile copies from the project."""
    return [
        source
        for words in instructions()
        if words[0] == "COPY" and not words[1].startswith("--from")
        for source in words[1:-1]
    ]


@pytest.mark.parametrize("source", sorted(set(copied())))
def test_what_the_image_contains_exists_and_is_let_through(source: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert f"!{source.removesuffix('*')}" in ignored
    # A name that ends with an asterisk may be absent.
    assert source.endswith("*") or (ROOT / source).exists()


def test_the_image_contains_all_that_the_node_needs() -> None:
    needed = {"swpt_accounts/", "migrations/", "docker/entrypoint.sh", "docker/supervisord.conf"}
    assert needed <= set(copied())


def test_the_image_runs_the_entrypoint_without_privileges() -> None:
    last = {words[0]: words[1:] for words in instructions()}
    assert int(last["USER"][0].split(":")[0]) > 0
    [directory] = last["WORKDIR"]
    assert last["ENTRYPOINT"] == [f'["{directory}/docker/entrypoint.sh"]']
    assert last["CMD"] == ['["all"]']
    assert os.access(ROOT / "docker/entrypoint.sh", os.X_OK)
    for name in NODE_SERVICES:
        assert services(EVERYTHING)[name]["cap_drop"] == ["ALL"]


def test_only_packages_with_known_hashes_are_installed() -> None:
    for words in instructions():
        line = " ".join(words)
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-index" in line


def test_no_keys_or_certificates_lie_among_the_container_files() -> None:
    for path in (ROOT / "docker").rglob("*"):
        if path.is_file():
            assert b"-----BEGIN " not in path.read_bytes(), path
