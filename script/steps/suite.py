"""All checks and tests, or a group of long tests, on servers that live no longer than the run."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from embedded import FolderInUse, ServerFailed, Urls, processes, servers
from embedded.servers import lock
from steps.check import check
from steps.environment import ROOT, VAR, VENV
from steps.interruption import interruptible
from steps.long import GROUPS
from steps.progress import Progress

_RUNS = VAR / "test"
# Each test that wants a broker gets one of these virtual hosts, emptied; see tests/fix_broker.py.
_VHOSTS = [f"test-{number}" for number in range(1, 17)]
_ONLY_SERVERS = "--servers"
_LONG = "--long"
_WRONG_USAGE = 2
_END_SECONDS = 20.0


def main() -> int:
    progress = Progress()
    arguments = sys.argv[1:]
    try:
        with interruptible():
            if arguments == [_ONLY_SERVERS]:
                return _stay(progress)
            if arguments[:1] == [_LONG]:
                return _run_long(progress, arguments[1:])
            checked = check(progress)
            tested = _test(progress, arguments)
    except ServerFailed as failure:
        progress.line(f"\n{failure}")
        return 1
    return _verdict(progress, passed=checked and tested)


def _run_long(progress: Progress, arguments: Sequence[str]) -> int:
    """Runs the group that is named first; lists all groups when none is."""
    if not arguments:
        for name, group in GROUPS.items():
            progress.line(f"{name}: {group.title} (about {group.minutes} minutes)")
        return 0
    name, *rest = arguments
    if name not in GROUPS:
        progress.line(f"{name!r} is no group of long tests. The groups: {', '.join(GROUPS)}.")
        return _WRONG_USAGE
    group = GROUPS[name]
    environ = {**os.environ, **group.prepare(progress)}
    names_tests = any((ROOT / word.split("::")[0]).exists() for word in rest)
    paths = () if names_tests else group.paths
    tested = _test(progress, ["-m", group.selection(name), *paths, *rest], environ)
    return _verdict(progress, passed=tested)


def _verdict(progress: Progress, *, passed: bool) -> int:
    progress.line("\nAll passed." if passed else "\nFailed; see above.")
    return 0 if passed else 1


def _test(
    progress: Progress, arguments: Sequence[str], environ: Mapping[str, str] = os.environ
) -> bool:
    with (
        _throw_away_servers(progress, environ) as urls,
        TemporaryDirectory(prefix="swpt-test-", ignore_cleanup_errors=True) as temporary,
    ):
        # By default all runs share one folder, and each run closes it to PostgreSQL's user anew.
        folder = f"--basetemp={temporary}/pytest"
        command = [str(VENV / "bin" / "python"), "-m", "pytest", folder, *arguments]
        pytest = subprocess.Popen(command, cwd=ROOT, env={**environ, **_environment(urls)})
        try:
            passed = pytest.wait() == 0
        finally:
            _end(pytest)
        if not passed:
            for log in urls.logs:
                progress.line(f"Until the next run, a server's log is kept: {_keep(log)}")
    return passed


def _stay(progress: Progress) -> int:
    with _throw_away_servers(progress) as urls:
        exports = [f"export {name}='{value}'" for name, value in _environment(urls).items()]
        file = _RUNS / "environment"
        file.write_text("\n".join(exports) + "\n")
        progress.line("\nServers for tests. In other shells, until Ctrl-C ends them here:\n")
        progress.line(f"    . {file.relative_to(ROOT)} && .venv/bin/pytest\n")
        try:
            signal.pause()
        finally:
            file.unlink()
    return 0


def _environment(urls: Urls) -> dict[str, str]:
    """What the fixtures read. With CI set, a missing server fails a test instead of skipping it."""
    named = {"POSTGRES_URL": urls.postgres_url, "PROTOCOL_BROKER_URL": urls.broker_url}
    return {**named, "TEST_BROKER_VHOSTS": " ".join(urls.vhosts), "CI": "true"}


@contextmanager
def _throw_away_servers(
    progress: Progress, environ: Mapping[str, str] = os.environ
) -> Iterator[Urls]:
    """In a folder of their own, so that several runs may go on at the same time."""
    _RUNS.mkdir(exist_ok=True)
    _remove_abandoned_runs()
    folder = _RUNS / f"run-{os.getpid()}"
    try:
        with servers(
            folder,
            progress,
            holder="script/test",
            durable=False,
            vhosts=_VHOSTS,
            environ=environ,
        ) as urls:
            yield urls
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned_runs() -> None:
    """What runs that could not clean up have left. A lock that is free tells which they are."""
    for folder in _RUNS.glob("run-*"):
        try:
            with lock(folder, "script/test"):
                processes.end_left_over(folder, politely=signal.SIGKILL, seconds=_END_SECONDS)
                shutil.rmtree(folder, ignore_errors=True)
        except (FolderInUse, FileNotFoundError):
            continue


def _keep(log: Path) -> Path:
    kept = _RUNS / log.name
    shutil.copyfile(log, kept)
    return kept.relative_to(ROOT)


def _end(pytest: subprocess.Popen[bytes]) -> None:
    """After Ctrl-C pytest has had the same signal; after SIGTERM it has not."""
    if pytest.poll() is None:
        pytest.send_signal(signal.SIGINT)
        try:
            pytest.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.kill()
