"""PostgreSQL refuses to run as root. When root starts it, it runs as a user of its own.

That user must be able to pass through the folders above its data and its programs, which may be
closed to others (/root, a home directory). It alone is let through: an entry in the folder's access
control list that allows passing, not looking around. Only where the file system has no such lists
does the folder become passable for everyone.
"""

import errno
import os
import pwd
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

NAME = "pgserver"  # The name that the wheel with PostgreSQL uses as well.

_ACL = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_PASS = 0o1


def ensure_user(say: Callable[[str], None]) -> pwd.struct_passwd:
    """The user, made if need be: without a home, a password or a shell."""
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        say(f"adding the system user {NAME}, since PostgreSQL does not run as root")
    home_and_shell = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"]
    subprocess.run(
        ["useradd", "--system", *home_and_shell, NAME], check=False, capture_output=True
    )  # Another script may have been faster, so the answer is in the next line.
    return pwd.getpwnam(NAME)


def open_path(path: Path, user: pwd.struct_passwd, say: Callable[[str], None]) -> None:
    """Lets the user pass through every folder above the path."""
    for folder in reversed(path.resolve().parents):
        mode = folder.stat().st_mode
        if mode & stat.S_IXOTH:
            continue
        try:
            changed = _let_pass(folder, mode, user.pw_uid)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            folder.chmod(mode | stat.S_IXOTH)
            changed = True
        if changed:
            say(f"letting {NAME} pass through {folder}")


def open_tree(top: Path) -> None:
    """Makes everything below readable for others, as pip does unless the umask forbids it."""
    for entry in [top, *top.rglob("*")]:
        if entry.is_symlink():
            continue
        mode = stat.S_IMODE(entry.stat().st_mode)
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            entry.chmod(wanted)


def _let_pass(folder: Path, mode: int, uid: int) -> bool:
    """Adds the entry for the user; False if it was there already."""
    entries = _read_acl(folder, mode)
    if entries.get((_USER, uid), 0) & _PASS and entries.get((_MASK, _NO_ID), 0) & _PASS:
        return False
    entries[_USER, uid] = entries.get((_USER, uid), 0) | _PASS
    # The mask limits all entries but the owner's and the others'. Where there was none, the group's
    # own permissions take its place, so that nobody else gains anything.
    mask = entries.get((_MASK, _NO_ID), entries[_GROUP_OBJ, _NO_ID])
    entries[_MASK, _NO_ID] = mask | _PASS
    packed = b"".join(_ENTRY.pack(tag, entries[tag, who], who) for tag, who in sorted(entries))
    os.setxattr(folder, _ACL, _VERSION + packed)
    return True


def _read_acl(folder: Path, mode: int) -> dict[tuple[int, int], int]:
    """By tag and id. A folder without a list has the three entries that its mode stands for."""
    try:
        packed = os.getxattr(folder, _ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return {
            (_USER_OBJ, _NO_ID): mode >> 6 & 0o7,
            (_GROUP_OBJ, _NO_ID): mode >> 3 & 0o7,
            (_OTHER, _NO_ID): mode & 0o7,
        }
    found = _ENTRY.iter_unpack(packed[len(_VERSION) :])
    return {(tag, who): permissions for tag, permissions, who in found}
