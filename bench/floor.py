"""The part `floor`: what the leanest program makes of the same work, and our ratio to it."""

import random
from dataclasses import asdict
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from psycopg import sql

from bench import workload
from bench.floor_rows import FIRST_TRANSFER_ID
from bench.footprint import DiskUse
from bench.programs import Program
from bench.report import Figure
from bench.session import Session
from bench.throughput import ALL, NOT_HERE, cpu_figures
from bench.transfers import UNIFORM, Say, TransferRun
from bench.workload import Currency, Pair, Prepared
from swpt_accounts.store import schema
from swpt_accounts.store.connection import connect

_PART = "floor"
_SEED = 20_070_321
_SCHEMA = "bench_floor"
_MAKE_SCHEMA = sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}").format(
    sql.Identifier(_SCHEMA)
)
_COPY_ACCOUNTS = sql.SQL(
    "INSERT INTO {0}.account SELECT * FROM account WHERE debtor_id = %s"
).format(sql.Identifier(_SCHEMA))
_ANALYZE = sql.SQL("ANALYZE {0}.account").format(sql.Identifier(_SCHEMA))


def measure(session: Session) -> None:
    """The node and the floor take turns, so that what disturbs the machine disturbs both."""
    floor = _Floor(session)
    ours: list[TransferRun] = []
    theirs: list[TransferRun] = []
    rounds_count = session.options.rounds_count
    for number in range(1, rounds_count + 1):
        title = f"round {number} of {rounds_count}"
        ours.append(session.transfer(UNIFORM, f"Draining transfers, {title}: {UNIFORM.title}"))
        with session.progress.step(f"Draining transfers, {title}: the floor") as step:
            run = floor.run(session.options.transfers_count, step.say)
            step.done(f"Draining transfers, {title}: the floor: {run.rate:,.0f} transfers/s")
        theirs.append(run)
    session.add(
        *cpu_figures(_PART, "floor_cpu_per_transfer", "CPU per transfer of the floor", theirs),
        Figure("floor_rate", _PART, "transfers of the floor", "/s", tuple(r.rate for r in theirs)),
        _ratio(ours, theirs),
    )
    session.report.details[_PART] = {
        "node": [asdict(run) for run in ours],
        "floor": [asdict(run) for run in theirs],
    }


class _Floor:
    """The lean program, and tables for it that are made as the node's are, but never the same."""

    def __init__(self, session: Session) -> None:
        self._node = session.node
        self._transfers = session.transfers
        self._chance = random.Random(_SEED)
        self._program: Program = ("python", "-m", "bench.floor_program", _SCHEMA)
        with (
            session.progress.step("Making tables for the floor"),
            connect(self._node.postgres_url, application_name="bench", autocommit=True) as database,
        ):
            database.execute(_MAKE_SCHEMA)
            schema.upgrade(_in_schema(self._node.postgres_url))

    def run(self, count: int, say: Say) -> TransferRun:
        """Moves so many transfers between new accounts, and measures it as the node is measured.

        The journal's growth is that of the node's journal, so there is none.
        """
        currency = self._transfers.new_currency(say)
        with connect(
            self._node.postgres_url, application_name="bench", autocommit=True
        ) as database:
            database.execute(_COPY_ACCOUNTS, [currency.debtor_id])
            database.execute(_ANALYZE)
        pairs = [UNIFORM.choice(currency, self._chance) for _ in range(count)]
        requests = workload.prepare_all(currency, pairs)
        commits = [
            workload.finalize_transfer(_prepared(currency, pair, number))
            for number, pair in enumerate(pairs, start=1)
        ]
        before = DiskUse.now(self._node)
        prepare, _ = self._transfers.drain(
            requests, {"PreparedTransfer": count}, self._program, say
        )
        finalize, _ = self._transfers.drain(
            commits,
            {"FinalizedTransfer": count, "AccountTransfer": 2 * count},
            self._program,
            say,
        )
        disk = DiskUse.now(self._node).since(before)
        return TransferRun(_PART, count, prepare, finalize, disk)


def _prepared(currency: Currency, pair: Pair, number: int) -> Prepared:
    """As the floor numbers its transfers; nobody has to read its answers."""
    sender, _ = pair
    return Prepared(
        debtor_id=currency.debtor_id,
        creditor_id=sender,
        transfer_id=FIRST_TRANSFER_ID + number,
        coordinator_type="direct",
        coordinator_id=sender,
        coordinator_request_id=number,
    )


def _in_schema(postgres_url: str) -> str:
    """The URL with the schema as the first one in which tables are made and looked for."""
    parts = urlsplit(postgres_url)
    options = dict(parse_qsl(parts.query))
    options["options"] = f"{options.get('options', '')} -c search_path={_SCHEMA}".strip()
    return parts._replace(query=urlencode(options, quote_via=quote)).geturl()


def _ratio(ours: list[TransferRun], theirs: list[TransferRun]) -> Figure:
    """Each round is compared with itself."""
    values = []
    for our_run, their_run in zip(ours, theirs, strict=True):
        our_cpu, their_cpu = our_run.cpu_milliseconds(*ALL), their_run.cpu_milliseconds(*ALL)
        if our_cpu is not None and their_cpu:
            values.append(our_cpu / their_cpu)
    title = "CPU per whole transfer, by the floor"
    return Figure("floor_ratio", _PART, title, "×", tuple(values), "" if values else NOT_HERE)
