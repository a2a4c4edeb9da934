"""The part `fetch_api`: requests per second that one process of the web server answers."""

import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.error import URLError

import msgspec

from bench import workload
from bench.http_load import Answers, Order
from bench.load import LOAD, Load
from bench.load_program import COUNTED, COUNTING
from bench.machine import POSTGRESQL, CpuMeter
from bench.node import Node
from bench.programs import Process
from bench.report import Figure
from bench.session import Options, Session
from bench.transfers import Say
from bench.workload import ROOT_CREDITOR_ID
from swpt_accounts.ledger.values import account_id

_PART = "fetch_api"
_SEED = 20_070_323
_HOST = "127.0.0.1"
_READY_PERIOD_SECONDS = 0.05
_READY_TIMEOUT_SECONDS = 5.0
_CONNECTIONS_COUNT = 16
_WARM_UP_SECONDS, _COUNTED_SECONDS = 1.0, 5.0
_QUICK_WARM_UP_SECONDS, _QUICK_COUNTED_SECONDS = 0.2, 0.5
_SERVER = "webserver"
_CONSUMER = ("consume_messages", "-p", "1")

_CONFIG_DATA = msgspec.json.encode(
    {
        "type": "RootConfigData",
        "rate": 0.0,
        "info": {
            "type": "DebtorInfo",
            "iri": "https://debtors.example.com/debtors/6840/documents/1/public",
            "contentType": "application/vnd.swaptacular.coin-info+json",
            "sha256": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        },
    }
).decode()


@dataclass(frozen=True)
class Question:
    """What is asked all the time, and of whom."""

    key: str
    title: str
    word: str
    status: int
    asks_root_accounts: bool
    """Debtors' root accounts have a configuration; they are reachable without looking."""
    keeps_alive: bool = True


_QUESTIONS = (
    Question("config", "/config", "config", 200, asks_root_accounts=True),
    Question("reachable", "/reachable", "reachable", 204, asks_root_accounts=False),
    Question(
        "config_close",
        "/config, a connection for each",
        "config",
        200,
        asks_root_accounts=True,
        keeps_alive=False,
    ),
)


@dataclass(frozen=True)
class FetchRun:
    """The web server's work for a while. It has one process unless its settings say otherwise."""

    question: str
    answers: Answers
    cpu_seconds: dict[str, float]

    @property
    def rate(self) -> float:
        return self.answers.count / self.answers.seconds

    @property
    def rate_per_cpu(self) -> float:
        """By seconds of CPU that the web server has used."""
        return self.answers.count / max(self.cpu_seconds[_SERVER], 0.001)

    def share_of_core(self, group: str) -> float:
        return self.cpu_seconds[group] / self.answers.seconds


def measure(session: Session) -> None:
    """Questions take turns, so that what disturbs the machine for a while disturbs all of them."""
    node, options = session.node, session.options
    with session.progress.step("Opening accounts to ask about") as step:
        accounts = _new_accounts(session, step.say)
    runs: dict[str, list[FetchRun]] = {question.key: [] for question in _QUESTIONS}
    with node.running(_SERVER) as server:
        node.wait_until(lambda: _is_ready(node), "The web server", _READY_PERIOD_SECONDS)
        for number in range(1, options.rounds_count + 1):
            for question in _QUESTIONS:
                title = f"Asking for {question.title}, round {number} of {options.rounds_count}"
                with session.progress.step(title) as step:
                    run = _ask(node, server, question, accounts, options)
                    step.done(f"{title}: {run.rate:,.0f} requests/s")
                runs[question.key].append(run)
    for question in _QUESTIONS:
        session.add(*_figures(question, runs[question.key]))
    session.report.details[_PART] = {
        key: [_as_json(run) for run in of_question] for key, of_question in runs.items()
    }


def _new_accounts(session: Session, say: Say) -> list[tuple[int, int]]:
    """Many debtors with a configuration each, and one creditor. Returned: who each creditor is."""
    currencies = [workload.new_currency(1) for _ in range(session.options.accounts_count)]
    roots = [
        workload.configure_account(currency, ROOT_CREDITOR_ID, _CONFIG_DATA)
        for currency in currencies
    ]
    accounts = [(currency.debtor_id, currency.creditor_ids.start) for currency in currencies]
    creditors = [
        workload.configure_account(currency, currency.creditor_ids.start) for currency in currencies
    ]
    for messages in (roots, creditors):
        session.transfers.drain(messages, {"AccountUpdate": len(messages)}, _CONSUMER, say)
    return accounts


def _is_ready(node: Node) -> bool:
    url = f"http://{_HOST}:{node.port}/accounts/healthz"
    try:
        with urllib.request.urlopen(url, timeout=_READY_TIMEOUT_SECONDS):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False


def _ask(
    node: Node,
    server: Process,
    question: Question,
    accounts: Sequence[tuple[int, int]],
    options: Options,
) -> FetchRun:
    order = Order(
        host=_HOST,
        port=node.port,
        paths=[_path(question, debtor_id, creditor_id) for debtor_id, creditor_id in accounts],
        status=question.status,
        seed=_SEED,
        connections_count=_CONNECTIONS_COUNT,
        keeps_alive=question.keeps_alive,
        warm_up_seconds=_QUICK_WARM_UP_SECONDS if options.is_quick else _WARM_UP_SECONDS,
        counted_seconds=_QUICK_COUNTED_SECONDS if options.is_quick else _COUNTED_SECONDS,
    )
    database = node.groups.get(POSTGRESQL, [])
    with Load("bench.http_load", order, options.folder / "load") as load:
        load.wait_for(COUNTING)
        meter = CpuMeter({POSTGRESQL: database, **load.group, _SERVER: [server.pid]})
        load.wait_for(COUNTED)
        cpu_seconds = meter.seconds()
        answers = load.result(Answers)
    node.check()
    return FetchRun(question.key, answers, cpu_seconds)


def _path(question: Question, debtor_id: int, creditor_id: int) -> str:
    asked = ROOT_CREDITOR_ID if question.asks_root_accounts else creditor_id
    return f"/accounts/{account_id(debtor_id)}/{account_id(asked)}/{question.word}"


def _figures(question: Question, runs: Sequence[FetchRun]) -> list[Figure]:
    worker = [run.share_of_core(_SERVER) for run in runs]
    client = max(run.share_of_core(LOAD) for run in runs)
    longest_wait = 1000 * max(run.answers.longest_wait_seconds for run in runs)
    remark = (
        f"of a core: the worker {min(worker):.0%} or more, the client {client:.0%} or less;"
        f" longest wait {longest_wait:,.0f} ms"
    )
    return [
        Figure(
            f"{question.key}_requests_per_second",
            _PART,
            f"fetch API, {question.title}",
            "/s",
            tuple(run.rate for run in runs),
            remark,
        ),
        Figure(
            f"{question.key}_requests_per_cpu_second",
            _PART,
            "… by seconds of the worker's CPU",
            "/s",
            tuple(run.rate_per_cpu for run in runs),
        ),
    ]


def _as_json(run: FetchRun) -> dict[str, object]:
    return {"rate": run.rate, "rate_per_cpu": run.rate_per_cpu, **asdict(run)}
