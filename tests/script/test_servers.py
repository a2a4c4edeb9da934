"""A script has the servers for itself, and uses those that the environment names instead."""

import io
import os
from pathlib import Path

import pytest

from embedded import FolderInUse, servers
from steps.progress import Progress

NAMED = {"POSTGRES_URL": "postgresql://db/one", "PROTOCOL_BROKER_URL": "amqp://broker/two"}


def test_named_servers_are_used_and_none_is_started(tmp_path: Path) -> None:
    progress = Progress(io.StringIO())
    with servers(tmp_path, progress, holder="a test", environ=NAMED) as urls:
        assert urls.environment == {**NAMED, "CHORES_BROKER_URL": "amqp://broker/two"}
        assert urls.logs == ()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_second_script_is_told_who_uses_the_data(tmp_path: Path) -> None:
    progress = Progress(io.StringIO())
    with (
        servers(tmp_path, progress, holder="a first script", environ=NAMED),
        pytest.raises(FolderInUse, match=f"a first script, process {os.getpid()}"),
        servers(tmp_path, progress, holder="a second script", environ=NAMED),
    ):
        pass
    with servers(tmp_path, progress, holder="a second script", environ=NAMED):
        assert "a second script" in (tmp_path / "lock").read_text()
