"""A newer RabbitMQ is made from the machine's own mirror, once, and leaves no trace elsewhere."""

import io
from pathlib import Path

import pytest

from embedded import EmbeddedRabbitMQ, ServerFailed, processes
from embedded.rabbitmq import USR
from steps.newer_rabbitmq import ensure, sources_of
from steps.progress import Progress

STANZAS = """\
# From somewhere.
Types: deb deb-src
URIs: http://mirror/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /a/key

Types: deb
URIs: http://mirror/security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://elsewhere
Suites: bookworm
Components: stable
"""
TRIXIE_STANZA = """\
# From somewhere.
Types: deb deb-src
URIs: http://mirror/debian
Suites: trixie
Components: main
Signed-By: /a/key
"""
LINES = """\
# deb http://mirror/old bookworm main
deb [signed-by=/a/key] http://mirror/debian bookworm main contrib
deb http://mirror/debian stable main
deb http://mirror/security bookworm-security main
deb http://elsewhere bookworm stable
deb-src http://mirror/debian bookworm main
"""
TRIXIE_LINES = """\
deb [signed-by=/a/key] http://mirror/debian trixie main contrib
deb http://mirror/debian trixie main
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Types: deb\nURIs: http://mirror/ubuntu\nSuites: noble\nComponents: main\n", ""),
        (STANZAS, TRIXIE_STANZA),
        (LINES, TRIXIE_LINES),
    ],
)
def test_the_mirrors_are_those_of_the_machine(text: str, expected: str) -> None:
    assert sources_of(text, {"bookworm", "stable"}, "trixie") == expected


def test_a_folder_without_a_server_is_named(tmp_path: Path) -> None:
    server = EmbeddedRabbitMQ(tmp_path / "data", usr=str(tmp_path))
    with pytest.raises(ServerFailed, match=f"not installed in {tmp_path}/lib.*unset {USR}"):
        server.start()


@pytest.mark.long(group="rabbitmq-4")
def test_a_making_that_was_interrupted_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(USR)
    half = tmp_path / "unfinished" / "root" / "usr" / "lib"
    half.mkdir(parents=True)
    said = io.StringIO()
    environment = ensure(Progress(said), tmp_path, "trixie")
    assert environment == {USR: str(tmp_path / "usr"), "PROTOCOL_BROKER_URL": ""}
    assert (tmp_path / "usr" / "lib" / "rabbitmq" / "bin" / "rabbitmq-server").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "usr"}
    made_at = (tmp_path / "usr").stat().st_mtime_ns
    assert ensure(Progress(said), tmp_path, "trixie") == environment
    assert (tmp_path / "usr").stat().st_mtime_ns == made_at


@pytest.mark.long(group="rabbitmq-4")
def test_it_is_version_4_and_nothing_stays_mounted(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    server = EmbeddedRabbitMQ(tmp_path / "rabbitmq")
    server.start()
    try:
        assert server.control("version").strip().startswith("4.0.")
        assert Path(f"/proc/{server.pid}/comm").read_text().strip() == "beam.smp"
        assert Path("/proc/self/mountinfo").read_text() == mounts
    finally:
        server.kill()
    assert processes.left_over(server.folder) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
