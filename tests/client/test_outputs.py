"""Several outputs at once, each on its own."""

import json
import os
import stat
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from shoal_client import cms, cvmfs, formats
from shoal_client.actions import ExitCode
from shoal_client.settings import ClientSettings, PacSite
from shoal_common.proxylist import ProxyList
from tests.client import parts
from tests.client.conftest import Worker
from tests.client.test_cms import FILE, proxies
from tests.client.test_formats import evaluated, shell_says

SERVERS = "(serverurl=http://frontier.test:8000/atlr)"


def everything(worker: Worker) -> dict[str, Any]:
    """Every output that there is, with the files that must exist before."""
    root = worker.root
    (root / "site-local-config.xml").write_bytes(FILE)
    (worker.settings.cvmfs_directory / "domain.d").mkdir(exist_ok=True)
    worker.local.write_text("CVMFS_QUOTA_LIMIT=20000\n")
    return {
        "cvmfs_blocks": (worker.local, worker.settings.cvmfs_directory / "domain.d" / "cern.ch.local"),
        "frontier_server": SERVERS,
        "frontier_file": root / "frontier.sh",
        "site_local_config": root / "site-local-config.xml",
        "pac_file": root / "wpad.dat",
        "json_file": root / "shoal.json",
        "http_proxy_file": root / "proxy.env",
        "configmap_file": root / "configmap.json",
    }


def written(worker: Worker) -> dict[Path, int]:
    """Every file but those of the client's memory; the number changes when one is replaced."""
    found = [path for path in worker.root.rglob("*") if path.is_file()]
    return {path: path.stat().st_ino for path in found if path.parent != worker.settings.state_dir}


