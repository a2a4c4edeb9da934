"""Defects of our own: nothing of it is written, nobody else pays for it, and nobody is blamed."""

import logging
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from swpt_accounts.ledger import batch
from swpt_accounts.ledger.commands import ConfigureAccount, FinalizeTransfer
from swpt_accounts.ledger.working_set import WorkingSet
from swpt_accounts.store.transaction import StoreDefect
from swpt_accounts.workers.intake import MessageIntake
from swpt_accounts.workers.isolation import FAILURES_IN_ROW_MAX
from swpt_accounts.workers.settled import Settled
from tests.factories import configure_account, finalize_transfer, prepared_transfer
from tests.workers.deliveries import deliveries, tags

Rows = list[tuple[Any, ...]]
Read = Callable[[str], Rows]


@pytest.fixture
def read(shard: psycopg.Connection) -> Read:
    """Call it with a query, for its rows."""
    return lambda query: shard.execute(query.encode()).fetchall()


@pytest.fixture
def forgers(intake: MessageIntake, monkeypatch: pytest.MonkeyPatch) -> list[FinalizeTransfer]:
    """Commands that would make money from nothing, each on an account of its own."""

    def create_money(command: FinalizeTransfer, working_set: WorkingSet, *_rest: Any) -> None:
        account = working_set.account((command.debtor_id, command.creditor_id))
        assert account is not None
        account.add_to_principal(1)

    creditor_ids = range(1, 21)
    intake.handle(deliveries(configure_account(creditor_id=n) for n in creditor_ids))
    monkeypatch.setitem(batch._RULES, FinalizeTransfer, create_money)
    return [finalize_transfer(prepared_transfer(creditor_id=n)) for n in creditor_ids]


@pytest.mark.parametrize("place", [0, 5, 10])
def test_a_command_that_alone_unbalances_the_books_is_left_to_an_operator(
    intake: MessageIntake,
    forgers: list[FinalizeTransfer],
    read: Read,
    place: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    commands: list[Any] = [configure_account(creditor_id=1000 + n) for n in range(10)]
    commands.insert(place, forgers[0])
    mixed = deliveries(commands)
    before = read("SELECT * FROM account WHERE creditor_id < 1000")

    settled = intake.handle(mixed)

    assert tags(settled.accepted) == tags(mixed)
    assert settled.rejected == []
    assert read("SELECT * FROM account WHERE creditor_id < 1000") == before
    assert len(read("SELECT FROM account WHERE creditor_id >= 1000")) == 10
    [(kind, message_type, body, reason)] = read(
        "SELECT kind, message_type, body, reason FROM parked_message"
    )
    assert (kind, message_type, body) == ("failed", "FinalizeTransfer", mixed[place].body)
    assert "BooksDoNotBalance" in reason
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "cannot be applied, by a defect of this program" in record.getMessage()


def test_ten_in_a_row_are_our_own_defect_and_nothing_more_is_taken(
    intake: MessageIntake, forgers: list[FinalizeTransfer], read: Read
) -> None:
    before = read("SELECT * FROM account")

    with pytest.raises(StoreDefect, match=f"{FAILURES_IN_ROW_MAX} commands in a row"):
        intake.handle(deliveries(forgers))

    assert read("SELECT * FROM account") == before


def test_any_failure_counts_and_what_was_done_before_is_not_done_again(
    intake: MessageIntake, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: FinalizeTransfer, *_rest: Any) -> None:
        raise KeyError(command.transfer_id)

    monkeypatch.setitem(batch._RULES, FinalizeTransfer, fail)
    good = [configure_account(creditor_id=n) for n in range(1, 17)]
    bad = [finalize_transfer(prepared_transfer(creditor_id=n)) for n in range(1, 17)]
    settled = Settled()

    with pytest.raises(StoreDefect, match="commands in a row have failed"):
        intake.handle(deliveries([*good, *bad]), settled)

    parked_count = FAILURES_IN_ROW_MAX - 1
    assert tags(settled.accepted) == list(range(1, 17 + parked_count))
    assert settled.rejected == []
    assert read("SELECT count(*) FROM account") == [(16,)]
    assert read("SELECT kind, count(*) FROM parked_message GROUP BY 1") == [
        ("failed", parked_count)
    ]


def test_failures_with_successes_between_them_are_not_in_a_row(
    intake: MessageIntake, forgers: list[FinalizeTransfer], read: Read
) -> None:
    for forger in forgers:
        intake.handle(deliveries([forger]))
        intake.handle(deliveries([configure_account()]))

    assert read("SELECT count(*) FROM parked_message") == [(len(forgers),)]


def test_a_batch_that_fails_though_no_part_of_it_does_is_named(
    intake: MessageIntake,
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rule = batch._RULES[ConfigureAccount]

    def fail_in_company(command: ConfigureAccount, working_set: WorkingSet, *rest: Any) -> None:
        rule(command, working_set, *rest)
        if len(working_set.accounts) > 2:
            account = working_set.account((command.debtor_id, command.creditor_id))
            assert account is not None
            account.add_to_principal(1)

    monkeypatch.setitem(batch._RULES, ConfigureAccount, fail_in_company)
    four = deliveries(configure_account(creditor_id=1000 + n) for n in range(4))

    settled = intake.handle(four)

    assert tags(settled.accepted) == [1, 2, 3, 4]
    assert read("SELECT count(*), max(principal) FROM account") == [(4, 0)]
    assert read("SELECT FROM parked_message") == []
    [line] = [record.getMessage() for record in caplog.records]
    assert "a batch of 4 commands would have unbalanced the books" in line
    assert "ConfigureAccount" in line


def test_rows_that_are_not_where_they_were_locked_are_our_own_defect(
    intake: MessageIntake, shard: psycopg.Connection, read: Read
) -> None:
    intake.handle(deliveries([configure_account()]))
    shard.execute(
        """
        CREATE FUNCTION skip_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER skip_update BEFORE UPDATE ON account
        FOR EACH ROW EXECUTE FUNCTION skip_update();
        """
    )
    before = read("SELECT * FROM account")

    with pytest.raises(StoreDefect, match="1 accounts have changed, but 0 were written"):
        intake.handle(deliveries([configure_account(seqnum=2, negligible_amount=7.0)]))

    assert read("SELECT * FROM account") == before
