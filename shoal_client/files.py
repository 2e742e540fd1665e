"""Replaces a file as a whole, or not at all."""

import errno
import os
import shutil
import tempfile
from pathlib import Path


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Give `path` this content: whoever reads it, and whenever this process dies, sees the old or the new.

    A file that exists keeps its owner, mode and security label; a symbolic link keeps its target. What
    was written is read back before it takes the old one's place. Raises OSError, and then nothing has
    changed.
    """
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _dress(temporary, target, mode)
        _compare(temporary, content)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def _compare(file: Path, content: bytes) -> None:
    if file.read_bytes() != content:
        raise OSError(errno.EIO, "what was read back differs from what was written")


def _dress(temporary: Path, target: Path, mode: int) -> None:
    if not target.exists():
        temporary.chmod(mode)
        return
    shutil.copystat(target, temporary)
    os.utime(temporary)
    old, new = target.stat(), temporary.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.chown(temporary, old.st_uid, old.st_gid)


def _sync(directory: Path) -> None:
    """After a power cut too the directory names the new file."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
