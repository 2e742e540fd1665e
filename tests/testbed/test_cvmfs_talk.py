"""The stand-in for cvmfs_talk behaves, and misbehaves, as the real one."""

import subprocess
from pathlib import Path

import pytest

from testbed.cvmfs_talk import CvmfsTalk

ATLAS = "atlas.cern.ch"


@pytest.fixture
def talk(tmp_path: Path) -> CvmfsTalk:
    stand_in = CvmfsTalk(tmp_path, hosts={"sq1.example.org": "192.0.2.1"})
    stand_in.mount(ATLAS, "http://192.0.2.9:3128;DIRECT")
    return stand_in


def _run(talk: CvmfsTalk, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([talk.path, *arguments], capture_output=True, text=True, check=False, timeout=10)
    return done.returncode, done.stdout, done.stderr


def _info(talk: CvmfsTalk) -> list[str]:
    return _run(talk, "-i", ATLAS, "proxy", "info")[1].splitlines()


def test_a_chain_that_is_set_is_in_force_and_shown(talk: CvmfsTalk) -> None:
    chain = "http://sq1.example.org:3128;DIRECT"
    assert _run(talk, "-i", ATLAS, "proxy", "set", chain) == (0, "OK\n", "")
    assert talk.proxies(ATLAS) == chain
    assert _info(talk) == [
        "Load-balance groups:",
        "[0] http://192.0.2.1:3128 (sq1.example.org, +6h)",
        "[1] DIRECT",
        "Active proxy: [0] http://192.0.2.1:3128",
    ]


def test_a_name_without_address_stays_in_the_chain_as_unresolved(talk: CvmfsTalk) -> None:
    _run(talk, "-i", ATLAS, "proxy", "set", "gone.example.org:3128")
    assert _info(talk)[1] == "[0] http://gone.example.org:3128 (:unresolved:, +1m)"


def test_blanks_are_not_trimmed(talk: CvmfsTalk) -> None:
    _run(talk, "-i", ATLAS, "proxy", "set", "http://192.0.2.1:3128; DIRECT")
    assert talk.proxies(ATLAS) == "http://192.0.2.1:3128; DIRECT"
    assert _info(talk)[2] == "[1] http:// DIRECT (:unresolved:, +1m)"


def test_an_empty_group_is_a_dead_member_and_not_direct(talk: CvmfsTalk) -> None:
    _run(talk, "-i", ATLAS, "proxy", "set", "http://192.0.2.1:3128;")
    assert _info(talk)[2] == "[1]  (:unresolved:, +1m)"


def test_a_groups_members_are_all_shown_on_one_line(talk: CvmfsTalk) -> None:
    _run(talk, "-i", ATLAS, "proxy", "set", "http://192.0.2.1:1|http://192.0.2.2:1|http://192.0.2.3:1")
    shown = _info(talk)[1].removeprefix("[0] ").split(", http")
    assert len(shown) == 3


def test_a_failed_discovery_exits_0(talk: CvmfsTalk) -> None:
    assert _run(talk, "-i", ATLAS, "proxy", "set", "auto") == (0, "Failed, no valid proxies\n", "")
    assert talk.proxies(ATLAS) == "http://192.0.2.9:3128;DIRECT"


def test_a_wrong_use_exits_0(talk: CvmfsTalk) -> None:
    status, answer, _ = _run(talk, "-i", ATLAS, "proxy", "set", "")
    assert (status, answer) == (0, "Usage: proxy set <proxy list>\n")


def test_an_unknown_command_exits_0(talk: CvmfsTalk) -> None:
    assert _run(talk, "-i", ATLAS, "dance")[0] == 0


def test_a_repository_that_is_not_mounted_exits_1_with_its_reason_on_stderr(talk: CvmfsTalk) -> None:
    status, answer, reason = _run(talk, "-i", "cms.cern.ch", "proxy", "info")
    assert (status, answer) == (1, "")
    assert "cvmfs_io.cms.cern.ch" in reason


def test_without_instance_and_list_nothing_is_done_and_it_exits_0(talk: CvmfsTalk) -> None:
    assert _run(talk, "proxy", "set", "DIRECT") == (0, "", "")
    assert talk.proxies(ATLAS) == "http://192.0.2.9:3128;DIRECT"


def test_without_instance_the_listed_repositories_answer_and_one_missing_fails_the_call(
    talk: CvmfsTalk,
) -> None:
    talk.list_repositories("cms,atlas")
    talk.mount("unlisted.cern.ch", "DIRECT")
    status, answer, reason = _run(talk, "proxy", "set", "http://192.0.2.5:1")
    assert (status, answer) == (1, "cms:\natlas:\nOK\n")
    assert "cms.cern.ch" in reason
    assert talk.proxies(ATLAS) == "http://192.0.2.5:1"
    assert talk.proxies("unlisted.cern.ch") == "DIRECT"


def test_a_command_is_cut_at_512_bytes_without_a_word(talk: CvmfsTalk) -> None:
    chain = ";".join(f"http://192.0.2.{n}:3128" for n in range(1, 60))
    assert _run(talk, "-i", ATLAS, "proxy", "set", chain)[:2] == (0, "OK\n")
    assert talk.proxies(ATLAS) == chain[: 512 - len("proxy set ")]


def test_a_fallback_list_drives_out_every_direct(talk: CvmfsTalk) -> None:
    assert _run(talk, "-i", ATLAS, "proxy", "fallback", "http://192.0.2.7:3126;DIRECT")[1] == "OK\n"
    assert _info(talk) == [
        "Load-balance groups:",
        "[0] http://192.0.2.9:3128 (192.0.2.9, +6h)",
        "[1] http://192.0.2.7:3126 (192.0.2.7, +6h)",
        "Active proxy: [0] http://192.0.2.9:3128",
        "First fallback group: [1]",
    ]


def test_a_trailing_blank_clears_the_fallback_list_and_none_is_a_wrong_use(talk: CvmfsTalk) -> None:
    talk.mount(ATLAS, "DIRECT", fallback="http://192.0.2.7:3126")
    assert _run(talk, "-i", ATLAS, "proxy", "fallback")[1] == "Usage: proxy fallback <proxy list>\n"
    assert talk.fallback(ATLAS) == "http://192.0.2.7:3126"
    assert _run(talk, "-i", ATLAS, "proxy", "fallback", "")[1] == "OK\n"
    assert talk.fallback(ATLAS) == ""


def test_external_data_has_a_chain_of_its_own(talk: CvmfsTalk) -> None:
    _run(talk, "-i", ATLAS, "external", "proxy", "set", "http://192.0.2.8:1")
    assert talk.external(ATLAS) == "http://192.0.2.8:1"
    assert (
        _run(talk, "-i", ATLAS, "external", "proxy", "info")[1]
        .splitlines()[1]
        .startswith("[0] http://192.0.2.8:1")
    )
    assert talk.proxies(ATLAS) == "http://192.0.2.9:3128;DIRECT"


def test_a_repository_without_proxies_says_so(talk: CvmfsTalk) -> None:
    talk.mount(ATLAS, "")
    assert _info(talk) == ["No proxies defined"]


def test_a_socket_path_names_the_repository(talk: CvmfsTalk) -> None:
    assert _run(talk, "-p", f"/var/lib/cvmfs/shared/cvmfs_io.{ATLAS}", "proxy", "info")[0] == 0


def test_every_run_is_kept_for_the_test_to_see(talk: CvmfsTalk) -> None:
    _run(talk, "-i", ATLAS, "proxy", "info")
    assert talk.calls == [["-i", ATLAS, "proxy", "info"]]
