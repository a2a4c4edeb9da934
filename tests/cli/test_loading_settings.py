"""What an environment may hold, and what is said about one that is wrong."""

from datetime import UTC, datetime
from typing import Any

import pytest

from swpt_accounts.settings import SettingsError, load, reference, unused_variables

DATABASE = {"POSTGRES_URL": "postgresql+psycopg://user:password@localhost:5432/database"}
NOW = datetime(2026, 6, 15, tzinfo=UTC)


def problems_of(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(DATABASE | environment, now=NOW)
    return raised.value.problems


def value_of(name: str, text: str) -> Any:
    return getattr(load(DATABASE | {name: text}, now=NOW), name.lower())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("POSTGRES_URL", "postgresql://h/d?connect_timeout=10", None),
        ("POSTGRES_URL", "postgresql+psycopg://u:p%40@h:5432/d?options=-cwork_mem%3D8MB", None),
        ("POSTGRES_URL", "postgresql+psycopg:///d?host=/var/run/postgresql", None),
        ("PROTOCOL_BROKER_URL", "amqps://u:p%2F@h:5671/%2Fvhost?heartbeat=5", None),
        ("PROTOCOL_BROKER_QUEUE_ROUTING_KEY", "1.0.#", None),
        ("PROTOCOL_BROKER_QUEUE", "db-01", None),
        ("PROTOCOL_BROKER_PREFETCH_COUNT", " 10 ", 10),
        ("PROTOCOL_BROKER_PROCESSES", "0", 0),
        ("FLUSH_PERIOD", "1", 1.0),
        ("FLUSH_PERIOD", "5e-1", 0.5),
        ("FETCH_API_URL", "", None),
        ("APP_LOG_LEVEL", "INFO", "info"),
        ("APP_ACCOUNTS_SCAN_HOURS", "0.5", 0.5),
        ("APP_PREPARED_TRANSFER_MAX_DELAY_DAYS", "30", 30.0),
        ("APP_MAX_INTEREST_TO_PRINCIPAL_RATIO", "0.10", 0.1),
        ("REMOVE_FROM_ARCHIVE_THRESHOLD_DATE", "2026-06-01", datetime(2026, 6, 1, tzinfo=UTC)),
        (
            "REMOVE_FROM_ARCHIVE_THRESHOLD_DATE",
            "2026-01-01T01:00:00+02:00",
            datetime(2025, 12, 31, 23, tzinfo=UTC),
        ),
        ("SETUP_RABBITMQ_BINDINGS", "yes", True),
        ("SETUP_RABBITMQ_BINDINGS", "Yes", False),
        ("SETUP_RABBITMQ_BINDINGS", "true", False),
        ("SUBSTITUTE_LOCALHOST_IN_VARS", "A  B_2", ("A", "B_2")),
        ("SQLALCHEMY_ENGINE_OPTIONS", '{"pool_size": 0}', {"pool_size": 0}),
    ],
)
def test_good_values_are_read(name: str, text: str, value: Any) -> None:
    # None stands for the text itself, except where it is the value of nothing.
    assert value_of(name, text) == (text if value is None and text else value)


@pytest.mark.parametrize("text", ["false", "FALSE", "off", "Off", "no", ""])
def test_these_mean_false(text: str) -> None:
    assert value_of("DELETE_PARENT_SHARD_RECORDS", text) is False


