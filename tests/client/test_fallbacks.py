"""What an administrator's own files ask for is neither lost nor doubled, in files, mounts and print."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shoal_client import administrator, shell
from shoal_client.actions import ExitCode
from shoal_client.effective import configuration
from shoal_common.proxylist import ProxyList
from tests.client import parts
from tests.client.conftest import Worker

SITE = "http://site.test:3128"


def put(worker: Worker, name: str, text: str) -> Path:
    """A file of the administrator's."""
    path = worker.settings.cvmfs_directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def next_mount(worker: Worker, repository: str = "atlas.cern.ch", parameter: str = "CVMFS_HTTP_PROXY") -> str:
    return configuration(worker.settings.cvmfs_directory, repository, {}).text(parameter)


MISTAKEN = [
    ("default.d/50-site.conf", f'CVMFS_HTTP_PROXY="{SITE};htp://typo.test:3128;DIRECT"\n'),
    ("default.local", f'CVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY:-{SITE}|socks5://a.test:1080;auto|DIRECT}}"\n'),
    ("default.local", f'CVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY}};htp://typo.test;{SITE};DIRECT"\n'),
]


@pytest.mark.parametrize(("name", "text"), MISTAKEN)
def test_a_mistake_in_a_list_costs_a_worker_none_of_the_proxies_beside_it(
    worker: Worker, directory: parts.Directory, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = put(worker, name, text)
    worker.mount("atlas.cern.ch", f"{SITE};DIRECT")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one};{SITE};DIRECT"
    assert next_mount(worker).count(SITE) == next_mount(worker).count("DIRECT") == 1
    assert f"{file}: left out of CVMFS_HTTP_PROXY: " in caplog.text


ASKED = [
    ("default.local", f'CVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY}};{SITE};DIRECT"\n'),
    ("default.local", f'CVMFS_HTTP_PROXY="{SITE}"\nCVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY}};DIRECT"\n'),
    ("default.local", f'SITE="{SITE}"\nCVMFS_HTTP_PROXY="$SITE;DIRECT"\n'),
    ("default.local", f'CVMFS_HTTP_PROXY="${{CVMFS_HTTP_PROXY:-{SITE};DIRECT}}"\n'),
    ("default.local", f'if true; then\nCVMFS_HTTP_PROXY="{SITE};DIRECT"\nelse\nCVMFS_HTTP_PROXY=x\nfi\n'),
    ("default.local", f'readonly CVMFS_HTTP_PROXY="{SITE};DIRECT"\n'),
    ("default.conf", f'CVMFS_HTTP_PROXY="{SITE};DIRECT"\n'),
    ("default.d/50-site.conf", f'CVMFS_HTTP_PROXY="{SITE};DIRECT"\n'),
    ("default.d/70-site.conf", f'CVMFS_HTTP_PROXY="{SITE};DIRECT"\n'),
]


@pytest.mark.parametrize(("name", "text"), ASKED)
def test_however_it_is_written_a_mounted_repository_and_every_print_has_it_behind_ours(
    worker: Worker, directory: parts.Directory, name: str, text: str
) -> None:
    put(worker, name, text)
    worker.mount("atlas.cern.ch", f"{SITE};DIRECT")
    worker.set(pac_file=worker.root / "wpad.dat")
    with parts.squid() as one:
        directory.list(one)
        worker.run(dump=True)
        assert worker.printed == f'"http://{one};{SITE};DIRECT"\n'
        assert worker.run() is ExitCode.CHANGED
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one};{SITE};DIRECT"
    assert f'"PROXY http://{one}; PROXY {SITE}; DIRECT"' in (worker.root / "wpad.dat").read_text()


@pytest.mark.parametrize(("name", "text"), ASKED)
def test_the_next_mount_reads_each_proxy_once(
    worker: Worker, directory: parts.Directory, name: str, text: str
) -> None:
    put(worker, name, text)
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert next_mount(worker) in (f"http://{one};{SITE};DIRECT", f"{SITE};DIRECT")


def test_what_one_file_sets_and_a_later_one_adds_to_ours_comes_once(
    worker: Worker, directory: parts.Directory
) -> None:
    put(worker, "default.d/50-site.conf", f'CVMFS_HTTP_PROXY="{SITE}"\n')
    put(worker, "default.local", 'CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY};DIRECT"\n')
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.value == f"http://{one};{SITE}"
    assert next_mount(worker) == f"http://{one};{SITE};DIRECT"