def test_every_output_is_written_by_one_run_and_not_touched_by_the_next(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.set(**everything(worker), external_data=True)
    worker.mount("atlas.cern.ch")
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        assert worker.run() is ExitCode.CHANGED
        before = written(worker)
        assert worker.run() is ExitCode.UNCHANGED
    chain = f"http://{one};http://{two}"
    set_both = f'CVMFS_HTTP_PROXY="{chain}"\nCVMFS_EXTERNAL_HTTP_PROXY="{chain}"\n'
    assert written(worker) == before
    assert worker.config.read_text() == f"{cvmfs.HEADER}\n{set_both}"
    block = f"{cvmfs.BLOCK_START}\n{set_both}{cvmfs.BLOCK_END}\n"
    assert worker.local.read_text() == f"CVMFS_QUOTA_LIMIT=20000\n{block}"
    assert (worker.settings.cvmfs_blocks[1]).read_text() == block
    assert worker.talk.external("atlas.cern.ch") == worker.talk.proxies("atlas.cern.ch") == chain
    assert evaluated((worker.root / "wpad.dat").read_bytes()) == f"PROXY http://{one}; PROXY http://{two}"
    assert json.loads((worker.root / "shoal.json").read_text())["cvmfs_http_proxy"] == chain
    assert (worker.root / "proxy.env").read_text().endswith(f'\nhttp_proxy="http://{one}"\n')
    manifest = json.loads((worker.root / "configmap.json").read_text())
    assert manifest["data"]["60-shoal.conf"] == worker.config.read_text()
    given = f"{SERVERS}(proxyurl=http://{one})(proxyurl=http://{two})"
    assert shell_says(worker.root / "frontier.sh", "FRONTIER_SERVER") == f"X={given}\n".encode()
    xml = (worker.root / "site-local-config.xml").read_bytes()
    assert proxies(xml)[:2] == [f"http://{one}", f"http://{two}"]
    assert f"cvmfs unchanged: {chain} (2 of 2 candidates good); frontier unchanged" in worker.summary


def test_squids_for_frontier_are_tested_with_the_sites_own_servers(
    worker: Worker, directory: parts.Directory
) -> None:
    (worker.root / "x.xml").write_bytes(FILE)
    worker.set(write_cvmfs=False, set_live=False, site_local_config=worker.root / "x.xml")
    asked: list[str] = []
    with parts.squid(asked=asked) as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
    assert [path.partition("/Frontier/")[0] for path in asked] == ["http://frontier.test:8000/FrontierInt"]


def test_without_any_output_nothing_is_asked(worker: Worker, directory: parts.Directory) -> None:
    worker.set(write_cvmfs=False, set_live=False)
    assert worker.run() is ExitCode.UNCHANGED
    assert directory.paths == []
    assert worker.summary == "nothing is configured to be written"


def test_one_output_that_fails_does_not_keep_the_others_from_being_written(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.set(**everything(worker))
    (worker.root / "wpad.dat").write_text("function FindProxyForURL(url, host) { return 'DIRECT'; }\n")
    (worker.root / "site-local-config.xml").write_text("<broken")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
    assert worker.value == f"http://{one}"
    assert (worker.root / "shoal.json").exists()
    assert (worker.root / "frontier.sh").exists()
    assert "wpad.dat was not written by shoal-client" in caplog.text
    assert "site-local-config.xml is no XML" in caplog.text


def test_an_output_that_is_no_regular_file_is_told_with_its_key_and_never_waited_for(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    pipe, other, device, folder = (worker.root / name for name in ("pipe", "other", "device", "folder"))
    os.mkfifo(pipe)
    os.mkfifo(other)
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a null device of our own
    except PermissionError:
        os.mkfifo(device)
    folder.mkdir()
    worker.set(json_file=device, pac_file=pipe, site_local_config=other, cvmfs_blocks=(folder,))
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
        assert worker.run(dry_run=True) is ExitCode.FAILED
        directory.status = 500
        assert worker.run() is ExitCode.FAILED
    for key, path in (
        ("[files] json_file", device),
        ("[files] pac_file", pipe),
        ("[frontier] site_local_config", other),
        ("[cvmfs] blocks_in", folder),
    ):
        assert f"{key}: {path}: no regular file, left as it is" in caplog.text
    assert worker.value == f"http://{one}"
    assert not any(path.is_file() for path in (pipe, other, device, folder))


def test_dry_run_shows_a_diff_of_every_output(worker: Worker, directory: parts.Directory) -> None:
    worker.set(**everything(worker), reload_command="cvmfs_config reload")
    before = {path: path.read_bytes() for path in worker.root.rglob("*") if path.is_file()}
    with parts.squid() as one:
        directory.list(one)
        assert worker.run(dry_run=True) is ExitCode.CHANGED
    after = {path: path.read_bytes() for path in worker.root.rglob("*") if path.is_file()}
    assert after == before
    assert worker.printed.count("\n+++ ") == 9
    assert "\ncvmfs_config reload\n" in worker.printed
    assert f'+\t<proxy url="http://{one}"/>' in worker.printed


def test_with_the_server_away_only_outputs_that_are_missing_are_written(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        worker.set(json_file=worker.root / "shoal.json")
        before = worker.config.stat().st_ino
        directory.status = 500
        assert worker.run() is ExitCode.KEPT
    assert worker.config.stat().st_ino == before
    assert json.loads((worker.root / "shoal.json").read_text())["groups"] == [[f"http://{one}"]]
    assert worker.summary == f"cvmfs kept: http://{one} (1 of 1 candidates good)"


def reloading(worker: Worker, script: str) -> Path:
    """A `cvmfs_config` in the worker's PATH that notes its calls."""
    program = worker.root / "reload"
    program.write_text(f'#!/bin/sh\necho "$@" >> {worker.root}/reloads\n{script}\n')
    program.chmod(0o755)
    worker.set(reload_command=f"{program} reload 'atlas.cern.ch'")
    return worker.root / "reloads"


def test_a_reload_happens_only_if_asked_for_and_only_after_a_change(
    worker: Worker, directory: parts.Directory
) -> None:
    calls = reloading(worker, "exit 0")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        assert calls.read_text() == "reload atlas.cern.ch\n"
        worker.run()
    assert calls.read_text() == "reload atlas.cern.ch\n"


def test_a_reload_that_fails_is_told(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    reloading(worker, "echo no luck; exit 3")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
        worker.config.unlink()
        worker.set(reload_command="/nowhere/cvmfs_config reload")
        assert worker.run() is ExitCode.FAILED
    assert "ended with 3: no luck" in caplog.text
    assert "No such file" in caplog.text


def test_an_unusual_frontier_string_is_told_and_nothing_written(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.set(
        write_cvmfs=False, set_live=False, frontier_file=worker.root / "f.sh", frontier_server="(broken"
    )
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
        worker.set(frontier_server="")
        assert worker.run() is ExitCode.FAILED
    assert not (worker.root / "f.sh").exists()
    assert "not balanced" in caplog.text
    assert "needs [frontier] string" in caplog.text


def test_a_pac_first_site_can_have_its_pac_file_replaced(worker: Worker, directory: parts.Directory) -> None:
    worker.environ["FRONTIER_SERVER"] = f"{SERVERS}(proxyconfigurl=http://grid-wpad/wpad.dat)"
    worker.set(frontier_pac=PacSite.REPLACE)
    with parts.squid() as one:
        directory.list(one)
        worker.run(frontier=True)
    assert worker.printed == f"{SERVERS}(proxyurl=http://{one})\n"


def test_proxies_in_the_environment_leave_room_for_fewer(worker: Worker, directory: parts.Directory) -> None:
    worker.environ["FRONTIER_SERVER"] = SERVERS
    worker.environ |= {f"FRONTIER_PROXY{number}": "http://e.test:3128" for number in range(1, 24)}
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        worker.run(frontier=True)
    assert worker.printed == f"{SERVERS}(proxyurl=http://{one})\n"


def test_why_each_candidate_was_taken_or_not_is_explained(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one, parts.serve(parts.denying) as bad:
        directory.list(one, bad)
        worker.run(explain=True)
    taken, refused = worker.explained.splitlines()
    assert taken.startswith(f"# http://{one} taken: listed by the server, good in ")
    assert refused == f"# http://{bad} not taken: refused with 403 ERR_ACCESS_DENIED"


def test_squids_of_a_server_without_kilometres_are_not_grouped(
    worker: Worker, directory: parts.Directory
) -> None:
    directory.distance = ""
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two, distance=0.01)
        worker.run()
    assert worker.value == f"http://{one};http://{two}"


def test_the_squids_in_use_are_told_to_the_server(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        worker.run()
    assert directory.paths == ["/nearest/7/", f"/nearest/7/?keep={one}"]


def test_a_draining_squid_that_a_server_goes_on_telling_of_stays(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as draining, parts.squid() as other:
        worker.set(squids=1)
        directory.list(draining)
        worker.run()
        directory.list(other, draining)
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.value == f"http://{draining}"


def test_every_file_that_can_be_written_is_off_by_default() -> None:
    chosen = {field.name: field.default for field in fields(ClientSettings) if field.name.endswith("_file")}
    assert chosen == dict.fromkeys(chosen)
    assert ClientSettings().site_local_config is None
    assert ClientSettings().cvmfs_blocks == ()


def test_what_is_written_can_be_told_apart_from_what_is_not_ours(tmp_path: Path) -> None:
    chain = ProxyList.parse("http://192.0.2.1:3128")
    for document in (
        cvmfs.own_file(tmp_path / "a", chain),
        cvmfs.block_in(tmp_path / "b", chain),
        formats.http_proxy(tmp_path / "c", chain),
    ):
        assert not document.written
        document.write()
        assert document.written
    (tmp_path / "x.xml").write_bytes(FILE)
    document = cms.site_local_config(tmp_path / "x.xml", chain, chain)
    assert not document.written
    document.write()
    assert document.written


def test_a_login_shell_without_home_gets_what_was_written(worker: Worker, directory: parts.Directory) -> None:
    worker.set(frontier_file=worker.root / "frontier.sh", frontier_server=SERVERS)
    with parts.squid() as place:
        directory.list(place)
        worker.run()
    script = f'. {worker.root}/frontier.sh && printf %s "$FRONTIER_SERVER"'
    done = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{SERVERS}(proxyurl=http://{place})"
