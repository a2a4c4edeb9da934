"""The checks that need no server."""

import subprocess
from pathlib import Path

from steps.environment import ROOT, VENV
from steps.progress import Progress

_BIN = VENV / "bin"
_CHECKS: dict[str, list[str | Path]] = {
    "ruff check": [_BIN / "ruff", "check", "--quiet"],
    "ruff format --check": [_BIN / "ruff", "format", "--check", "--diff", "--quiet"],
    "mypy --strict": [_BIN / "mypy", "--no-error-summary"],
    "lint-imports": [_BIN / "lint-imports", "--no-logo"],
}


def main() -> int:
    return 0 if check(Progress()) else 1


def check(progress: Progress) -> bool:
    """Runs all of them, even after one has failed, and shows what the failed ones say."""
    with progress.step("Checking without servers") as step:
        started = {name: _start(command) for name, command in _CHECKS.items()}
        failures = {}
        for name, process in started.items():
            step.say(name)
            said, _ = process.communicate()
            if process.returncode != 0:
                failures[name] = said
        verdict = f"{', '.join(failures)} failed" if failures else f"{', '.join(_CHECKS)} passed"
        step.done(f"Checks without servers: {verdict}")
    for name, said in failures.items():
        progress.line(f"\n✗ {name}\n{said.rstrip()}\n")
    return not failures


def _start(command: list[str | Path]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
