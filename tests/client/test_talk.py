"""Mounted repositories, by a program that lies as the real cvmfs_talk does."""

from pathlib import Path

import pytest

from shoal_client import talk
from shoal_common.errors import Unavailable
from shoal_common.proxylist import ProxyList
from testbed.cvmfs_talk import CvmfsTalk

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://192.0.2.2:3128;http://sq.test:3128;DIRECT")
ENVIRON = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def program(tmp_path: Path) -> CvmfsTalk:
    result = CvmfsTalk(tmp_path / "bin", hosts={"sq.test": "192.0.2.3"})
    result.mount("atlas.cern.ch", "http://old.test:3128")
    return result


def test_repositories_are_found_in_the_table_of_mounts(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "proc /proc proc rw 0 0\n"
        "cvmfs2 /cvmfs/atlas.cern.ch fuse ro,nosuid 0 0\n"
        "cvmfs2 /cvmfs/cms.cern.ch fuse.cvmfs2 ro 0 0\n"
        "cvmfs2 /mnt/again/cms.cern.ch fuse ro 0 0\n"
        "cvmfs2 /cvmfs/bad\\040name;id fuse ro 0 0\n"
        "/etc/auto.cvmfs /cvmfs autofs rw 0 0\n"
        "sshfs /cvmfs/x.cern.ch fuse rw 0 0\n"
        "short\n"
    )
    assert talk.mounted(table) == ("atlas.cern.ch", "cms.cern.ch")


def test_a_missing_table_of_mounts_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        talk.mounted(tmp_path / "mounts")


def test_a_repository_is_set_and_then_known_to_be(program: CvmfsTalk) -> None:
    assert not talk.uses(str(program.path), "atlas.cern.ch", CHAIN, ENVIRON)
    talk.set_live(str(program.path), "atlas.cern.ch", CHAIN, ENVIRON)
    assert program.proxies("atlas.cern.ch") == CHAIN.to_cvmfs()
    assert talk.uses(str(program.path), "atlas.cern.ch", CHAIN, ENVIRON)


def test_a_fallback_hides_direct_and_is_not_ours(program: CvmfsTalk) -> None:
    program.mount("atlas.cern.ch", CHAIN.to_cvmfs(), fallback="http://backup.test:3126")
    assert talk.uses(str(program.path), "atlas.cern.ch", CHAIN, ENVIRON)


def test_a_name_that_does_not_resolve_is_still_recognised(program: CvmfsTalk) -> None:
    chain = ProxyList.parse("http://gone.test:3128")
    program.mount("atlas.cern.ch", chain.to_cvmfs())
    assert talk.uses(str(program.path), "atlas.cern.ch", chain, ENVIRON)


def test_an_ipv6_proxy_is_recognised() -> None:
    chain = ProxyList.parse("http://[2001:db8::1]:3128;http://sq.test:3128")
    info = "[0] http://[2001:db8::1]:3128 (2001:db8::1, +6h)\n[1] http://[2001:db8::2]:3128 (sq.test, +6h)\n"
    assert talk.matches(info, chain)


@pytest.mark.parametrize(
    "info", ["", "No proxies defined", "unknown command", "Load-balance groups:\n[0] DIRECT"]
)
def test_another_answer_is_not_taken_for_the_chain(info: str) -> None:
    assert not talk.matches(info, CHAIN)


def test_exit_code_0_without_ok_is_a_failure(program: CvmfsTalk) -> None:
    with pytest.raises(Unavailable, match="no valid proxies"):
        talk.set_live(str(program.path), "atlas.cern.ch", ProxyList.parse("auto"), ENVIRON)


def test_a_repository_that_has_gone_is_a_failure(program: CvmfsTalk) -> None:
    with pytest.raises(Unavailable, match=r"gone\.cern\.ch did not take the proxies"):
        talk.set_live(str(program.path), "gone.cern.ch", CHAIN, ENVIRON)


def test_a_missing_program_is_told() -> None:
    with pytest.raises(Unavailable, match="No such file"):
        talk.set_live("/nowhere/cvmfs_talk", "atlas.cern.ch", CHAIN, ENVIRON)


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "cvmfs_talk"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(talk, "SECONDS", 0.2)
    with pytest.raises(Unavailable, match="no answer within"):
        talk.set_live(str(program), "atlas.cern.ch", CHAIN, ENVIRON)


def test_a_long_list_is_shortened_by_whole_groups() -> None:
    groups = [[f"http://a{number}.test:3128", f"http://b{number}.test:3128"] for number in range(20)]
    short = talk.shortened(ProxyList.of(groups))
    assert len(short.to_cvmfs()) <= talk.MOST_BYTES
    assert len(ProxyList.of(groups[: len(short.groups) + 1]).to_cvmfs()) > talk.MOST_BYTES
    assert short == ProxyList.of(groups[: len(short.groups)])


def test_a_group_that_is_too_long_alone_is_shortened_by_members() -> None:
    short = talk.shortened(
        ProxyList.of([[f"http://a{number}.test:3128" for number in range(40)], ["DIRECT"]])
    )
    assert len(short.groups) == 1
    assert 0 < len(short.to_cvmfs()) <= talk.MOST_BYTES
