"""The statements and the tables agree on columns and types."""

import msgspec
import pytest
import sqlalchemy as sa

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.journal import JournalEntry
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.protocol.outgoing import OutgoingMessage
from swpt_accounts.store import accounts, journal, outbox, transfers
from swpt_accounts.store.models import db
from tests.store import values

TYPES = {
    "BIGINT": "int8",
    "INTEGER": "int4",
    "DOUBLE PRECISION": "float8",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "BOOLEAN": "bool",
    "DATE": "date",
    "TEXT": "text",
    "BYTEA": "bytea",
}
NOT_STORED = {"is_created", "is_changed", "is_update_due"}


def types_of(table: str) -> dict[str, str]:
    """Return the types of a table's columns, by the names that the statements use."""
    dialect = sa.create_engine("postgresql+psycopg://").dialect
    compiled = {
        c.name: c.type.compile(dialect)
        for c in db.metadata.tables[table].columns
        if not c.info.get("is_unused")
    }
    return {n: "varchar" if t.startswith("VARCHAR") else TYPES[t] for n, t in compiled.items()}


def fields_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(kind))


@pytest.mark.parametrize(
    ("table", "columns", "types"),
    [
        ("account", accounts.COLUMNS, accounts.COLUMN_TYPES),
        ("prepared_transfer", transfers.COLUMNS, transfers._COLUMN_TYPES),
        ("journal", journal.COLUMNS, journal._COLUMN_TYPES),
    ],
)
def test_every_column_is_written_with_its_type(
    table: str, columns: tuple[str, ...], types: tuple[str, ...]
) -> None:
    assert dict(zip(columns, types, strict=True)) == types_of(table)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (transfers.COLUMNS, PreparedTransfer),
        (journal.COLUMNS, JournalEntry),
        (outbox.MESSAGE_COLUMNS, OutgoingMessage),
    ],
)
def test_columns_are_in_the_order_of_the_fields(columns: tuple[str, ...], kind: type) -> None:
    assert columns == fields_of(kind)


def test_everything_of_an_account_is_stored_but_what_concerns_one_batch() -> None:
    fields = fields_of(Account)
    assert fields[: len(accounts.COLUMNS)] == accounts.COLUMNS
    assert set(fields[len(accounts.COLUMNS) :]) == NOT_STORED


def test_messages_are_written_with_their_types() -> None:
    types = types_of("outbox")
    expected = {name: types[name] for name in (*outbox.MESSAGE_COLUMNS, "inserted_at")}
    written = (*outbox.MESSAGE_COLUMNS, "inserted_at")
    assert dict(zip(written, outbox._COLUMN_TYPES, strict=True)) == expected


def test_a_message_that_is_set_aside_keeps_all_its_columns() -> None:
    set_aside = types_of("undelivered_message")
    assert {name: set_aside.get(name) for name in types_of("outbox")} == types_of("outbox")


def test_the_tests_know_every_column_of_an_account() -> None:
    assert set(values.ACCOUNT_FIELDS) | {"debtor_id", "creditor_id", "creation_date"} == set(
        accounts.COLUMNS
    )
