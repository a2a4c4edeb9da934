"""The proof that a batch neither creates nor destroys money, against books that were cooked."""

from typing import Any

import msgspec
import pytest

from swpt_accounts.ledger.account import Account
from swpt_accounts.ledger.commands import PendingBalanceChange
from swpt_accounts.ledger.journal import BooksDoNotBalance, JournalEntry, Position, prove_balanced
from swpt_accounts.ledger.values import MAX_INT64, AccountKey
from tests.factories import (
    DEBTOR_ID,
    NOW,
    RECIPIENT_ID,
    SENDER_ID,
    STRANGER_ID,
    account,
    apply_batch,
    finalize_transfer,
    local,
    locking_account,
    pending_balance_change,
    prepared_transfer,
    recipient_account,
)


class Books(msgspec.Struct):
    """The arguments of the proof, so that a test can change one thing."""

    entries: list[JournalEntry]
    before: dict[AccountKey, Position]
    accounts: dict[AccountKey, Account]
    received: list[PendingBalanceChange]
    sent: list[PendingBalanceChange]
    purged: dict[AccountKey, Position] = {}

    def prove(self) -> None:
        fields = msgspec.structs.asdict(self)
        prove_balanced(fields.pop("entries"), **fields)

    def change_entry(self, index: int, **fields: Any) -> None:
        self.entries[index] = msgspec.structs.replace(self.entries[index], **fields)


SENDER, RECIPIENT = (DEBTOR_ID, SENDER_ID), (DEBTOR_ID, RECIPIENT_ID)


@pytest.fixture
def books() -> Books:
    """The honest books of a batch with a local commit, a commit abroad, and a change received."""
    transfers = [
        prepared_transfer(transfer_id=1, coordinator_request_id=1, locked_amount=500),
        prepared_transfer(
            transfer_id=2,
            coordinator_request_id=2,
            locked_amount=300,
            recipient_creditor_id=STRANGER_ID,
        ),
    ]
    outcome = apply_batch(
        *(finalize_transfer(transfer) for transfer in transfers),
        pending_balance_change(principal_delta=1000, other_creditor_id=STRANGER_ID),
        accounts=[locking_account(*transfers, principal=1000), recipient_account(principal=7)],
        transfers=transfers,
        is_local=local(SENDER_ID, RECIPIENT_ID),
    )
    return Books(
        outcome.journal,
        outcome.before,
        outcome.accounts,
        outcome.received,
        outcome.sent,
    )


def test_honest_books_balance(books: Books) -> None:
    assert [entry.amount for entry in books.entries] == [-500, 500, -300, 1000]
    assert books.before == {SENDER: Position(0, 1000), RECIPIENT: Position(0, 7)}
    books.prove()


def test_no_books_balance() -> None:
    Books([], {}, {}, [], []).prove()


def test_accounts_that_were_not_touched_balance() -> None:
    untouched = account(principal=55)
    Books([], {SENDER: Position(0, 55)}, {SENDER: untouched}, [], []).prove()


def increase_principal(books: Books) -> None:
    books.accounts[RECIPIENT].principal += 1


def decrease_principal_of_sender(books: Books) -> None:
    books.accounts[SENDER].principal -= 1


def create_account_with_money(books: Books) -> None:
    books.accounts[DEBTOR_ID, 5] = account(creditor_id=5, principal=1)


def change_account_without_entry(books: Books) -> None:
    books.before[DEBTOR_ID, 5] = Position(0, 10)
    books.accounts[DEBTOR_ID, 5] = account(creditor_id=5, principal=11)


def forget_the_principal_before(books: Books) -> None:
    del books.before[RECIPIENT]


def change_an_amount(books: Books) -> None:
    books.change_entry(1, amount=501)


def change_a_principal_after(books: Books) -> None:
    books.change_entry(1, principal=508)


def change_an_amount_and_what_follows(books: Books) -> None:
    """The account agrees with its journal, but one unit has come out of nothing."""
    books.change_entry(3, amount=1001, principal=1508)
    books.accounts[RECIPIENT].principal += 1


def clip_what_fitted(books: Books) -> None:
    books.change_entry(3, clipped_amount=1)


def drop_an_entry(books: Books) -> None:
    del books.entries[0]


def drop_an_entry_and_its_effect(books: Books) -> None:
    del books.entries[3]
    books.accounts[RECIPIENT].principal -= 1000


def repeat_an_entry(books: Books) -> None:
    books.entries.append(books.entries[3])


def swap_entries(books: Books) -> None:
    books.entries[1], books.entries[3] = books.entries[3], books.entries[1]


def drop_what_was_sent(books: Books) -> None:
    books.sent.clear()


def send_twice(books: Books) -> None:
    books.sent.append(books.sent[0])


def send_more(books: Books) -> None:
    books.sent[0] = msgspec.structs.replace(books.sent[0], principal_delta=301)


def send_to_another_currency(books: Books) -> None:
    books.sent[0] = msgspec.structs.replace(books.sent[0], debtor_id=DEBTOR_ID + 1)


