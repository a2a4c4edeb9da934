"""How log lines look: what reads them needs one JSON object on each line."""

import json
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

SET_UP = "import logging; from swpt_accounts import logs; logs.set_up({level!r}, {format!r})\n"


def output_of(code: str, *, level: str = "info", log_format: str = "json") -> str:
    code = SET_UP.format(level=level, format=log_format) + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def only_line(output: str) -> dict[str, Any]:
    [line] = output.splitlines()
    document: dict[str, Any] = json.loads(line)
    return document


def test_a_json_line_has_exactly_these_keys() -> None:
    line = only_line(output_of("logging.getLogger('swpt_accounts.x').warning('%d done', 5)"))
    assert list(line) == ["asctime", "levelname", "name", "message"]
    assert line | {"asctime": ""} == {
        "asctime": "",
        "levelname": "WARNING",
        "name": "swpt_accounts.x",
        "message": "5 done",
    }
    assert datetime.strptime(line["asctime"], "%Y-%m-%dT%H:%M:%S%z")


@pytest.mark.parametrize(
    "code",
    [
        "try: 1 / 0\nexcept Exception: logging.getLogger('swpt_accounts').exception('1 / 0')",
        "1 / 0",
        "import threading\nthread = threading.Thread(target=lambda: 1 / 0); thread.start()",
        "class Bad:\n  def __del__(self): 1 / 0\nBad()",
    ],
    ids=["logged", "uncaught", "uncaught in a thread", "in a destructor"],
)
def test_a_traceback_is_part_of_one_json_line(code: str) -> None:
    line = only_line(output_of(code))
    assert list(line) == ["asctime", "levelname", "name", "message", "exc_info"]
    assert "ZeroDivisionError: division by zero" in line["exc_info"]
    assert line["levelname"] in ("ERROR", "CRITICAL")


def test_a_warning_of_python_is_a_log_line() -> None:
    line = only_line(output_of("import warnings; warnings.warn('old')"))
    assert line["levelname"] == "WARNING"
    assert "UserWarning: old" in line["message"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_text_that_cannot_be_encoded_does_not_lose_the_line(log_format: str) -> None:
    code = "logging.getLogger('swpt_accounts').info('%s', chr(0xd800))"
    assert r"\ud800" in output_of(code, log_format=log_format)


def test_a_text_line_has_time_level_and_name() -> None:
    code = "logging.getLogger('swpt_accounts.x').info('done')"
    time, rest = output_of(code, log_format="text").rstrip().split(" ", 1)
    assert datetime.strptime(time, "%Y-%m-%dT%H:%M:%S%z")
    assert rest == "INFO swpt_accounts.x: done"


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("swpt_accounts.x", "debug", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("swpt_accounts.x", "info", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("swpt_accounts.x", "warning", ["WARNING", "ERROR", "CRITICAL"]),
        ("swpt_accounts.x", "error", ["ERROR", "CRITICAL"]),
        ("gunicorn.error", "info", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("gunicorn.access", "info", ["WARNING", "ERROR", "CRITICAL"]),
        ("gunicorn.access", "debug", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("aiohttp", "info", ["WARNING", "ERROR", "CRITICAL"]),
        ("aiohttp", "error", ["ERROR", "CRITICAL"]),
        ("pika.adapters", "info", ["CRITICAL"]),
        ("pika.adapters", "debug", ["WARNING", "ERROR", "CRITICAL"]),
    ],
)
def test_whose_lines_are_shown_at_which_level(name: str, level: str, shown: list[str]) -> None:
    code = f"for level in range(10, 60, 10): logging.getLogger({name!r}).log(level, 'x')"
    lines = output_of(code, level=level).splitlines()
    assert [json.loads(line)["levelname"] for line in lines] == shown