def test_a_chosen_squid_that_is_the_administrators_own_too_comes_first(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        worker.local.write_text(f'CVMFS_HTTP_PROXY="{SITE};http://{one};DIRECT"\n')
        worker.mount("atlas.cern.ch")
        directory.list(one)
        worker.run()
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.value == worker.talk.proxies("atlas.cern.ch") == f"http://{one};{SITE};DIRECT"


def test_a_repository_with_proxies_of_its_own_is_left_with_them(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    """Squids that may not reach its servers would end all its I/O."""
    caplog.set_level(logging.INFO)
    worker.local.write_text("CVMFS_HTTP_PROXY=DIRECT\n")
    file = put(worker, "config.d/private.site.test.local", "CVMFS_HTTP_PROXY=DIRECT\n")
    worker.mount("private.site.test", "DIRECT")
    worker.mount("atlas.cern.ch", "DIRECT")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.talk.proxies("private.site.test") == "DIRECT"
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one};DIRECT"
    assert f"private.site.test: {file} sets CVMFS_HTTP_PROXY to 'DIRECT'" in caplog.text


def test_a_repository_that_was_set_otherwise_gets_the_proxies_of_its_own_back(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.mount("private.site.test", f"http://{one}")
        put(worker, "domain.d/site.test.local", "CVMFS_HTTP_PROXY=DIRECT\n")
        worker.run()
    assert worker.talk.proxies("private.site.test") == "DIRECT"


def test_what_a_domain_adds_to_all_is_added_to_ours_though_default_local_overrides_them(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.local.write_text(f"CVMFS_HTTP_PROXY={SITE}\n")
    put(worker, "domain.d/cern.ch.conf", 'CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY};DIRECT"\n')
    worker.mount("atlas.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one};{SITE};DIRECT"


@pytest.mark.parametrize("name", ["domain.d/cern.ch.local", "config.d/atlas.cern.ch.local"])
def test_a_block_in_the_file_of_a_domain_or_repository_has_its_proxies_behind_ours(
    worker: Worker, directory: parts.Directory, name: str
) -> None:
    worker.local.write_text("CVMFS_HTTP_PROXY=DIRECT\n")
    file = put(worker, name, f'CVMFS_HTTP_PROXY="{SITE};http://backup.test:3128"\n')
    worker.set(cvmfs_blocks=(file,))
    worker.mount("atlas.cern.ch")
    worker.mount("lhcb.other.test")
    with parts.squid() as one:
        directory.list(one)
        worker.run(dry_run=True)
        chain = f"http://{one};{SITE};http://backup.test:3128"
        assert f"atlas.cern.ch proxy set '{chain}'" in worker.printed
        assert worker.run() is ExitCode.CHANGED
        assert worker.run() is ExitCode.UNCHANGED
    assert next_mount(worker) == worker.talk.proxies("atlas.cern.ch") == chain
    assert worker.talk.proxies("lhcb.other.test") == f"http://{one};DIRECT"


def test_proxies_for_external_data_have_their_own_behind_ours(
    worker: Worker, directory: parts.Directory
) -> None:
    put(
        worker,
        "default.d/50-site.conf",
        f'CVMFS_HTTP_PROXY="{SITE}"\nCVMFS_EXTERNAL_HTTP_PROXY="http://ext.test:3128;DIRECT"\n',
    )
    worker.set(external_data=True)
    worker.mount("atlas.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    external = f"http://{one};http://ext.test:3128;DIRECT"
    assert worker.talk.proxies("atlas.cern.ch") == next_mount(worker) == f"http://{one};{SITE}"
    assert worker.talk.external("atlas.cern.ch") == external
    assert next_mount(worker, parameter="CVMFS_EXTERNAL_HTTP_PROXY") == external


def test_proxies_for_external_data_that_default_local_sets_come_behind_ours_in_mounts(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.local.write_text(f"CVMFS_HTTP_PROXY={SITE}\nCVMFS_EXTERNAL_HTTP_PROXY=DIRECT\n")
    worker.set(external_data=True)
    worker.mount("atlas.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.talk.external("atlas.cern.ch") == f"http://{one};DIRECT"


def test_own_proxies_of_the_settings_stand_in_place_of_those_of_the_files(
    worker: Worker, directory: parts.Directory
) -> None:
    file = put(worker, "domain.d/cern.ch.local", f"CVMFS_HTTP_PROXY={SITE}\n")
    worker.set(cvmfs_blocks=(file,), default_proxy=ProxyList.parse("http://own.test:3128"))
    worker.mount("atlas.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one};http://own.test:3128"


@pytest.fixture
def slow_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that say `sleep` take a shell too long."""
    honest = shell.parameters

    def parameters(text: bytes, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
        if b"sleep" in text:
            raise shell.NotEvaluated("does not end within 5 s in a shell")
        return honest(text, directory, environ)

    monkeypatch.setattr(shell, "parameters", parameters)


@pytest.mark.usefixtures("slow_files")
def test_while_files_cannot_be_evaluated_nothing_is_written_that_would_lose_what_they_say(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.local.write_text(f"CVMFS_HTTP_PROXY=$(sleep 30; echo {SITE})\n")
    worker.mount("atlas.cern.ch", SITE)
    worker.environ["FRONTIER_SERVER"] = "(serverurl=http://frontier.test:8000/atlr)"
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
        assert worker.run(frontier=True) is ExitCode.CHANGED
    assert not worker.config.exists()
    assert worker.talk.proxies("atlas.cern.ch") == SITE
    assert f"the configuration of cvmfs stays as it is: {worker.local} does not end" in caplog.text
    assert worker.printed == f"{worker.environ['FRONTIER_SERVER']}(proxyurl=http://{one})\n"


@pytest.mark.usefixtures("slow_files")
def test_a_repository_whose_own_file_cannot_be_evaluated_stays_as_it_is(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    file = put(worker, "config.d/private.site.test.local", "CVMFS_HTTP_PROXY=$(sleep 30)\n")
    worker.set(cvmfs_blocks=(file,))
    worker.mount("private.site.test", SITE)
    worker.mount("atlas.cern.ch", SITE)
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
    assert worker.talk.proxies("private.site.test") == SITE
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one}"
    assert "private.site.test stays as it is: " in caplog.text
    assert f"[cvmfs] blocks_in: {file} stays as it is: {file} does not end within" in caplog.text
    assert worker.value == f"http://{one}"


@pytest.mark.parametrize("text", ["CVMFS_HTTP_PROXY=\n", "CVMFS_HTTP_PROXY='$(id)'\n"])
def test_a_repository_whose_own_file_says_nothing_usable_stays_as_it_is(
    worker: Worker, directory: parts.Directory, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(worker, "config.d/private.site.test.local", text)
    worker.mount("private.site.test", SITE)
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
    assert worker.talk.proxies("private.site.test") == SITE
    assert "private.site.test stays as it is: " in caplog.text


def test_a_file_of_which_cvmfs_gets_nothing_is_told_and_holds_nothing_up(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.local.write_text(f'CVMFS_HTTP_PROXY="{SITE}\n')
    worker.mount("atlas.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one}"
    assert f"{worker.local} is nothing that a shell reads to its end" in caplog.text


def test_what_an_earlier_run_wrote_elsewhere_is_nobodys_default(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        worker.set(cvmfs_config=worker.config.with_name("70-shoal.conf"), cvmfs_blocks=(worker.local,))
        worker.run()
    assert administrator.defaults(worker.settings) == administrator.Defaults()


def test_what_the_files_for_all_say_of_external_data_is_asked_once_however_many_repositories_are_mounted(
    worker: Worker, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(worker, "default.d/50-site.conf", "CVMFS_EXTERNAL_HTTP_PROXY=http://ext.test:3128\n")
    worker.set(external_data=True)
    asked: list[str] = []
    honest = administrator.defaults

    def defaults(*arguments: Any) -> administrator.Defaults:
        asked.append(arguments[1] if len(arguments) > 1 else "CVMFS_HTTP_PROXY")
        return honest(*arguments)

    monkeypatch.setattr(administrator, "defaults", defaults)
    for name in ("atlas", "cms", "lhcb"):
        worker.mount(f"{name}.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert asked == ["CVMFS_HTTP_PROXY", "CVMFS_EXTERNAL_HTTP_PROXY"]
    assert worker.talk.external("lhcb.cern.ch") == f"http://{one};http://ext.test:3128"
