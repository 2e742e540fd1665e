"""Replaces a file as a whole, or not at all."""

import errno
import glob
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_LABEL = "security.selinux"
_LEFT_SECONDS = 3600.0
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What fsync(2) says of directories on some network file systems."""


class NotRegular(OSError):  # noqa: N818
    """A device, a pipe, a socket or a directory stands where a file is meant to be."""


def read(path: Path) -> bytes | None:
    """What the file holds, None if there is none.

    Raises OSError, and NotRegular without having touched it: what reads a pipe may wait for ever.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotRegular(errno.EINVAL, "no regular file, left as it is")
        return path.read_bytes()
    except FileNotFoundError:
        return None


def within(directory: Path) -> list[Path]:
    """What is in it, by name; a directory that is not there, or that we may not read, says nothing to us."""
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Give `path` this content: whoever reads it, and whenever this process dies, sees the old or the new.

    A file that exists keeps its owner, mode and SELinux label; a symbolic link keeps its target. What
    was written is read back before it takes the old one's place and again after it; if that is not what
    was written, the old content comes back. Raises OSError, and then nothing has changed.
    """
    target = path.resolve()
    old = read(target)
    if old is not None and not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, "the file or its disk is write-protected")
    _install(target, content, mode)
    try:
        _sync(target.parent)
        _compare(target, content)
    except OSError:
        if old is None:
            target.unlink(missing_ok=True)
        else:
            _install(target, old, mode)
        raise


def _install(target: Path, content: bytes, mode: int) -> None:
    _sweep(target)
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


def _sweep(target: Path) -> None:
    """Remove what a run that was killed has left, if we may; whatever is younger may be another run's."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                left.unlink()


def _compare(file: Path, content: bytes) -> None:
    if file.read_bytes() != content:
        raise OSError(errno.EIO, "what was read back differs from what was written")


def _dress(temporary: Path, target: Path, mode: int) -> None:
    if not target.exists():
        temporary.chmod(mode)
        return
    old, new = target.stat(), temporary.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.chown(temporary, old.st_uid, old.st_gid)
    shutil.copystat(target, temporary)
    os.utime(temporary)
    if _label(temporary) != _label(target):
        raise OSError(errno.EPERM, "the SELinux label cannot be kept")


def _label(file: Path) -> bytes | None:
    try:
        return os.getxattr(file, _LABEL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def _sync(directory: Path) -> None:
    """After a power cut too the directory names the new file, where its file system can promise that."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # who may write in a directory may not always read it
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)