@pytest.mark.parametrize("text", ["true", "on", "yes", "1", "0", "n", "none"])
def test_anything_else_means_true_even_zero(text: str) -> None:
    assert value_of("DELETE_PARENT_SHARD_RECORDS", text) is True


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("POSTGRES_URL", "mysql://h/d", "does not begin with postgresql+psycopg:// or"),
        ("POSTGRES_URL", "localhost", "does not begin with"),
        ("POSTGRES_URL", "postgresql://h/d?no_such_option=1", 'invalid URI query parameter: "no_s'),
        ("PROTOCOL_BROKER_URL", "", "does not begin with amqp:// or amqps://"),
        ("PROTOCOL_BROKER_URL", "http://h", "does not begin with amqp:// or amqps://"),
        ("PROTOCOL_BROKER_URL", "amqp://", "it names no host"),
        ("CHORES_BROKER_URL", "amqp://h:70000", "its host or its port cannot be read"),
        ("CHORES_BROKER_URL", "amqp://h:0", "there is no port 0"),
        ("PROTOCOL_BROKER_URL", "amqp://h?heartbeat=soon", "pika cannot read it"),
        ("PROTOCOL_BROKER_QUEUE", "", "it is empty"),
        ("PROTOCOL_BROKER_QUEUE", "amq.gen", 'names that begin with "amq."'),
        ("CHORES_BROKER_QUEUE", "q" * 253, "it has 253 bytes"),
        ("PROTOCOL_BROKER_QUEUE_ROUTING_KEY", "2.#", "not the binding key of a shard"),
        ("PROTOCOL_BROKER_QUEUE_ROUTING_KEY", "1.", "not the binding key of a shard"),
        ("PROTOCOL_BROKER_QUEUE_ROUTING_KEY", "", "not the binding key of a shard"),
        ("PROTOCOL_BROKER_QUEUE_ROUTING_KEY", "#\n", "not the binding key of a shard"),
        ("PROTOCOL_BROKER_QUEUE_ROUTING_KEY", "0." * 21 + "#", "not the binding key of a shard"),
        ("FETCH_API_URL", "localhost:8080", "does not begin with http:// or https://"),
        ("WEBSERVER_PORT", "0", "it is too small"),
        ("WEBSERVER_PORT", "65536", "it is too large"),
        ("WEBSERVER_PORT", "80.5", "not a whole number"),
        ("WEBSERVER_PROCESSES", "", "not a whole number"),
        ("WEBSERVER_THREADS", "9" * 5000, "not a whole number"),
        ("PROTOCOL_BROKER_PROCESSES", "-1", "it is too small"),
        ("PROTOCOL_BROKER_PREFETCH_COUNT", "0", "it is too small"),
        ("FLUSH_PERIOD", "nan", "not a finite number"),
        ("FLUSH_PERIOD", "1e999", "not a finite number"),
        ("FLUSH_PERIOD", "-0.1", "it is too small"),
        ("FLUSH_PERIOD", "soon", "not a number"),
        ("APP_LOG_LEVEL", "loud", "no such choice"),
        ("APP_LOG_FORMAT", "xml", "no such choice"),
        ("APP_FETCH_API_TIMEOUT_SECONDS", "0", "it is too small"),
        ("APP_PREPARED_TRANSFER_MAX_DELAY_DAYS", "29.9", "it is too small"),
        ("APP_PREPARED_TRANSFER_MAX_DELAY_DAYS", "24856", "it is too large"),
        ("APP_MAX_INTEREST_TO_PRINCIPAL_RATIO", "0", "it is too small"),
        ("APP_MAX_INTEREST_TO_PRINCIPAL_RATIO", "0.11", "it is too large"),
        ("APP_MIN_INTEREST_CAPITALIZATION_DAYS", "92.1", "it is too large"),
        ("APP_ACCOUNTS_SCAN_HOURS", "48.1", "it is too large"),
        ("APP_ACCOUNT_HEARTBEAT_DAYS", "14.1", "it is too large"),
        ("REMOVE_FROM_ARCHIVE_THRESHOLD_DATE", "yesterday", "not an ISO 8601 date or time"),
        (
            "REMOVE_FROM_ARCHIVE_THRESHOLD_DATE",
            "0001-01-01T00:00:00+01:00",
            "outside the years 1 to 9999",
        ),
        ("SUBSTITUTE_LOCALHOST_IN_VARS", "A $(B)", "cannot be the name of an environment variable"),
        ("SQLALCHEMY_ENGINE_OPTIONS", "[]", "not a JSON object"),
        ("SQLALCHEMY_ENGINE_OPTIONS", "[" * 100_000, "not JSON"),
        ("PROTOCOL_BROKER_THREADS", "many", "not a whole number"),
        ("APP_PROCESS_BALANCE_CHANGES_WAIT", "a while", "not a number"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_reason_and_what_is_allowed(
    name: str, text: str, said: str
) -> None:
    [problem] = problems_of(**{name: text})
    assert problem.startswith(f"{name}: ")
    assert said in problem
    assert "Allowed: " in problem


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {
                "APP_PREPARED_TRANSFER_MAX_DELAY_DAYS": "30",
                "APP_MESSAGE_MAX_DELAY_DAYS": "31",
            },
            "at least APP_MESSAGE_MAX_DELAY_DAYS (31)",
        ),
        (
            {
                "APP_PREPARED_TRANSFER_MAX_DELAY_DAYS": "30",
                "APP_INTRANET_EXTREME_DELAY_DAYS": "30.5",
            },
            "at least APP_INTRANET_EXTREME_DELAY_DAYS (30.5)",
        ),
        (
            {"REMOVE_FROM_ARCHIVE_THRESHOLD_DATE": "2026-06-02"},
            "not after 2026-06-01T00:00:00+00:00",
        ),
        (
            {"PROTOCOL_BROKER_QUEUE": "one", "CHORES_BROKER_QUEUE": "one"},
            "any other name than PROTOCOL_BROKER_QUEUE",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    environment: dict[str, str], said: str
) -> None:
    [problem] = problems_of(**environment)
    assert said in problem