def receive_nothing(books: Books) -> None:
    books.received.clear()


def receive_twice(books: Books) -> None:
    books.received.append(books.received[0])


def receive_another_amount(books: Books) -> None:
    books.received[0] = msgspec.structs.replace(books.received[0], principal_delta=999)


def move_between_currencies(books: Books) -> None:
    """What one currency has lost, another one has got."""
    other = recipient_account(debtor_id=DEBTOR_ID + 1, principal=500)
    books.change_entry(1, debtor_id=DEBTOR_ID + 1, principal=500)
    books.change_entry(3, principal=1007)
    books.accounts[other.key] = other
    books.accounts[RECIPIENT].principal = 1007


def add_entries_of_accounts_that_nobody_knows(books: Books) -> None:
    """They add up, but belong to nobody."""
    for creditor_id, amount in ((71, 5), (72, -5)):
        books.entries.append(books.entries[0])
        books.change_entry(
            -1, creditor_id=creditor_id, journal_number=1, amount=amount, principal=amount
        )


def leave_a_gap_in_the_journal(books: Books) -> None:
    books.change_entry(3, journal_number=3)
    books.accounts[RECIPIENT].last_journal_number = 3


def forget_to_count_an_entry(books: Books) -> None:
    books.accounts[RECIPIENT].last_journal_number -= 1


@pytest.mark.parametrize(
    "cook",
    [
        add_entries_of_accounts_that_nobody_knows,
        leave_a_gap_in_the_journal,
        forget_to_count_an_entry,
        increase_principal,
        decrease_principal_of_sender,
        create_account_with_money,
        change_account_without_entry,
        forget_the_principal_before,
        change_an_amount,
        change_a_principal_after,
        change_an_amount_and_what_follows,
        clip_what_fitted,
        drop_an_entry,
        drop_an_entry_and_its_effect,
        repeat_an_entry,
        swap_entries,
        drop_what_was_sent,
        send_twice,
        send_more,
        send_to_another_currency,
        receive_nothing,
        receive_twice,
        receive_another_amount,
        move_between_currencies,
    ],
)
def test_cooked_books_do_not_balance(books: Books, cook: Any) -> None:
    books.prove()
    cook(books)
    with pytest.raises(BooksDoNotBalance, match=r"\d"):
        books.prove()


# -- accounts that are purged -------------------------------------------------------------------


def purge(books: Books, key: AccountKey, principal: int) -> None:
    """Take an account that the batch has not changed out of the books."""
    books.purged = {key: Position(9, principal)}


GONE = (DEBTOR_ID, 5)


def test_an_account_that_holds_nothing_can_be_purged(books: Books) -> None:
    purge(books, GONE, 0)
    books.prove()


@pytest.mark.parametrize("principal", [1, -1, MAX_INT64])
def test_an_account_that_holds_something_cannot_be_purged(books: Books, principal: int) -> None:
    purge(books, GONE, principal)
    with pytest.raises(BooksDoNotBalance, match=str(principal)):
        books.prove()


def test_each_of_several_purged_accounts_must_hold_nothing(books: Books) -> None:
    books.purged = {(DEBTOR_ID, n): Position(n, 0) for n in range(5, 9)}
    books.prove()
    books.purged[DEBTOR_ID, 7] = Position(7, 1)
    with pytest.raises(BooksDoNotBalance, match="purged"):
        books.prove()


def test_the_journal_of_an_account_created_anew_begins_from_nothing(books: Books) -> None:
    """The purged account's position is no longer its own."""
    purge(books, RECIPIENT, 0)
    del books.before[RECIPIENT]
    books.entries = [entry for entry in books.entries if entry.creditor_id != RECIPIENT_ID]
    books.entries.append(
        msgspec.structs.replace(
            books.entries[0], creditor_id=RECIPIENT_ID, amount=1500, principal=1500
        )
    )
    books.accounts[RECIPIENT].principal = 1500
    books.accounts[RECIPIENT].last_journal_number = 1
    books.prove()
    books.change_entry(-1, journal_number=10)
    with pytest.raises(BooksDoNotBalance):
        books.prove()


def test_an_account_that_the_batch_has_changed_cannot_be_purged(books: Books) -> None:
    del books.accounts[RECIPIENT]
    del books.before[RECIPIENT]
    purge(books, RECIPIENT, 0)
    with pytest.raises(BooksDoNotBalance):
        books.prove()


# -- overflow -----------------------------------------------------------------------------------


def test_what_is_clipped_is_no_loss_of_the_currency() -> None:
    """The sender has lost it, the recipient has not got it, and the journal says where it is."""
    transfer = prepared_transfer()
    outcome = apply_batch(
        finalize_transfer(transfer),
        accounts=[
            locking_account(transfer, principal=1000),
            recipient_account(principal=MAX_INT64 - 100),
        ],
        transfers=[transfer],
    )
    assert sum(entry.amount for entry in outcome.journal) == 0
    assert sum(entry.clipped_amount for entry in outcome.journal) == 400
    assert outcome.journal[0].applied_at == NOW
