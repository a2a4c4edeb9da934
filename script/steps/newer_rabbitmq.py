"""RabbitMQ as a newer Debian has it, on any Debian: unpacked into var/, installed nowhere.

The packages come from where this machine gets its own, by its own apt, with its mirrors, keys and
proxies; only the release is another one. EmbeddedRabbitMQ lets the node see the result in place of
/usr. No package's scripts run, so neither root nor a chroot is needed.
"""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from embedded.rabbitmq import USR
from steps.environment import Refusal
from steps.progress import Progress, Step

_PACKAGES = ["rabbitmq-server", "?essential"]
_APT = Path("/etc/apt")
_ADVICE = (
    "A folder from elsewhere, with the programs of a newer Debian as they stand in /usr, serves as"
    f" well: name it in {USR}."
)


def ensure(progress: Progress, folder: Path, release: str) -> dict[str, str]:
    """Makes it in the folder, unless that has been done; returns the environment that chooses it.

    The release is what Debian's mirrors call it. Raises Refusal where there is no Debian, or its
    mirror does not have the packages.
    """
    if os.environ.get(USR):
        return _choose(Path(os.environ[USR]))
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "usr"
    title = f"Making RabbitMQ of Debian {release}"
    with (folder / "lock").open("w") as lock, progress.step(title) as step:
        step.say("waiting for another script that makes it")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _make(done, release, step)
        step.done(f"RabbitMQ of Debian {release} is in {folder}")
    return _choose(done)


def _choose(usr: Path) -> dict[str, str]:
    # Tests of a broker that somebody has named would not be tests of this one.
    return {USR: str(usr), "PROTOCOL_BROKER_URL": ""}


def _make(done: Path, release: str, step: Step) -> None:
    """What is not finished never stands under the final name."""
    work = done.with_name("unfinished")
    shutil.rmtree(work, ignore_errors=True)
    apt = _prepare_apt(work, release)
    step.say("reading what packages there are")
    _run([*apt, "update"])
    step.say("downloading")
    _run([*apt, "install", "--download-only", "--no-install-recommends", *_PACKAGES])
    packages = sorted((work / "cache" / "archives").glob("*.deb"))
    for number, package in enumerate(packages, 1):
        step.say(f"unpacking {number} of {len(packages)}: {package.name}")
        _run(["dpkg-deb", "--extract", str(package), str(work / "root")])
    (work / "root" / "usr").rename(done)
    shutil.rmtree(work)


def _prepare_apt(work: Path, release: str) -> list[str]:
    """The command of an apt that knows of no installed package, and of no other release."""
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    codename = _codename()
    if missing or not codename:
        raise Refusal(f"A newer RabbitMQ is made with the packages of a Debian machine. {_ADVICE}")
    for folder in ("sources", "state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "state" / "status").touch()
    found = {
        f"{number}{file.suffix}": sources_of(
            file.read_text(), {codename, "stable", "oldstable"}, release
        )
        for number, file in enumerate(
            [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]
        )
        if file.suffix in (".list", ".sources") and file.exists()
    }
    if not any(found.values()):
        raise Refusal(f"No file in {_APT} names a mirror of Debian {codename}. {_ADVICE}")
    for name, sources in found.items():
        (work / "sources" / name).write_text(sources)
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": work / "sources",
        "Dir::State": work / "state",
        "Dir::State::status": work / "state" / "status",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["apt-get", "--quiet=2", "--yes", *words]


def sources_of(text: str, names: set[str], release: str) -> str:
    """The lines and stanzas about a release that goes by one of the names, for another release.

    What else they say (addresses, keys, options) stays as it is. Empty where there is none.
    """
    lines = [
        f"{match[1]} {release} {match[3]}"
        for match in re.finditer(r"^(deb (?:.*\] )?\S+) (\S+) (.*\bmain\b.*)$", text, re.MULTILINE)
        if match[2] in names
    ]
    stanzas = [
        re.sub(r"^Suites:.*$", f"Suites: {release}", stanza, flags=re.MULTILINE)
        for stanza in re.split(r"\n\s*\n", text)
        if "deb" in _field(stanza, "Types")
        and "main" in _field(stanza, "Components")
        and names & _field(stanza, "Suites")
    ]
    return "\n".join(lines) + "\n\n".join(stanzas) + "\n" if lines or stanzas else ""


def _field(stanza: str, name: str) -> set[str]:
    match = re.search(rf"^{name}:(.*)$", stanza, re.MULTILINE)
    return set(match[1].split()) if match else set()


def _codename() -> str:
    """Of this machine's Debian; empty if it is none."""
    try:
        text = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        return ""
    words = dict(line.replace('"', "").split("=", 1) for line in text.splitlines() if "=" in line)
    return words.get("VERSION_CODENAME", "") if words.get("ID") == "debian" else ""


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise Refusal(f"{done.stdout}\nThis failed, code {done.returncode}: {' '.join(command)}")
