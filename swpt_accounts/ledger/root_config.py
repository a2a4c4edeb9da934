"""A debtor's configuration document, parsed and checked (protocol.rst, RootConfigData)."""

import json
import math
from functools import lru_cache
from typing import Any, Final, NoReturn

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from swpt_accounts.ledger.interest import INTEREST_RATE_MAX, INTEREST_RATE_MIN
from swpt_accounts.ledger.values import CONFIG_DATA_BYTES_MAX, MAX_INT64

IRI_LENGTH_MAX: Final = 200
CONTENT_TYPE_LENGTH_MAX: Final = 100
NESTING_MAX: Final = 64
_DOCUMENTS_REMEMBERED: Final = 4000

_VERSION: Final = r"(-v[1-9][0-9]{0,5})?"


class DebtorInfo(msgspec.Struct, frozen=True):
    """Where to read about a currency; all fields are empty when the debtor says nothing."""

    iri: str = ""
    content_type: str = ""
    sha256: bytes = b""


class RootConfig(msgspec.Struct, frozen=True):
    """What a debtor decides about a currency.

    `rate` is in percents a year, `limit` is the largest total amount that may
    be issued.
    """

    rate: float = 0.0
    limit: int = MAX_INT64
    info: DebtorInfo = DebtorInfo()


DEFAULT_ROOT_CONFIG: Final = RootConfig()


def _require_storable(text: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("NUL characters and lone surrogates are not allowed")


def _require_ascii(text: str) -> None:
    if not text.isascii():
        raise ValidationError("only ASCII characters are allowed")


class _Number(fields.Float):
    """A JSON number; not a string or a bool that looks like one."""

    def _validated(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        number = super()._validated(value)
        if number is None or not math.isfinite(number):
            raise self.make_error("special")
        return number


class _WholeNumber(fields.Integer):
    """A JSON number without a fraction. `5.0` and `5e0` are the integer 5 in JSON Schema."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        if isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid", input=value)
        return int(value)


class _DebtorInfoSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    type = fields.String(required=True, validate=validate.Regexp(rf"\ADebtorInfo{_VERSION}\Z"))
    iri = fields.String(
        required=True, validate=[validate.Length(min=1, max=IRI_LENGTH_MAX), _require_storable]
    )
    contentType = fields.String(  # noqa: N815 - the name in the document
        load_default="",
        validate=[
            validate.Length(max=CONTENT_TYPE_LENGTH_MAX),
            _require_ascii,
            _require_storable,
        ],
    )
    sha256 = fields.String(load_default="", validate=validate.Regexp(r"\A[0-9A-F]{64}\Z"))


class _RootConfigSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    type = fields.String(required=True, validate=validate.Regexp(rf"\ARootConfigData{_VERSION}\Z"))
    rate = _Number(load_default=0.0, validate=validate.Range(INTEREST_RATE_MIN, INTEREST_RATE_MAX))
    limit = _WholeNumber(load_default=MAX_INT64, validate=validate.Range(0, MAX_INT64))
    info = fields.Nested(_DebtorInfoSchema)


_SCHEMA: Final = _RootConfigSchema()


def _is_deep(document: str) -> bool:
    """Tell whether the document may be nested so deeply that parsing it depends on the stack.

    Brackets in strings are counted too, of which no sane document has so many.
    """
    depth = deepest = 0
    for character in document:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest > NESTING_MAX


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


@lru_cache(maxsize=_DOCUMENTS_REMEMBERED)
def parse(config_data: str) -> RootConfig | None:
    """Parse the `config_data` of a root account; return None when it is not valid.

    The empty string stands for the defaults: no interest, no limit, no info.
    Unknown keys and versioned types (`RootConfigData-v2`) are accepted.
    """
    if config_data == "":
        return DEFAULT_ROOT_CONFIG
    try:
        if len(config_data.encode()) > CONFIG_DATA_BYTES_MAX or _is_deep(config_data):
            return None
        document = json.loads(config_data, parse_constant=_refuse_constant)
        loaded = _SCHEMA.load(document)
    except (ValueError, ValidationError):
        return None
    info = loaded.get("info")
    return RootConfig(
        rate=loaded["rate"],
        limit=loaded["limit"],
        info=DebtorInfo(info["iri"], info["contentType"], bytes.fromhex(info["sha256"]))
        if info
        else DebtorInfo(),
    )
