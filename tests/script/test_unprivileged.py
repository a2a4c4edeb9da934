"""PostgreSQL's own user passes through closed folders, and nobody else does."""

import os
import stat
from pathlib import Path

import pytest

from embedded import unprivileged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Only root runs servers as another user.")


def can_look(path: Path, uid: int) -> bool:
    """Whether a process of that user finds the path."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(65_534, 65_534, 65_534)
        os.setresuid(uid, uid, uid)
        try:
            path.stat()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("mode", [0o700, 0o740, 0o750])
def test_only_the_user_is_let_through(tmp_path: Path, mode: int) -> None:
    user = unprivileged.ensure_user(lambda words: None)
    closed = tmp_path / "closed"
    file = closed / "data" / "file"
    file.parent.mkdir(parents=True)
    file.touch()
    closed.chmod(mode)
    group_before = stat.S_IMODE(closed.stat().st_mode) >> 3 & 0o4
    said: list[str] = []

    unprivileged.open_path(file, user, said.append)
    unprivileged.open_path(file, user, said.append)

    assert can_look(file, user.pw_uid)
    assert not can_look(file, 65_534)
    assert stat.S_IMODE(closed.stat().st_mode) & 0o7 == 0
    assert stat.S_IMODE(closed.stat().st_mode) >> 3 & 0o4 == group_before
    assert sum(f"{closed}" in words for words in said) == 1
