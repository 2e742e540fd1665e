"""The client's own file, and what the administrator's files say."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client import cvmfs
from shoal_client.candidates import from_listing
from shoal_common.errors import InvalidListing, InvalidProxyList, Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.listing import decode
from shoal_common.proxylist import ProxyList

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://[2001:db8::1]:3128;http://sq.test:3128;DIRECT")
OTHER = ProxyList.parse("http://192.0.2.7:3128")


def test_a_shell_reads_what_was_written(tmp_path: Path) -> None:
    """As CVMFS does: the lines to a fresh /bin/sh, then an unquoted echo."""
    file = tmp_path / "60-shoal.conf"
    cvmfs.write(file, cvmfs.render(CHAIN))
    script = file.read_text() + "echo $CVMFS_HTTP_PROXY\n"
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == CHAIN.to_cvmfs() + "\n"
    assert done.stderr == ""


def test_an_equal_file_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "60-shoal.conf"
    assert cvmfs.write(file, cvmfs.render(CHAIN))
    before = (file.stat().st_ino, file.stat().st_mtime_ns)
    assert not cvmfs.write(file, cvmfs.render(CHAIN))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before


def test_a_changed_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    file = tmp_path / "60-shoal.conf"
    cvmfs.write(file, cvmfs.render(CHAIN))
    file.chmod(0o640)
    owner = (file.stat().st_uid, file.stat().st_gid)
    assert cvmfs.write(file, cvmfs.render(OTHER))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert (file.stat().st_uid, file.stat().st_gid) == owner


def test_a_new_file_can_be_read_by_everybody(tmp_path: Path) -> None:
    cvmfs.write(tmp_path / "60-shoal.conf", cvmfs.render(CHAIN))
    assert stat.S_IMODE((tmp_path / "60-shoal.conf").stat().st_mode) == 0o644


def test_nothing_else_is_left_in_the_directory(tmp_path: Path) -> None:
    for chain in (CHAIN, OTHER):
        cvmfs.write(tmp_path / "60-shoal.conf", cvmfs.render(chain))
    assert [path.name for path in tmp_path.iterdir()] == ["60-shoal.conf"]


def test_a_symbolic_link_keeps_pointing(tmp_path: Path) -> None:
    target, link = tmp_path / "target.conf", tmp_path / "60-shoal.conf"
    cvmfs.write(target, cvmfs.render(CHAIN))
    link.symlink_to(target)
    cvmfs.write(link, cvmfs.render(OTHER))
    assert link.is_symlink()
    assert target.read_bytes() == cvmfs.render(OTHER)


def test_somebody_elses_file_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "default.local"
    file.write_text("CVMFS_QUOTA_LIMIT=20000\n")
    with pytest.raises(Unavailable, match="was not written by shoal-client"):
        cvmfs.write(file, cvmfs.render(CHAIN))
    assert file.read_text() == "CVMFS_QUOTA_LIMIT=20000\n"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        cvmfs.write(tmp_path / "away" / "60-shoal.conf", cvmfs.render(CHAIN))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "60-shoal.conf"
    cvmfs.write(file, cvmfs.render(CHAIN))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        cvmfs.write(file, cvmfs.render(OTHER))
    assert file.read_bytes() == cvmfs.render(CHAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["60-shoal.conf"]


_TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["192.0.2.1", "10.0.0.1", "sq.test", "$(id)", '";reboot;"', "a\nb", "192.0.2.1;DIRECT", "`id`"]
    ),
    st.integers(-1, 70000),
    st.booleans(),
    st.none(),
)
_ENTRIES = st.dictionaries(
    st.sampled_from("0123"),
    st.fixed_dictionaries(
        dict.fromkeys(("hostname", "squid_port", "public_ip", "private_ip", "local", "distance"), _TEXT)
    ),
    max_size=4,
)


@given(_ENTRIES)
def test_no_answer_puts_a_character_into_the_file_that_a_shell_would_act_upon(
    answer: dict[str, object],
) -> None:
    try:
        listing = decode(json.dumps(answer).encode())
    except InvalidListing:
        return
    chain = ProxyList.of([[candidate.proxy] for candidate in from_listing(listing, Upstream.CVMFS, 7)])
    lines = cvmfs.render(chain).decode().splitlines() if chain.groups else []
    assert not lines or lines[0] == cvmfs.HEADER
    assert all(re.fullmatch(r'CVMFS_HTTP_PROXY="[A-Za-z0-9.:/|;_\-]+"', line) for line in lines[1:])
    assert len(lines) in (0, 2)


def test_a_chain_that_a_shell_might_read_is_refused_even_if_it_got_here() -> None:
    with pytest.raises(InvalidProxyList):
        cvmfs.render(ProxyList((("http://$(id):3128",),)))


@pytest.mark.parametrize(
    ("line", "chain"),
    [
        ('CVMFS_HTTP_PROXY="http://a.test:3128;DIRECT"', "http://a.test:3128;DIRECT"),
        ("CVMFS_HTTP_PROXY='http://a.test:3128|http://b.test:3128'", "http://a.test:3128|http://b.test:3128"),
        ("export CVMFS_HTTP_PROXY=http://a.test:3128 # ours", "http://a.test:3128"),
        ("CVMFS_HTTP_PROXY=http://a.test:3128;http://b.test:3128", "http://a.test:3128;http://b.test:3128"),
        (
            'CVMFS_HTTP_PROXY="http://a.test:3128; http://b.test:3128;"',
            "http://a.test:3128;http://b.test:3128",
        ),
        ("CVMFS_HTTP_PROXY=http://a.test:1\nCVMFS_HTTP_PROXY=http://b.test:2", "http://b.test:2"),
        ('CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY:-http://a.test:3128}"', "http://a.test:3128"),
        ('CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY};DIRECT"', ""),
        ("# CVMFS_HTTP_PROXY=http://a.test:3128", ""),
        ("CVMFS_EXTERNAL_HTTP_PROXY=http://a.test:3128", ""),
        ("CVMFS_HTTP_PROXY=", ""),
    ],
)
def test_the_administrators_value_is_the_default(tmp_path: Path, line: str, chain: str) -> None:
    (tmp_path / "default.local").write_text(f"CVMFS_QUOTA_LIMIT=1\n{line}\n")
    assert cvmfs.defaults(tmp_path) == cvmfs.Defaults(ProxyList.parse(chain))


@pytest.mark.parametrize(
    "value", ['"http://$SITE:3128"', '"`hostname`"', '"http://a.test:3128', "auto|DIRECT"]
)
def test_a_value_that_is_not_plain_is_no_default_and_told(tmp_path: Path, value: str) -> None:
    (tmp_path / "default.local").write_text(f"CVMFS_HTTP_PROXY={value}\n")
    found = cvmfs.defaults(tmp_path)
    assert not found.chain.groups
    assert found.trouble


def test_no_file_means_no_default(tmp_path: Path) -> None:
    assert cvmfs.defaults(tmp_path) == cvmfs.Defaults()


def test_the_clients_own_output_is_never_the_administrators_default(tmp_path: Path) -> None:
    (tmp_path / "default.local").write_bytes(cvmfs.render(CHAIN))
    assert cvmfs.defaults(tmp_path) == cvmfs.Defaults()


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
    found = cvmfs.overriding(tmp_path, tmp_path / "default.d" / "60-shoal.conf")
    assert [path.name for path in found] == ["90-site.conf", "cern.ch.local"]
