"""Mounted repositories, by a program that lies as the real cvmfs_talk does."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client import talk
from shoal_client.talk import Manager, Talk
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


def to(program: CvmfsTalk, repository: str = "atlas.cern.ch", manager: Manager = Manager.REGULAR) -> Talk:
    return Talk(str(program.path), repository, manager, ENVIRON)


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
    assert talk.mount_points(table) == {
        "atlas.cern.ch": Path("/cvmfs/atlas.cern.ch"),
        "cms.cern.ch": Path("/cvmfs/cms.cern.ch"),
    }


def test_a_missing_table_of_mounts_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        talk.mount_points(tmp_path / "mounts")


def test_a_repository_is_set_and_then_known_to_be(program: CvmfsTalk) -> None:
    speaker = to(program)
    assert not talk.matches(speaker.info(), CHAIN)
    speaker.change(CHAIN, speaker.info())
    assert program.proxies("atlas.cern.ch") == CHAIN.to_cvmfs()
    assert talk.matches(speaker.info(), CHAIN)


def test_a_fallback_hides_direct_and_is_not_ours(program: CvmfsTalk) -> None:
    program.mount("atlas.cern.ch", CHAIN.to_cvmfs(), fallback="http://backup.test:3126")
    assert talk.matches(to(program).info(), CHAIN)


def test_a_name_that_does_not_resolve_is_still_recognised(program: CvmfsTalk) -> None:
    chain = ProxyList.parse("http://gone.test:3128")
    program.mount("atlas.cern.ch", chain.to_cvmfs())
    assert talk.matches(to(program).info(), chain)


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
        to(program).change(ProxyList.parse("auto"), "")


def test_a_repository_that_has_gone_is_a_failure(program: CvmfsTalk) -> None:
    with pytest.raises(Unavailable, match=r"gone\.cern\.ch did not take the proxies"):
        to(program, "gone.cern.ch").change(CHAIN, "")


def test_a_missing_program_is_told() -> None:
    with pytest.raises(Unavailable, match="No such file"):
        Talk("/nowhere/cvmfs_talk", "atlas.cern.ch").info()


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "cvmfs_talk"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(talk, "SECONDS", 0.2)
    with pytest.raises(Unavailable, match="no answer within"):
        Talk(str(program), "atlas.cern.ch", environ=ENVIRON).change(CHAIN, "")


def squids(count: int, name: str = "squid") -> list[str]:
    return [f"http://{name}{number:02}.site.test:3128" for number in range(count)]


def test_a_list_that_fits_is_not_shortened() -> None:
    assert talk.shortened(CHAIN) == CHAIN
    assert talk.shortened(ProxyList()) == ProxyList()


def test_a_long_list_loses_members_of_its_longest_group_and_no_step_of_its_fail_over() -> None:
    ours, theirs = ["http://192.0.2.1:3128", "http://192.0.2.2:3128"], squids(20)
    short = talk.shortened(ProxyList.of([ours, theirs, ["http://last.test:3128"], ["DIRECT"]]))
    kept = short.groups[1]
    assert short == ProxyList.of([ours, kept, ["http://last.test:3128"], ["DIRECT"]])
    assert kept == tuple(theirs[: len(kept)])
    assert len(short.to_cvmfs()) <= talk.MOST_BYTES
    assert len(short.to_cvmfs()) + len(theirs[0]) + 1 > talk.MOST_BYTES


def test_groups_of_one_are_given_up_from_the_end_but_not_a_final_direct() -> None:
    ours = ["http://192.0.2.1:3128", "http://192.0.2.2:3128"]
    short = talk.shortened(ProxyList.of([ours, *([squid] for squid in squids(30)), ["DIRECT"]]))
    assert short.groups[0] == ("http://192.0.2.1:3128",)
    assert short.groups[1:] == (*((squid,) for squid in squids(len(short.groups) - 2)), ("DIRECT",))
    assert 450 < len(short.to_cvmfs()) <= talk.MOST_BYTES


@given(st.lists(st.integers(1, 30), max_size=30), st.booleans())
def test_whatever_the_list_it_fits_and_begins_as_it_was_meant_to(sizes: list[int], direct: bool) -> None:
    groups = [squids(size, f"g{number}-") for number, size in enumerate(sizes)]
    chain = ProxyList.of([*groups, *([["DIRECT"]] if direct else [])])
    short = talk.shortened(chain)
    assert len(short.to_cvmfs()) <= talk.MOST_BYTES
    assert [group[0] for group in short.groups[: len(short.groups) - direct]] == [
        group[0] for group in chain.groups[: len(short.groups) - direct]
    ]
    assert ("DIRECT" in short.members) is direct


def test_what_is_not_in_force_afterwards_is_taken_back(program: CvmfsTalk) -> None:
    """A program that says OK to everything, and cuts the list."""
    real = program.path.rename(program.path.with_name("real"))
    program.path.write_text(
        f"#!/bin/sh\nif [ $4 = set ]; then exec {real} $1 $2 $3 $4 ${{5%%;*}}; fi\nexec {real} $*\n"
    )
    program.path.chmod(0o755)
    speaker = to(program)
    with pytest.raises(Unavailable, match="uses other proxies than were set, the former ones are back"):
        speaker.change(CHAIN, speaker.info())
    assert program.proxies("atlas.cern.ch") == "http://old.test:3128"


def test_proxies_for_external_data_are_set_apart(program: CvmfsTalk) -> None:
    speaker = to(program, manager=Manager.EXTERNAL)
    speaker.change(CHAIN, speaker.info())
    assert program.external("atlas.cern.ch") == CHAIN.to_cvmfs()
    assert program.proxies("atlas.cern.ch") == "http://old.test:3128"
    assert talk.matches(speaker.info(), CHAIN)


def test_what_cvmfs_finds_for_auto_is_no_reason_to_take_anything_back(tmp_path: Path) -> None:
    program = CvmfsTalk(tmp_path / "bin", auto="http://192.0.2.8:3128")
    program.mount("atlas.cern.ch", "DIRECT")
    chain = ProxyList.parse("http://192.0.2.1:3128;auto;DIRECT")
    speaker = to(program)
    speaker.change(chain, speaker.info())
    assert talk.matches(speaker.info(), chain)
    assert program.proxies("atlas.cern.ch") == "http://192.0.2.1:3128;http://192.0.2.8:3128;DIRECT"


@pytest.mark.parametrize(
    "chain",
    [
        "http://192.0.2.1:3128|http://192.0.2.2:3128;http://sq.test:3128;DIRECT",
        "http://gone.test:3128",
        "http://user@sq.test:3128",
        "http://[2001:db8::1]:3128",
    ],
)
def test_the_chain_that_is_shown_is_the_one_that_was_set(program: CvmfsTalk, chain: str) -> None:
    program.mount("atlas.cern.ch", chain)
    info = to(program).info()
    assert [set(group) for group in talk.shown(info).groups] == [
        set(group) for group in ProxyList.parse(chain).groups
    ]


def test_the_active_proxy_is_told() -> None:
    assert talk.active("Load-balance groups:\n[0] DIRECT\nActive proxy: [0] DIRECT\n") == "DIRECT"
    assert talk.active("No proxies defined") == ""
