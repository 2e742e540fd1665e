"""What the doctor tells."""

import io
import os
from pathlib import Path

import pytest

from shoal_client import administrator, doctor
from shoal_client.actions import ExitCode
from shoal_client.effective import Configuration, configuration
from shoal_client.settings import ClientSettings
from shoal_common.listing import encode
from shoal_common.proxylist import ProxyList
from tests.client import parts
from tests.client.conftest import Worker


def examine(worker: Worker) -> tuple[ExitCode, str]:
    out = io.StringIO()
    return doctor.examine(worker.settings, worker.environ, 1.7e9, out), out.getvalue()


def test_a_healthy_repository_and_the_file_that_decides(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        worker.mount("atlas.cern.ch", f"http://{one}")
        code, told = examine(worker)
    assert code is ExitCode.UNCHANGED
    assert f"atlas.cern.ch\n  uses now http://{one} of http://{one}\n  http://{one} is good\n" in told
    assert f"  {worker.config} sets CVMFS_HTTP_PROXY to http://{one}\n  a run would leave it so\n" in told
    assert f"a run would set: http://{one}\n" in told
    assert "atlas.cern.ch, external data\n  uses now DIRECT of DIRECT\n" in told
    assert "no file sets CVMFS_EXTERNAL_HTTP_PROXY" in told


def test_a_bad_proxy_its_cause_and_the_cure(worker: Worker, directory: parts.Directory) -> None:
    dead = parts.closed()
    worker.local.write_text(f"CVMFS_HTTP_PROXY=http://{dead}\n")
    worker.mount("atlas.cern.ch", f"http://{dead}")
    with parts.squid() as one:
        directory.list(one)
        code, told = examine(worker)
    assert code is ExitCode.FAILED
    assert f"  http://{dead} is bad: {dead} refused the connection\n" in told
    assert f"  {worker.local} sets CVMFS_HTTP_PROXY to http://{dead}\n" in told
    assert "  a run would change it\n  trouble: no proxy of it is good\n" in told
    assert f"a run would set: http://{one};http://{dead}\n" in told


def test_a_repository_with_proxies_of_its_own_would_be_left_so(
    worker: Worker, directory: parts.Directory
) -> None:
    (worker.settings.cvmfs_directory / "config.d").mkdir()
    (worker.settings.cvmfs_directory / "config.d" / "x.cern.ch.local").write_text("CVMFS_HTTP_PROXY=DIRECT\n")
    worker.mount("atlas.cern.ch")
    worker.mount("x.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        told = examine(worker)[1].partition("\nx.cern.ch\n")
    assert "a run would change it" in told[0]
    assert "a run would leave it so" in told[2]


def test_direct_that_nobody_configured_is_told(worker: Worker, directory: parts.Directory) -> None:
    worker.mount("atlas.cern.ch", "DIRECT")
    with parts.squid() as one:
        directory.list(one)
        code, told = examine(worker)
    assert code is ExitCode.FAILED
    assert "  uses now DIRECT of DIRECT\n" in told
    assert "  DIRECT stands in no file of it\n" in told


def test_a_live_setting_that_the_next_mount_loses_is_told(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one, parts.squid() as two:
        directory.list(one)
        worker.run()
        worker.mount("atlas.cern.ch", f"http://{two}")
        _, told = examine(worker)
    assert "what it uses was set while it was mounted (cvmfs_talk); the next mount reads the files" in told


def test_the_order_in_which_cvmfs_shows_a_group_is_no_difference(
    worker: Worker, directory: parts.Directory
) -> None:
    """It has picked one at random."""
    with parts.squid() as one, parts.squid() as two, parts.squid() as three:
        directory.body = encode([parts.listed(place, distance=1.0) for place in (one, two, three)])
        worker.set(squids=3)
        worker.run()
        for order in ((one, two, three), (two, three, one), (three, one, two)):
            worker.mount("atlas.cern.ch", "|".join(f"http://{place}" for place in order))
            _, told = examine(worker)
            assert "a run would leave it so" in told
            assert "was set while it was mounted" not in told


def test_a_fallback_that_costs_direct_is_told(worker: Worker, directory: parts.Directory) -> None:
    worker.local.write_text("CVMFS_FALLBACK_PROXY=http://backup.test:3126\n")
    with parts.squid() as one:
        directory.list(one)
        worker.mount("atlas.cern.ch", f"http://{one};DIRECT", fallback="http://backup.test:3126")
        _, told = examine(worker)
    assert f"falls back to http://backup.test:3126 (CVMFS_FALLBACK_PROXY, in {worker.local})" in told


def test_the_doctor_changes_nothing(worker: Worker, directory: parts.Directory) -> None:
    worker.mount("atlas.cern.ch", "DIRECT")
    with parts.squid() as one:
        directory.list(one)
        examine(worker)
    assert not worker.config.exists()
    assert not worker.settings.state_dir.exists()
    assert worker.talk.proxies("atlas.cern.ch") == "DIRECT"


def test_a_repository_that_cannot_be_asked_is_told(worker: Worker, directory: parts.Directory) -> None:
    worker.mount("atlas.cern.ch")
    worker.talk.path.unlink()
    code, told = examine(worker)
    assert code is ExitCode.FAILED
    assert "atlas.cern.ch: " in told
    assert "No such file" in told


def test_later_files_win_in_the_order_of_cvmfs(tmp_path: Path) -> None:
    etc, shared = tmp_path / "etc", tmp_path / "shared"
    order = {
        etc: ["default.conf", "default.d/10.conf", "default.d/20.conf", "default.local"],
        shared / "etc" / "cvmfs": ["default.conf"],
    }
    for root, names in order.items():
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f'CVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY}}>{name}"\n')
    (etc / "default.d" / "20.txt").write_text("CVMFS_HTTP_PROXY=no\n")
    for root, name in ((shared / "etc" / "cvmfs", "s"), (etc, "")):
        for folder, stem in (("domain.d", "cern.ch"), ("config.d", "atlas.cern.ch")):
            for suffix in ("conf", "local"):
                (root / folder).mkdir(exist_ok=True)
                line = f'CVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY}}>{name}{folder[0]}.{suffix}"\n'
                (root / folder / f"{stem}.{suffix}").write_text(line)
    with (etc / "default.conf").open("a") as file:
        file.write("CVMFS_CONFIG_REPOSITORY=config.test\n")
    found = configuration(etc, "atlas.cern.ch", {"config.test": shared})
    assert found.text("CVMFS_HTTP_PROXY") == (
        ">default.conf>default.d/10.conf>default.d/20.conf>default.conf>default.local"
        ">sd.conf>d.conf>d.local>sc.conf>c.conf>c.local"
    )
    assert found.values["CVMFS_HTTP_PROXY"].files[-1] == etc / "config.d" / "atlas.cern.ch.local"
    assert "s" not in configuration(etc, "atlas.cern.ch", {}).text("CVMFS_HTTP_PROXY").split(">")


def test_a_file_that_is_masked_with_dev_null_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "default.d").mkdir()
    (tmp_path / "default.d" / "10.conf").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "default.local")
    assert configuration(tmp_path, "atlas.cern.ch", {}) == Configuration()
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)) == administrator.Defaults()


def test_a_broken_file_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "default.d").mkdir()
    (tmp_path / "default.d" / "10.conf").write_text('A="1\n')
    (tmp_path / "default.local").write_text("CVMFS_HTTP_PROXY=http://a.test:1\n")
    found = configuration(tmp_path, "atlas.cern.ch", {})
    assert found.text("CVMFS_HTTP_PROXY") == "http://a.test:1"
    assert found.troubles == [f"{tmp_path}/default.d/10.conf is nothing that a shell reads to its end"]


@pytest.mark.parametrize("chain", ["http://a.test:3128;auto", "DIRECT"])
def test_members_that_are_no_proxies_are_not_tested(
    worker: Worker, directory: parts.Directory, chain: str
) -> None:
    worker.set(default_proxy=ProxyList.parse(chain))
    with parts.squid() as one:
        directory.body = encode([parts.listed(one)])
        worker.mount("atlas.cern.ch", f"http://{one};DIRECT")
        code, told = examine(worker)
    assert code is ExitCode.UNCHANGED
    assert "DIRECT is" not in told
