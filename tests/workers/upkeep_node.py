"""A shard on which something of every kind is due, the workers that do it, and what must follow."""

import signal
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import psycopg

from swpt_accounts.ledger.policy import Policy
from swpt_accounts.settings import load
from swpt_accounts.wiring import policy_of, utc_now
from swpt_accounts.workers.intake import MessageIntake
from swpt_accounts.workers.scan_accounts import AllAccounts, WaitingAccounts
from swpt_accounts.workers.scan_transfers import AllTransfers
from swpt_accounts.workers.walk import Walk
from tests import factories
from tests.simulation.discrepancy import require_equal
from tests.simulation.reading import insert_account
from tests.workers.deliveries import deliveries
from tests.workers.processes import Workers, environment
from tests.workers.running import (
    NobodyAnswers,
    make_chores_consumption,
    make_flusher,
    running,
)
from tests.workers.scanning import make_scanner
from tests.workers.traffic import REALM, ROUTING_KEY, audit_rows
from tests.workers.waiting import SECONDS, eventually
from tests.workers.wire import Wire

OWN_CURRENCY = 1
"""Its root account is in the realm, so that interest is paid in one transaction."""

OTHER_CURRENCY = factories.DEBTOR_ID
"""Its root account is in another realm, so that interest is asked for by a message."""

_NUMBERS = range(0x00000301 << 32, (0x00000301 << 32) + 1000)