def test_a_relation_to_a_bad_value_is_not_complained_about() -> None:
    [problem] = problems_of(
        APP_PREPARED_TRANSFER_MAX_DELAY_DAYS="long", APP_MESSAGE_MAX_DELAY_DAYS="31"
    )
    assert "not a number" in problem


def test_all_problems_are_reported_together() -> None:
    problems = problems_of(
        POSTGRES_URL="",
        WEBSERVER_PORT="x",
        APP_LOG_FORMAT="xml",
        APP_MESSAGE_MAX_DELAY_DAYS="1000",
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "WEBSERVER_PORT",
        "APP_LOG_FORMAT",
        "POSTGRES_URL",
        "APP_PREPARED_TRANSFER_MAX_DELAY_DAYS",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("POSTGRES_URL", "mysql://user:s3cret@host/database"),
        ("POSTGRES_URL", "postgresql://user:s3cret%zz@host/database"),
        ("POSTGRES_URL", "postgresql://host/database?password=s3cret%zz"),
        ("PROTOCOL_BROKER_URL", "amqp://user:s3cret@host:port"),
        ("PROTOCOL_BROKER_URL", "amqp://user:a/s3cret@host:port"),
        ("PROTOCOL_BROKER_URL", "amqp://user:s3cret"),
        ("PROTOCOL_BROKER_URL", "user:s3cret@host"),
        ("CHORES_BROKER_URL", "amqp://user:s3cret@host?heartbeat=soon"),
        ("FETCH_API_URL", "ftp://user:s3cret@host"),
    ],
)
def test_a_password_is_not_shown(name: str, text: str) -> None:
    [problem] = problems_of(**{name: text})
    assert "s3cret" not in problem
    assert "***" in problem


def test_a_long_value_is_cut_short() -> None:
    [problem] = problems_of(APP_LOG_LEVEL="x" * 10_000)
    assert len(problem) < 300


def test_settings_do_not_show_passwords_when_printed() -> None:
    assert "password" not in repr(load(DATABASE))


@pytest.mark.parametrize("environment", [{}, {"POSTGRES_URL": ""}])
def test_the_database_is_required_except_where_none_is_needed(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="POSTGRES_URL: it is not set"):
        load(environment)
    assert load(environment, required=()).postgres_url == ""


def test_unknown_variables_are_ignored() -> None:
    assert load(DATABASE | {"CACHE_MAX_SIZE": "1g", "pg_cluster_name": "db"})


def test_settings_cannot_be_changed() -> None:
    settings = load(DATABASE)
    with pytest.raises(AttributeError):
        settings.webserver_port = 1


def test_an_attribute_is_the_name_of_the_variable_in_lower_case() -> None:
    settings = load(DATABASE)
    for row in reference():
        assert hasattr(settings, row.name.lower())


def test_settings_without_effect_are_found_when_they_are_set() -> None:
    environment = {"APP_LOG_LEVEL": "info", "SQLALCHEMY_ECHO": "", "APP_FETCH_CONNECTIONS": "5"}
    assert unused_variables(environment) == ["SQLALCHEMY_ECHO"]
