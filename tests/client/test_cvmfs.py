"""The client's own file, and what the administrator's files say."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given

from shoal_client import administrator, cvmfs
from shoal_client.settings import ClientSettings
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.proxylist import ProxyList
from tests.client import hostile

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://[2001:db8::1]:3128;http://sq.test:3128;DIRECT")
OTHER = ProxyList.parse("http://192.0.2.7:3128")


def test_a_shell_reads_what_was_written(tmp_path: Path) -> None:
    """As CVMFS does: the lines to a fresh /bin/sh, then an unquoted echo."""
    file = tmp_path / "60-shoal.conf"
    cvmfs.own_file(file, CHAIN).write()
    script = file.read_text() + "echo $CVMFS_HTTP_PROXY\n"
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == CHAIN.to_cvmfs() + "\n"
    assert done.stderr == ""


def test_an_equal_file_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "60-shoal.conf"
    assert cvmfs.own_file(file, CHAIN).write()
    before = (file.stat().st_ino, file.stat().st_mtime_ns)
    assert not cvmfs.own_file(file, CHAIN).write()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before


def test_a_changed_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    file = tmp_path / "60-shoal.conf"
    cvmfs.own_file(file, CHAIN).write()
    file.chmod(0o640)
    owner = (file.stat().st_uid, file.stat().st_gid)
    assert cvmfs.own_file(file, OTHER).write()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert (file.stat().st_uid, file.stat().st_gid) == owner


def test_a_new_file_can_be_read_by_everybody(tmp_path: Path) -> None:
    cvmfs.own_file(tmp_path / "60-shoal.conf", CHAIN).write()
    assert stat.S_IMODE((tmp_path / "60-shoal.conf").stat().st_mode) == 0o644


def test_nothing_else_is_left_in_the_directory(tmp_path: Path) -> None:
    for chain in (CHAIN, OTHER):
        cvmfs.own_file(tmp_path / "60-shoal.conf", chain).write()
    assert [path.name for path in tmp_path.iterdir()] == ["60-shoal.conf"]


def test_a_symbolic_link_keeps_pointing(tmp_path: Path) -> None:
    target, link = tmp_path / "target.conf", tmp_path / "60-shoal.conf"
    cvmfs.own_file(target, CHAIN).write()
    link.symlink_to(target)
    cvmfs.own_file(link, OTHER).write()
    assert link.is_symlink()
    assert target.read_bytes() == cvmfs.render(OTHER)


def test_somebody_elses_file_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "default.local"
    file.write_text("CVMFS_QUOTA_LIMIT=20000\n")
    with pytest.raises(Unavailable, match="was not written by shoal-client"):
        cvmfs.own_file(file, CHAIN).write()
    assert file.read_text() == "CVMFS_QUOTA_LIMIT=20000\n"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        cvmfs.own_file(tmp_path / "away" / "60-shoal.conf", CHAIN).write()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "60-shoal.conf"
    cvmfs.own_file(file, CHAIN).write()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        cvmfs.own_file(file, OTHER).write()
    assert file.read_bytes() == cvmfs.render(CHAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["60-shoal.conf"]


@given(hostile.chains)
def test_no_answer_puts_a_character_into_the_file_that_a_shell_would_act_upon(chain: ProxyList) -> None:
    first, second = cvmfs.render(chain).decode().splitlines()
    assert first == cvmfs.HEADER
    assert re.fullmatch(r'CVMFS_HTTP_PROXY="[A-Za-z0-9.:/|;_\-\[\]]+"', second)


def test_a_chain_that_a_shell_might_read_is_refused_even_if_it_got_here() -> None:
    with pytest.raises(InvalidProxyList):
        cvmfs.render(ProxyList((("http://$(id):3128",),)))


@pytest.mark.parametrize(
    ("line", "chain"),
    [
        ('CVMFS_HTTP_PROXY="http://a.test:3128;DIRECT"', "http://a.test:3128;DIRECT"),
        ("CVMFS_HTTP_PROXY='http://a.test:3128|http://b.test:3128'", "http://a.test:3128|http://b.test:3128"),
        ("export CVMFS_HTTP_PROXY=http://a.test:3128 # ours", "http://a.test:3128"),
        ("CVMFS_HTTP_PROXY=http://a.test:3128;http://b.test:3128", "http://a.test:3128"),
        (
            'CVMFS_HTTP_PROXY="http://a.test:3128; http://b.test:3128;"',
            "http://a.test:3128;http://b.test:3128",
        ),
        ("CVMFS_HTTP_PROXY=http://a.test:1\nCVMFS_HTTP_PROXY=http://b.test:2", "http://b.test:2"),
        ('CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY:-http://a.test:3128}"', "http://a.test:3128"),
        ('CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY};DIRECT"', "DIRECT"),
        ('SITE=http://a.test:3128\nCVMFS_HTTP_PROXY="$SITE;DIRECT"', "http://a.test:3128;DIRECT"),
        (
            'CVMFS_HTTP_PROXY=http://a.test:3128\nCVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY};DIRECT"',
            "http://a.test:3128;DIRECT",
        ),
        (
            "if true; then\nCVMFS_HTTP_PROXY=http://a.test:1\nelse\nCVMFS_HTTP_PROXY=http://b.test:1\nfi",
            "http://a.test:1",
        ),
        ("# CVMFS_HTTP_PROXY=http://a.test:3128", ""),
        ("CVMFS_EXTERNAL_HTTP_PROXY=http://a.test:3128", ""),
        ("CVMFS_HTTP_PROXY=", ""),
    ],
)
def test_the_administrators_value_is_the_default(tmp_path: Path, line: str, chain: str) -> None:
    (tmp_path / "default.local").write_text(f"CVMFS_QUOTA_LIMIT=1\n{line}\n")
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)) == administrator.Defaults(
        ProxyList.parse(chain)
    )


@pytest.mark.parametrize(
    "value", ['"http://$SITE:3128"', '"`echo a b`"', '"http://a.test:3128', "'auto|a b'"]
)
def test_a_value_that_is_no_chain_is_no_default_and_told(tmp_path: Path, value: str) -> None:
    (tmp_path / "default.local").write_text(f"CVMFS_HTTP_PROXY={value}\n")
    found = administrator.defaults(ClientSettings(cvmfs_directory=tmp_path))
    assert not found.chain.groups
    assert found.troubles


def test_no_file_means_no_default(tmp_path: Path) -> None:
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)) == administrator.Defaults()


def test_the_clients_own_output_is_never_the_administrators_default(tmp_path: Path) -> None:
    (tmp_path / "default.local").write_bytes(cvmfs.render(CHAIN))
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)) == administrator.Defaults()


def test_files_that_override_ours_are_found(tmp_path: Path) -> None:
    for name in (
        "default.d/50-site.conf",
        "default.d/90-site.conf",
        "domain.d/cern.ch.local",
        "config.d/a.test.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("CVMFS_HTTP_PROXY=http://a.test:3128\n")
    (tmp_path / "default.local").write_text('CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY:-http://a.test:3128}"\n')
    found = administrator.overriding(tmp_path, tmp_path / "default.d" / "60-shoal.conf")
    assert [path.name for path in found] == ["90-site.conf", "cern.ch.local"]
