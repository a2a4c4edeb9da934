"""The ground that every script stands on: .venv with pinned dependencies, the system's RabbitMQ.

Standard library only, and readable for an older Python, so that one gets as far as handing over to
a newer one that is installed beside it, or to the sentence that asks for it.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steps.progress import Progress, Step

PYTHON_MIN = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VAR = ROOT / "var"
PYTHON = VENV / "bin" / "python"
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_LOCK = ROOT / "requirements-dev.txt"
_STAMP = VENV / "installed-from"


class Refusal(SystemExit):
    """Ends the script with a sentence that says what is missing, and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(f"\n{text}\n")


def ensure(enter: bool = True) -> None:
    """Installs what is missing; with `enter`, goes on inside .venv, with everything importable."""
    _hand_over_to_new_enough_python()
    from steps.progress import Progress

    progress = Progress()
    try:
        _install_system_packages(progress)
        with _one_at_a_time(progress):
            _install_venv(progress)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if enter and Path(sys.prefix).resolve() != VENV.resolve():
        sys.stdout.flush()
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def _hand_over_to_new_enough_python() -> None:
    if sys.version_info >= PYTHON_MIN:
        return
    for minor in (13, 12, 11, 14):
        newer = shutil.which(f"python3.{minor}")
        if newer is not None:
            os.execv(newer, [newer, *sys.argv])
    found = ".".join(map(str, sys.version_info[:3]))
    raise Refusal(f"Python 3.11 or later is needed; this is {found}, and PATH has no newer one.")


def _install_system_packages(progress: "Progress") -> None:
    """python3-venv, where .venv cannot be made without it, and RabbitMQ, unless one was named."""
    missing = []
    if not PYTHON.exists() and importlib.util.find_spec("ensurepip") is None:
        missing.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    if not os.environ.get("PROTOCOL_BROKER_URL") and not RABBITMQ.exists():
        missing.append("rabbitmq-server")
    if not missing:
        return
    names = " ".join(missing)
    install = f"apt-get update && apt-get install -y --no-install-recommends {names}"
    if shutil.which("apt-get") is None:
        raise Refusal(f"Not installed: {names}. Install that with this system's package manager.")
    prefix = _prefix_for_root()
    if prefix is None:
        raise Refusal(f"Not installed: {names}. Do this first:\n  sudo sh -c '{install}'")
    progress.line(f"Not installed yet: {names}. Running as root: {install}")
    if "rabbitmq-server" in missing:
        progress.line("Debian also starts a node of its own from that. It is not used here.")
    with progress.step(f"Installing {names}") as step:
        # Another installation may be under way, as on a machine that has just been started.
        patient = install.replace("apt-get", "apt-get -q -o DPkg::Lock::Timeout=120")
        quiet = "export DEBIAN_FRONTEND=noninteractive"
        _run_quietly([*prefix, "sh", "-c", f"{quiet}; {patient}"], step)


def _prefix_for_root() -> "list[str] | None":
    """The words to put before a command so that root runs it; None where that is not allowed."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    if sys.stdin.isatty():
        print("sudo may ask for your password.", flush=True)
        asked = subprocess.run(["sudo", "-v"], check=False)
    else:
        asked = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
    return ["sudo"] if asked.returncode == 0 else None


@contextmanager
def _one_at_a_time(progress: "Progress") -> "Iterator[None]":
    try:
        VAR.mkdir(exist_ok=True)
        file = (VAR / "bootstrap.lock").open("w")
    except PermissionError:
        owner = (VAR if VAR.exists() else ROOT).owner()
        raise Refusal(
            f"{VAR} cannot be written to. It belongs to {owner}: "
            f"run this as {owner}, or in a checkout of your own."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("Waiting for another script that is installing the dependencies"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install_venv(progress: "Progress") -> None:
    stamp = [str(ROOT), _digest()]
    installed = _STAMP.read_text().splitlines() if _STAMP.exists() and PYTHON.exists() else []
    if installed == stamp:
        return
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pip += ["--progress-bar=off", "--no-compile"]
    if installed[:1] != stamp[:1]:
        # Begun but not finished, or moved here from elsewhere, or its Python is gone.
        with progress.step("Making .venv") as step:
            _run_quietly([sys.executable, "-m", "venv", "--clear", str(VENV)], step)
    with progress.step("Installing the pinned dependencies into .venv") as step:
        _run_quietly([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(_LOCK)], step)
        step.say("swpt_accounts")
        project = ["--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)]
        _run_quietly([*pip, *project], step)
    _STAMP.write_text("\n".join(stamp))


def _digest() -> str:
    sources = [_LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def _run_quietly(command: "list[str]", step: "Step") -> None:
    """Runs a command, showing only what it is at; its last words are printed if it fails."""
    tail: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.split()
            if words:
                tail.append(line.rstrip())
            if words and words[0] != "WARNING:":
                step.say(" ".join(Path(word).name for word in words[:2]))
    if process.returncode != 0:
        said = "\n".join(tail)
        raise Refusal(f"{said}\n\nThis failed, code {process.returncode}: {' '.join(command)}")