def _accounts(first: int, count: int) -> list[tuple[int, int]]:
    """Keys of accounts in the realm, half of them in each currency."""
    found = []
    for debtor_id in (OWN_CURRENCY, OTHER_CURRENCY):
        ours = [n for n in _NUMBERS if REALM.contains(debtor_id, n)]
        found += [(debtor_id, n) for n in ours[first : first + count // 2]]
    return found


SAVERS = _accounts(0, 12)
LEAVING = _accounts(10, 6)
FORGOTTEN = _accounts(20, 6)
SPENDERS = _accounts(30, 6)

PRINCIPAL = 1000
INTEREST = 50
REMAINDER = 2
ROUNDS_MAX = 3
"""What was due is done in the first round, and announced in the second one."""

MALFORMED = [b"{}", b'{"type": "CapitalizeInterest"']

assert REALM.contains(OWN_CURRENCY, 0)
assert not REALM.contains(OTHER_CURRENCY, 0)


@dataclass
class UpkeepNode:
    """A shard's database, its queue of chores, and what starts workers for them."""

    postgres_url: str
    broker_url: str
    chores_queue: str
    session: psycopg.Connection
    wire: Wire
    workers: Workers

    @cached_property
    def env(self) -> dict[str, str]:
        return environment(
            postgres_url=self.postgres_url,
            chores_broker_url=self.broker_url,
            chores_broker_queue=self.chores_queue,
            chores_broker_prefetch_count=10,
            protocol_broker_queue_routing_key=ROUTING_KEY,
            fetch_api_url="http://127.0.0.1:1",
            app_accounts_scan_hours=0,
            app_prepared_transfers_scan_days=0,
        )

    @cached_property
    def policy(self) -> Policy:
        return policy_of(load(self.env))

    def run_until_killed(self, command: str, kill_point: str, time: int) -> None:
        """Run a worker until it dies at the point, and the broker knows."""
        pid = self.workers.start(command, kill_point, str(time), env=self.env)
        assert self.workers.wait(pid) == -signal.SIGKILL, self.workers.log.read_text()
        self._await_no_consumers()

    def _await_no_consumers(self) -> None:
        eventually("no consumers", lambda: self.wire.consumers_count(self.chores_queue) == 0)

    def scan(self) -> None:
        """Look at all rows once."""
        accounts = (
            WaitingAccounts(REALM, self.policy.account_update_delay),
            Walk(
                "scan_accounts",
                AllAccounts(REALM, self.policy, NobodyAnswers().gather),
                timedelta(0),
            ),
        )
        transfers = Walk("scan_prepared_transfers", AllTransfers(REALM, self.policy), timedelta(0))
        with running(
            make_scanner(
                self.postgres_url, self.broker_url, self.chores_queue, *accounts, quit_early=True
            ),
            make_scanner(
                self.postgres_url,
                self.broker_url,
                self.chores_queue,
                transfers,
                name="scan_prepared_transfers",
                number=2,
                quit_early=True,
            ),
        ) as ends:
            for end in ends:
                end.result(SECONDS)

    @property
    def chores_count(self) -> int:
        return self.wire.ready_count(self.chores_queue)

    def do_chores(self) -> None:
        """Run a consumer until there is nothing left in the queue."""
        while self.chores_count:
            with running(
                make_chores_consumption(
                    self.postgres_url,
                    self.broker_url,
                    self.chores_queue,
                    routing_key=ROUTING_KEY,
                    policy=self.policy,
                )
            ):
                eventually("all chores are taken", lambda: not self.chores_count)
            self._await_no_consumers()

    def finish(self) -> None:
        """Do what is due until nothing is due, and announce it."""
        for _ in range(ROUNDS_MAX):
            self.do_chores()
            self.scan()
        require_equal("chores, when all is done", self.chores_count, 0)
        with running(make_flusher(self.postgres_url, self.broker_url, quit_early=True)) as [end]:
            end.result(SECONDS)


def make_due(session: psycopg.Connection, intake: MessageIntake) -> None:
    """Open accounts on which something is due: interest, an end, a reminder, an announcement."""
    now = utc_now()
    balances = {
        **dict.fromkeys(SAVERS, PRINCIPAL),
        **dict.fromkeys(LEAVING, REMAINDER),
        **dict.fromkeys(SPENDERS, PRINCIPAL),
    }
    paid = [
        factories.pending_balance_change(
            debtor_id=debtor_id, creditor_id=creditor_id, change_id=n, principal_delta=amount
        )
        for n, ((debtor_id, creditor_id), amount) in enumerate(balances.items())
    ]
    prepared = [
        factories.prepare_transfer(
            debtor_id=debtor_id,
            creditor_id=creditor_id,
            coordinator_type="agent",
            coordinator_id=creditor_id,
            recipient=str(SAVERS[0][1]),
            max_locked_amount=100,
            ts=now,
        )
        for debtor_id, creditor_id in SPENDERS
    ]
    root = factories.configure_root_account(debtor_id=OWN_CURRENCY, ts=now)
    opened = [
        factories.configure_account(
            debtor_id=debtor_id,
            creditor_id=creditor_id,
            config_flags=int((debtor_id, creditor_id) in LEAVING),
            ts=now,
        )
        for debtor_id, creditor_id in balances
    ]
    for commands in (paid, [root, *opened], prepared):
        assert len(intake.handle(deliveries(commands)).accepted) == len(commands)
    session.execute("TRUNCATE outbox")
    session.execute(
        "UPDATE account SET interest = %s + 0.5 WHERE (debtor_id, creditor_id) IN"
        " (SELECT * FROM unnest(%s::bigint[], %s::bigint[]))",
        [INTEREST, *map(list, zip(*SAVERS, strict=True))],
    )
    session.execute("UPDATE prepared_transfer SET prepared_at = prepared_at - interval '30 days'")
    long_ago = now - timedelta(days=400)
    for debtor_id, creditor_id in FORGOTTEN:
        account = factories.account(
            debtor_id=debtor_id,
            creditor_id=creditor_id,
            creation_date=long_ago.date(),
            last_change_ts=long_ago,
            is_deleted=True,
        )
        insert_account(session, account)
    session.execute("ANALYZE account, prepared_transfer")


def audit(node: UpkeepNode, *, dead_letters: list[bytes]) -> None:
    """Check the tables, and everything that was announced since things were due."""
    received = node.wire.catch_up()
    sent = [r for r in received if r.properties.type == "PendingBalanceChange"]
    rows = audit_rows(node.session, sent)
    principals = {key: account.principal for key, account in rows.accounts.items()}
    own_savers = [key for key in SAVERS if key[0] == OWN_CURRENCY]
    own_leaving = [key for key in LEAVING if key[0] == OWN_CURRENCY]
    root_principal = len(own_leaving) * REMAINDER - len(own_savers) * INTEREST
    require_equal(
        "principals",
        principals,
        {
            **dict.fromkeys(SAVERS, PRINCIPAL + INTEREST),
            **dict.fromkeys(LEAVING, 0),
            **dict.fromkeys(SPENDERS, PRINCIPAL),
            (OWN_CURRENCY, 0): root_principal,
        },
    )
    moved = Counter(
        (e.debtor_id, e.creditor_id)
        for e in rows.journal
        if e.coordinator_type in ("interest", "delete") and e.creditor_id != 0
    )
    require_equal("movements by the node", moved, Counter(SAVERS + LEAVING))
    deleted = {key for key, account in rows.accounts.items() if account.is_deleted}
    require_equal("deleted", deleted, set(LEAVING))
    _audit_sent(node)
    purged = {
        (d["debtor_id"], d["creditor_id"], d["creation_date"])
        for d in node.wire.documents("AccountPurge")
    }
    require_equal("purged", {key[:2] for key in purged}, set(FORGOTTEN))
    require_equal("purges that say the same", len(purged), len(FORGOTTEN))
    reminded = {(d["debtor_id"], d["creditor_id"]) for d in node.wire.documents("PreparedTransfer")}
    require_equal("reminded", reminded, set(SPENDERS))
    assert all(transfer.last_reminder_ts for transfer in rows.transfers.values())
    updated = {(d["debtor_id"], d["creditor_id"]) for d in node.wire.documents("AccountUpdate")}
    assert updated >= set(SAVERS)
    assert not any(a.update_pending_since for a in rows.accounts.values() if not a.is_deleted)
    found = Counter(letter.body for letter in node.wire.dead_letters(node.chores_queue))
    require_equal("dead letters", found.keys(), set(dead_letters))


def _audit_sent(node: UpkeepNode) -> None:
    """Each account of the other currency has sent one change, which may have been sent twice."""
    sent = {
        (d["debtor_id"], d["other_creditor_id"], d["change_id"]): d["principal_delta"]
        for d in node.wire.documents("PendingBalanceChange")
    }
    deltas = [(debtor_id, other_id, delta) for (debtor_id, other_id, _), delta in sent.items()]
    expected = [(*key, -INTEREST) for key in SAVERS if key[0] == OTHER_CURRENCY]
    expected += [(*key, REMAINDER) for key in LEAVING if key[0] == OTHER_CURRENCY]
    require_equal("sent to the other realm", sorted(deltas), sorted(expected))
