"""A debtor's configuration document (protocol.rst, RootConfigData)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.ledger.root_config import DEFAULT_ROOT_CONFIG, DebtorInfo, RootConfig, parse
from swpt_accounts.ledger.values import MAX_INT64

SHA256 = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
IRI = "https://example.com/currencies/17"


def document(**members: Any) -> str:
    return json.dumps({"type": "RootConfigData", **members})


def with_raw(name: str, json_text: str) -> str:
    """Return a document with a member that no serializer would write."""
    return f'{{"type":"RootConfigData","{name}":{json_text}}}'


def with_info(**members: Any) -> str:
    return document(info={"type": "DebtorInfo", "iri": IRI, **members})


def test_the_empty_text_stands_for_the_defaults() -> None:
    assert parse("") == RootConfig(rate=0.0, limit=MAX_INT64, info=DebtorInfo("", "", b""))
    assert parse("") == DEFAULT_ROOT_CONFIG
    assert parse(document()) == DEFAULT_ROOT_CONFIG


def test_a_complete_document_is_read_completely() -> None:
    config = parse(
        document(
            rate=2.5,
            limit=1_000_000_000,
            info={
                "type": "DebtorInfo",
                "iri": IRI,
                "contentType": "text/html",
                "sha256": SHA256,
            },
        )
    )
    assert config == RootConfig(
        2.5, 1_000_000_000, DebtorInfo(IRI, "text/html", bytes.fromhex(SHA256))
    )


@pytest.mark.parametrize(
    ("config_data", "expected"),
    [
        pytest.param(
            '{"type":"RootConfigData-v2","rate":1.0}', RootConfig(rate=1.0), id="version 2"
        ),
        pytest.param('{"type":"RootConfigData-v999999"}', RootConfig(), id="version 999999"),
        pytest.param(
            document(future={"type": None, "iri": [1, True]}, rate=1.0),
            RootConfig(rate=1.0),
            id="unknown properties",
        ),
        pytest.param(
            with_info(type="DebtorInfo-v3", future=[None]),
            RootConfig(info=DebtorInfo(IRI)),
            id="unknown properties and a version in the info",
        ),
        pytest.param(with_info(), RootConfig(info=DebtorInfo(IRI)), id="an info with an IRI only"),
        pytest.param(
            with_info(iri="п" * 200),
            RootConfig(info=DebtorInfo("п" * 200)),
            id="an IRI of 200 characters that are not ASCII",
        ),
        pytest.param(
            with_info(contentType="x" * 100),
            RootConfig(info=DebtorInfo(IRI, "x" * 100)),
            id="a content type of 100 characters",
        ),
        pytest.param(document(rate=-50), RootConfig(rate=-50.0), id="the lowest rate"),
        pytest.param(document(rate=100), RootConfig(rate=100.0), id="the highest rate"),
        pytest.param(with_raw("rate", "1e-50"), RootConfig(rate=1e-50), id="a tiny rate"),
        pytest.param(with_raw("rate", "1e-400"), RootConfig(rate=0.0), id="a rate that underflows"),
        pytest.param(document(limit=0), RootConfig(limit=0), id="the lowest limit"),
        pytest.param(document(limit=MAX_INT64), RootConfig(), id="the highest limit"),
        pytest.param(
            document(limit=MAX_INT64 - 1), RootConfig(limit=MAX_INT64 - 1), id="a limit beyond 2^53"
        ),
        pytest.param(with_raw("limit", "5.0"), RootConfig(limit=5), id="a limit of 5.0"),
        pytest.param(with_raw("limit", "5e2"), RootConfig(limit=500), id="a limit of 5e2"),
        pytest.param(
            ' \n{ "limit" : 7 , "type" : "RootConfigData" }\t', RootConfig(limit=7), id="spaces"
        ),
        pytest.param(
            '{"type":"RootConfigData","limit":7,"limit":8}',
            RootConfig(limit=8),
            id="the last one of repeated properties",
        ),
        pytest.param(
            document(padding="x" * (2000 - len(document(padding="")))),
            RootConfig(),
            id="2000 bytes",
        ),
    ],
)
def test_accepts(config_data: str, expected: RootConfig) -> None:
    assert parse(config_data) == expected


def test_a_rate_is_a_float_also_when_it_is_written_as_an_integer() -> None:
    config = parse(document(rate=5))
    assert config is not None
    assert isinstance(config.rate, float)


NOT_DOCUMENTS = [
    pytest.param(" ", id="a space"),
    pytest.param("{", id="an unfinished object"),
    pytest.param("null", id="null"),
    pytest.param("5", id="a number"),
    pytest.param('"RootConfigData"', id="a string"),
    pytest.param("[]", id="an array"),
    pytest.param("{}", id="an object without a type"),
    pytest.param('{"rate":1.0}', id="a rate without a type"),
    pytest.param(document() + "x", id="something after the object"),
    pytest.param("\ufeff" + document(), id="a byte order mark"),
    pytest.param(document(padding="x" * (2001 - len(document(padding="")))), id="2001 bytes"),
    pytest.param(
        json.dumps({"type": "RootConfigData", "padding": "п" * 1000}, ensure_ascii=False),
        id="more than 2000 bytes in fewer characters",
    ),
    pytest.param(with_raw("x", "NaN"), id="NaN in an unknown property"),
    pytest.param(with_raw("x", "[-Infinity]"), id="infinity in an unknown property"),
    pytest.param("[" * 2000, id="deep nesting"),
    pytest.param(with_raw("x", "[" * 900 + "]" * 900), id="valid, but nested so deeply"),
    pytest.param(with_raw("x", "[" * 900), id="deep nesting in an unknown property"),
    pytest.param('{"x":' * 390 + "1" + "}" * 390, id="nested objects without a type"),
    pytest.param('{"type":"RootConfigData","x":"\0"}', id="a raw NUL"),
    pytest.param(document() + "\0", id="a NUL at the end"),
    pytest.param('{"type":"RootConfigData","x":"\ud800"}', id="a raw lone surrogate"),
]

NOT_TYPES = [
    pytest.param(json.dumps({"type": value}), id=f"type {value!r}")
    for value in [
        None,
        1,
        "",
        "rootconfigdata",
        "RootConfigData-v0",
        "RootConfigData-v02",
        "RootConfigData-v",
        "RootConfigData-v1000000",
        "RootConfigData-v2\n",
        "RootConfigData\n",
        " RootConfigData",
        "RootConfigData2",
        ["RootConfigData"],
    ]
]

NOT_NUMBERS = [
    pytest.param(with_raw(name, value), id=f"{name} {value[:20]}")
    for name, values in {
        "rate": ["-50.000001", "100.000001", "-1e300", "1e400", "-1e400"],
        "limit": ["-1", "1.5", "9223372036854775808", "9223372036854775807.0", "1e400", "1e300"],
    }.items()
    for value in [
        *values,
        "null",
        "true",
        "false",
        '"5"',
        '""',
        "[]",
        "{}",
        "NaN",
        "Infinity",
        "-Infinity",
        "05",
        "+5",
        "9" * 1900,
        "9" * 5000,
    ]
]

NOT_INFO = [
    pytest.param(config_data, id=f"info with {what}")
    for what, config_data in {
        "null": document(info=None),
        "a string": document(info=IRI),
        "an array": document(info=[]),
        "nothing": document(info={}),
        "no type": document(info={"iri": IRI}),
        "no IRI": document(info={"type": "DebtorInfo"}),
        "another type": with_info(type="CreditorInfo"),
        "type null": with_info(type=None),
        "an empty IRI": with_info(iri=""),
        "an IRI of 201 characters": with_info(iri="x" * 201),
        "an IRI that is a number": with_info(iri=5),
        "an IRI null": with_info(iri=None),
        "an escaped NUL in the IRI": with_info(iri="https://example.com/\0"),
        "an escaped lone surrogate in the IRI": with_info(iri="https://example.com/\udcff"),
        "a content type of 101 characters": with_info(contentType="x" * 101),
        "a content type that is not ASCII": with_info(contentType="п"),
        "a content type with a NUL": with_info(contentType="a\0b"),
        "a content type null": with_info(contentType=None),
        "a content type that is a bool": with_info(contentType=False),
        "an empty hash": with_info(sha256=""),
        "a hash in lower case": with_info(sha256=SHA256.lower()),
        "a hash of 63 digits": with_info(sha256=SHA256[1:]),
        "a hash of 65 digits": with_info(sha256=SHA256 + "0"),
        "a hash with a newline": with_info(sha256=SHA256 + "\n"),
        "a hash with another letter": with_info(sha256="G" + SHA256[1:]),
        "a hash with Arabic digits": with_info(sha256="٠" * 64),
        "a hash null": with_info(sha256=None),
    }.items()
]


@pytest.mark.parametrize("config_data", NOT_DOCUMENTS + NOT_TYPES + NOT_NUMBERS + NOT_INFO)
def test_rejects(config_data: str) -> None:
    assert parse(config_data) is None


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["RootConfigData", "DebtorInfo", SHA256]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "rate", "limit", "info", "iri", "contentType", "sha256", "x"]),
            children,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(
    st.text(max_size=300)
    | JSON_VALUES.map(json.dumps)
    | JSON_VALUES.map(lambda value: document(info=value, rate=value, limit=value))
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_text_is_it_gives_a_config_or_none(config_data: str) -> None:
    config = parse(config_data)
    if config is not None:
        assert -50.0 <= config.rate <= 100.0
        assert 0 <= config.limit <= MAX_INT64
        assert len(config.info.sha256) in {0, 32}
        assert "\0" not in config.info.iri + config.info.content_type
        config.info.iri.encode()
