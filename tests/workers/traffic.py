"""Messages for a shard, and what must have become of them, whatever happened meanwhile.

The shard's realm is `0.#`. Half of the messages are sent twice, as peers and
brokers may do; of the others, none may be lost. No outcome depends on the order
in which the messages are applied.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

import msgspec
import psycopg

from swpt_accounts.ledger.commands import Command
from swpt_accounts.ledger.transfer import PreparedTransfer
from swpt_accounts.ledger.values import account_id
from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.workers.intake import MessageIntake
from tests.factories import (
    DEBTOR_ID,
    configure_account,
    finalize_transfer,
    pending_balance_change,
    prepare_transfer,
)
from tests.simulation.discrepancy import require, require_equal
from tests.simulation.observer import check_tables
from tests.simulation.reading import read_rows
from tests.simulation.rows import Rows
from tests.workers.databases import REFUSED
from tests.workers.deliveries import deliveries
from tests.workers.wire import Received, Wire

ROUTING_KEY = "0.#"
REALM = Realm.parse(ROUTING_KEY)

_AGENT = 0x00000301 << 32
"""All creditors belong to one agent, who may make transfers to other realms without asking."""


def _creditors(is_ours: bool) -> Iterator[int]:
    numbers = range(_AGENT + 1, _AGENT + 10_000)
    return (n for n in numbers if REALM.contains(DEBTOR_ID, n) == is_ours)


_OURS = _creditors(is_ours=True)
_FOREIGN = _creditors(is_ours=False)

SENDERS = [next(_OURS) for _ in range(5)]
RECIPIENTS = [next(_OURS) for _ in range(5)]
FOREIGN_RECIPIENTS = [next(_FOREIGN) for _ in range(5)]
NEW_ACCOUNTS = [next(_OURS) for _ in range(10)]
REFUSED_BY_THE_DATABASE = next(_OURS)

OPENING_PRINCIPAL = 1_000_000
TRANSFERS_PER_SENDER = 6
CHANGES_COUNT = 20


@dataclass
class Expected:
    """What must be found at the end."""

    principals: Counter[int] = field(default_factory=Counter)
    locked: Counter[int] = field(default_factory=Counter)
    finalized: dict[tuple[int, int], int] = field(default_factory=dict)  # To amounts.
    sent: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # From notes.
    prepared: set[tuple[int, int]] = field(default_factory=set)
    rejected: set[tuple[int, int]] = field(default_factory=set)
    transfers: set[tuple[int, str, int]] = field(default_factory=set)
    dead: set[bytes] = field(default_factory=set)


@dataclass
class Traffic:
    """Put messages into the shard's queue, and know what must become of them."""

    commands: list[Command] = field(default_factory=list)
    malformed: list[bytes] = field(default_factory=list)
    expected: Expected = field(default_factory=Expected)

    def send(self, wire: Wire, queue: str) -> None:
        """Publish all commands, some of them twice, with malformed messages in between."""
        repeated = random.Random(0).sample(self.commands, len(self.commands) // 2)
        wire.send(*repeated, to=queue)
        for body in self.malformed:
            wire.publish(body, "PrepareTransfer", exchange="", routing_key=queue)
        wire.send(*self.commands, to=queue)


def open_accounts(shard: psycopg.Connection, intake: MessageIntake) -> None:
    """Open the senders' and the recipients' accounts, with money on those of the senders."""
    opened = [configure_account(creditor_id=n, ts=_now()) for n in SENDERS + RECIPIENTS]
    paid = [
        pending_balance_change(creditor_id=n, change_id=n, principal_delta=OPENING_PRINCIPAL)
        for n in SENDERS
    ]
    for commands in (opened, paid):
        assert len(intake.handle(deliveries(commands)).accepted) == len(commands)
    check = f"CHECK (creditor_id <> {REFUSED_BY_THE_DATABASE})"
    shard.execute(f"ALTER TABLE account ADD CONSTRAINT {REFUSED} {check}")
    shard.execute("TRUNCATE outbox")


def prepare_transfers(shard: psycopg.Connection, intake: MessageIntake) -> list[PreparedTransfer]:
    """Prepare transfers, of which nobody is told."""
    prepared = [
        prepare_transfer(
            creditor_id=sender,
            coordinator_type="agent",
            coordinator_id=_AGENT,
            coordinator_request_id=n,
            recipient=account_id((RECIPIENTS, FOREIGN_RECIPIENTS)[n % 2][n % 5]),
            max_locked_amount=1000,
        )
        for sender in SENDERS
        for n in range(TRANSFERS_PER_SENDER)
    ]
    assert len(intake.handle(deliveries(prepared)).accepted) == len(prepared)
    shard.execute("TRUNCATE outbox")
    return list(read_rows(shard).transfers.values())


def make_traffic(prepared: list[PreparedTransfer]) -> Traffic:
    """Messages of every type, for a shard that has prepared these transfers."""
    traffic = Traffic()
    traffic.expected.principals.update(dict.fromkeys(SENDERS, OPENING_PRINCIPAL))
    kinds = [
        list(_configurations(traffic)),
        list(_requests(traffic)),
        list(_finalizations(traffic, prepared)),
        list(_changes(traffic)),
    ]
    # One of each kind after the other, so that every batch has all of them.
    longest = max(map(len, kinds))
    padded = [[*kind, *[None] * (longest - len(kind))] for kind in kinds]
    traffic.commands = [
        command for command in chain.from_iterable(zip(*padded, strict=True)) if command
    ]
    traffic.malformed = [b"{}", b'{"type": "PrepareTransfer"']
    traffic.expected.dead.update(traffic.malformed)
    return traffic


def _now() -> datetime:
    return datetime.now(UTC)


def _configurations(traffic: Traffic) -> Iterator[Command]:
    for creditor_id in NEW_ACCOUNTS:
        yield configure_account(creditor_id=creditor_id, ts=_now(), negligible_amount=0.5)
        traffic.expected.principals[creditor_id] += 0
    yield configure_account(creditor_id=NEW_ACCOUNTS[0], ts=_now(), config_data="not allowed")


def _requests(traffic: Traffic) -> Iterator[Command]:
    for n, sender in enumerate(SENDERS * 3):
        amount = 10**12 if n % 5 == 4 else 100
        yield prepare_transfer(
            creditor_id=sender,
            coordinator_request_id=100 + n,
            min_locked_amount=amount,
            max_locked_amount=amount,
            recipient=account_id(RECIPIENTS[n % 5]),
            ts=_now(),
        )
        key = sender, 100 + n
        if amount == 100:
            traffic.expected.prepared.add(key)
            traffic.expected.locked[sender] += amount
        else:
            traffic.expected.rejected.add(key)


def _finalizations(traffic: Traffic, prepared: list[PreparedTransfer]) -> Iterator[Command]:
    expected = traffic.expected
    for n, transfer in enumerate(prepared):
        amount = 0 if n % 6 == 5 else 500 + n
        note = f"payment {n}"
        yield finalize_transfer(transfer, committed_amount=amount, transfer_note=note)
        expected.finalized[transfer.creditor_id, transfer.transfer_id] = amount
        if not amount:
            continue
        sender, recipient = transfer.creditor_id, transfer.recipient_creditor_id
        expected.principals[sender] -= amount
        expected.transfers.add((sender, note, -amount))
        if recipient in RECIPIENTS:
            expected.principals[recipient] += amount
            expected.transfers.add((recipient, note, amount))
        else:
            expected.sent[note] = (recipient, sender, amount)


def _changes(traffic: Traffic) -> Iterator[Command]:
    for n in range(CHANGES_COUNT):
        creditor_id = (RECIPIENTS + NEW_ACCOUNTS)[n % 15]
        note = f"credit {n}"
        yield pending_balance_change(
            creditor_id=creditor_id,
            other_creditor_id=FOREIGN_RECIPIENTS[n % 5],
            change_id=n,
            principal_delta=10 + n,
            transfer_note=note,
            committed_at=_now(),
        )
        traffic.expected.principals[creditor_id] += 10 + n
        traffic.expected.transfers.add((creditor_id, note, 10 + n))
    refused = pending_balance_change(creditor_id=REFUSED_BY_THE_DATABASE, committed_at=_now())
    traffic.expected.dead.add(b"refused by the database")
    yield refused


# -- what must be found at the end -----------------------------------------


def audit(
    shard: psycopg.Connection,
    traffic: Traffic,
    received: list[Received],
    dead_letters: list[Received],
) -> None:
    """Check the shard's tables, and everything that was announced since the traffic was made."""
    expected = traffic.expected
    sent = [r for r in received if r.properties.type == "PendingBalanceChange"]
    _audit_tables(shard, expected, sent)
    _audit_answers(expected, received)
    require_equal("account transfers", audit_chains(received), expected.transfers)
    require(bool(expected.sent), "the traffic stays in its realm")
    require_equal("sent to other realms", audit_sent(sent), expected.sent)
    dead = {
        b"refused by the database" if b"PendingBalanceChange" in r.body else r.body
        for r in dead_letters
    }
    require_equal("dead letters", dead, expected.dead)


def _audit_tables(shard: psycopg.Connection, expected: Expected, sent: list[Received]) -> None:
    rows = audit_rows(shard, sent)
    found = {a.creditor_id: a for a in rows.accounts.values() if a.debtor_id == DEBTOR_ID}
    principals = {n: a.principal for n, a in found.items()}
    require_equal("principals", principals, dict(expected.principals))
    locked = {n: a.total_locked_amount for n, a in found.items() if a.total_locked_amount}
    require_equal("locks", locked, dict(expected.locked))
    still_prepared = {(t.creditor_id, t.coordinator_request_id) for t in rows.transfers.values()}
    require_equal("prepared transfers", still_prepared, expected.prepared)
    assert all(found[n].negligible_amount == 0.5 for n in NEW_ACCOUNTS)
    changes_count = sum(debtor_id == DEBTOR_ID for debtor_id, _, _ in rows.changes)
    require_equal("registered changes", changes_count, CHANGES_COUNT + len(SENDERS))


def audit_rows(shard: psycopg.Connection, sent: list[Received]) -> Rows:
    """Check that the shard's tables agree with each other; return them."""
    rows = read_rows(shard)
    changes = {r.body: msgspec.json.decode(r.body, type=_Change) for r in sent}
    check_tables([rows], changes.values())  # type: ignore[arg-type]
    return rows


class _Change(msgspec.Struct, frozen=True):
    debtor_id: int
    creditor_id: int
    other_creditor_id: int
    change_id: int
    principal_delta: int


def _audit_answers(expected: Expected, received: list[Received]) -> None:
    """Each request has one outcome; it may have been told several times, in the same words."""
    prepared: dict[tuple[int, int], set[str]] = {}
    rejected: dict[tuple[int, int], set[str]] = {}
    finalized: dict[tuple[int, int], set[bytes]] = {}
    configured: dict[int, set[str]] = {}
    for r in received:
        d = r.document
        match r.properties.type:
            case "PreparedTransfer":
                key = d["creditor_id"], d["coordinator_request_id"]
                prepared.setdefault(key, set()).add(_but_for_ts(d))
            case "RejectedTransfer":
                key = d["creditor_id"], d["coordinator_request_id"]
                assert d["status_code"] == "INSUFFICIENT_AVAILABLE_AMOUNT"
                rejected.setdefault(key, set()).add(d["status_code"])
            case "FinalizedTransfer":
                key = d["creditor_id"], d["transfer_id"]
                assert d["status_code"] == "OK"
                assert d["committed_amount"] == expected.finalized[key]
                finalized.setdefault(key, set()).add(r.body)
            case "RejectedConfig":
                configured.setdefault(d["creditor_id"], set()).add(_but_for_ts(d))
    require_equal("told to be prepared", prepared.keys(), expected.prepared)
    require_equal("told to be rejected", rejected.keys(), expected.rejected)
    require_equal("told to be finalized", finalized.keys(), expected.finalized.keys())
    require_equal("told to be misconfigured", configured.keys(), {NEW_ACCOUNTS[0]})
    for told in chain(prepared.values(), rejected.values(), finalized.values()):
        assert len(told) == 1, told
    updated = {r.document["creditor_id"] for r in received if r.properties.type == "AccountUpdate"}
    assert updated >= set(NEW_ACCOUNTS)


def _but_for_ts(document: dict[str, object]) -> str:
    return str({name: value for name, value in document.items() if name != "ts"})


def audit_chains(received: list[Received]) -> set[tuple[int, str, int]]:
    """Check that each account's transfers are announced in one chain, without gaps or forks.

    Return whose they are, with notes (which must be unique) and amounts.
    """
    chains: dict[int, dict[int, bytes]] = {}
    transfers = set()
    for r in received:
        if r.properties.type != "AccountTransfer":
            continue
        d = r.document
        links = chains.setdefault(d["creditor_id"], {})
        require_equal("an announcement", links.setdefault(d["transfer_number"], r.body), r.body)
        require_equal("a link", d["previous_transfer_number"], d["transfer_number"] - 1)
        transfers.add((d["creditor_id"], d["transfer_note"], d["acquired_amount"]))
    for creditor_id, links in chains.items():
        count = sum(transfer[0] == creditor_id for transfer in transfers)
        first = min(links)
        require_equal("transfer numbers", sorted(links), [*range(first, first + count)])
    return transfers


def audit_sent(sent: list[Received]) -> dict[str, tuple[int, int, int]]:
    """Check that each payment to another realm leaves with one change id.

    Return recipients, senders and amounts by their notes, which must be unique.
    """
    bodies: dict[str, bytes] = {}
    payments = {}
    for r in sent:
        d = r.document
        note = d["transfer_note"]
        require_equal("a repeated change", bodies.setdefault(note, r.body), r.body)
        payments[note] = d["creditor_id"], d["other_creditor_id"], d["principal_delta"]
    require_equal("change ids", len({d.document["change_id"] for d in sent}), len(payments))
    return payments
