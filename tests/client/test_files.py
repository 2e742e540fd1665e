"""A file is replaced as a whole or not at all, whatever happens."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal_client import documents, files
from shoal_common.errors import Unavailable


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "shoal-test", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_old_content(small_disk: Path) -> None:
    file = small_disk / "60-shoal.conf"
    files.replace(file, b"old\n")
    with pytest.raises(OSError, match="No space left on device"):
        files.replace(file, b"x" * 100_000)
    assert file.read_bytes() == b"old\n"
    assert names(small_disk) == ["60-shoal.conf"]


def test_a_read_only_disk_leaves_the_old_content(small_disk: Path) -> None:
    file = small_disk / "60-shoal.conf"
    files.replace(file, b"old\n")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="write-protected"):
        files.replace(file, b"new\n")
    with pytest.raises(OSError, match="Read-only file system"):
        files.replace(small_disk / "other.conf", b"new\n")
    assert file.read_bytes() == b"old\n"


def test_a_write_protected_file_is_left_alone(new_directory: Callable[[str], Path]) -> None:
    """By an ordinary user, who might replace it all the same where the directory is theirs."""
    directory = new_directory("files")
    directory.mkdir()
    directory.chmod(0o777)
    file = directory / "60-shoal.conf"
    file.write_bytes(b"old\n")
    file.chmod(0o444)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            files.replace(file, b"new\n")
        except OSError as error:
            code = 0 if "write-protected" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert file.read_bytes() == b"old\n"


@pytest.mark.parametrize("old", [b"old\n", None])
def test_what_does_not_read_back_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    file = tmp_path / "60-shoal.conf"
    if old is not None:
        file.write_bytes(old)
    honest = Path.read_bytes
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: b"other" if path == file and honest(path) == b"new\n" else honest(path),
    )
    with pytest.raises(OSError, match="read back"):
        files.replace(file, b"new\n")
    monkeypatch.undo()
    assert names(tmp_path) == ([] if old is None else ["60-shoal.conf"])
    assert old is None or file.read_bytes() == old


def refusing(number: int) -> Callable[[int], None]:
    """An fsync that refuses directories with this error."""
    honest = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        honest(handle)

    return fsync


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_directory_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number))
    files.replace(tmp_path / "60-shoal.conf", b"new\n")
    assert (tmp_path / "60-shoal.conf").read_bytes() == b"new\n"


@pytest.mark.parametrize("old", [b"old\n", None])
def test_where_a_disk_fails_at_the_last_step_the_old_content_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    file = tmp_path / "60-shoal.conf"
    if old is not None:
        file.write_bytes(old)
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.replace(file, b"new\n")
    assert files.read(file) == old
    assert len(names(tmp_path)) == (old is not None)


def labelled(file: Path, label: bytes) -> None:
    try:
        os.setxattr(file, "security.selinux", label)
    except OSError as error:
        pytest.skip(f"no SELinux labels here: {error.strerror}")


def test_the_selinux_label_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "60-shoal.conf"
    file.write_bytes(b"old\n")
    labelled(file, b"system_u:object_r:etc_t:s0\0")
    files.replace(file, b"new\n")
    assert file.read_bytes() == b"new\n"
    assert os.getxattr(file, "security.selinux") == b"system_u:object_r:etc_t:s0\0"


def test_a_label_that_cannot_be_kept_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "60-shoal.conf"
    file.write_bytes(b"old\n")
    monkeypatch.setattr(files, "_label", lambda path: b"a" if path == file else b"b")
    with pytest.raises(OSError, match="SELinux label cannot be kept"):
        files.replace(file, b"new\n")
    assert file.read_bytes() == b"old\n"
    assert names(tmp_path) == ["60-shoal.conf"]


def test_owner_and_mode_are_kept(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    file = tmp_path / "60-shoal.conf"
    file.write_bytes(b"old\n")
    os.chown(file, 1234, 2345)
    file.chmod(0o640)
    files.replace(file, b"new\n")
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 2345, 0o640)


def test_a_difference_is_shown_and_nothing_written(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    document = documents.own(file, b"{}")
    assert document.diff().splitlines()[2:] == ["@@ -0,0 +1 @@", "+{}", "\\ No newline at end of file"]
    assert not file.exists()
    file.write_bytes(b"{}")
    with pytest.raises(Unavailable, match="was not written by shoal-client"):
        document.diff()


@pytest.mark.parametrize("start", ["# ", "// ", '{\n "comment": "'])
def test_a_file_of_ours_is_known_by_what_its_first_lines_say(start: str) -> None:
    assert documents.is_ours(f"{start}Written by shoal-client, which replaces this file".encode())
    assert not documents.is_ours(f"{start}60-shoal.conf is another file".encode())


def test_what_a_killed_run_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".x.conf.1.tmp", ".x.conf.2.tmp", ".y.conf.1.tmp"))
    for left in (old, young, other):
        left.touch()
    os.utime(old, (1.0, 1.0))
    files.replace(tmp_path / "x.conf", b"new\n")
    assert names(tmp_path) == [".x.conf.2.tmp", ".y.conf.1.tmp", "x.conf"]


def test_what_was_left_and_cannot_be_removed_holds_nothing_up(tmp_path: Path) -> None:
    """Another user's in a directory like /tmp cannot; nor can a directory, by nobody."""
    left = tmp_path / ".x.conf.1.tmp"
    left.mkdir()
    os.utime(left, (1.0, 1.0))
    files.replace(tmp_path / "x.conf", b"new\n")
    assert names(tmp_path) == [left.name, "x.conf"]


def test_a_file_that_somebody_changes_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "default.local"
    file.write_bytes(b"old\n")

    def compose(before: bytes | None) -> bytes:
        file.write_bytes(b"theirs\n")
        return b"ours\n"

    with pytest.raises(Unavailable, match="changed by somebody else"):
        documents.Document(file, compose).write()
    assert file.read_bytes() == b"theirs\n"
