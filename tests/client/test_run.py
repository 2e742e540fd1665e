"""Whole runs in this process, on real sockets and files."""

import errno
import fcntl
import logging
import os
import shlex
import time

import pytest

from shoal_client import discover
from shoal_client.actions import ExitCode
from shoal_client.settings import PacSite
from shoal_client.state import lock
from shoal_common.listing import encode
from shoal_common.proxylist import ProxyList
from tests.client import parts
from tests.client.conftest import Worker
from tests.client.test_discover import free_udp_port
from tests.client.test_gather import announcing

SERVERS = "(serverurl=http://frontier.test:8000/atlr)"


def snapshot(worker: Worker) -> dict[str, tuple[bytes, int]]:
    """Every file of the worker but the lock, with its time of change."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in worker.root.rglob("*")
        if path.is_file() and path.name not in ("cvmfs_talk.json", "lock")
    }


def identity(worker: Worker) -> tuple[int, int]:
    """Changes whenever the file is replaced or written to."""
    found = worker.config.stat()
    return found.st_ino, found.st_mtime_ns


def test_good_squids_are_written_in_the_servers_order(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one, parts.serve(parts.denying) as bad, parts.squid() as two:
        directory.list(one, bad, two)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{one};http://{two}"
    assert directory.paths == ["/nearest/7/"]


def test_nearby_squids_become_one_group(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one, parts.squid() as two:
        directory.body = encode([parts.listed(one, distance=3.0), parts.listed(two, distance=4.0)])
        worker.run()
    assert sorted(worker.value.split("|")) == sorted([f"http://{one}", f"http://{two}"])


def test_the_administrators_proxies_come_behind(worker: Worker, directory: parts.Directory) -> None:
    worker.local.write_text('CVMFS_HTTP_PROXY="http://site.test:3128;DIRECT"\n')
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.value == f"http://{one};http://site.test:3128;DIRECT"


def test_configured_defaults_replace_those_of_default_local(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.local.write_text('CVMFS_HTTP_PROXY="http://site.test:3128;DIRECT"\n')
    worker.set(default_proxy=ProxyList.parse("http://own.test:3128"))
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert worker.value == f"http://{one};http://own.test:3128"


def test_direct_is_not_put_where_nobody_asked_for_it(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert "DIRECT" not in worker.value


def test_a_second_run_changes_nothing(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        worker.run()
        before = identity(worker)
        directory.list(two, one)
        assert worker.run() is ExitCode.UNCHANGED
    assert identity(worker) == before


def test_a_worker_returns_to_what_the_server_prefers_for_a_quarter_of_an_hour(
    worker: Worker, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parts.squid() as one, parts.squid() as two:
        directory.body = encode([parts.listed(one, distance=300.0)])
        worker.set(squids=1)
        worker.run()
        directory.body = encode([parts.listed(two, distance=290.0), parts.listed(one, distance=300.0)])
        assert worker.run() is ExitCode.UNCHANGED
        later = time.time() + 900
        monkeypatch.setattr(time, "time", lambda: later)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{two}"


def test_near_squids_stay_while_a_server_that_has_just_started_lists_a_far_one_alone(
    worker: Worker, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parts.squid() as one, parts.squid() as two, parts.squid() as far:
        near = [parts.listed(one, distance=3.0), parts.listed(two, distance=4.0)]
        directory.body = encode(near)
        worker.run()
        before = worker.value
        start = time.time()
        for minutes, state in ((0, "ok"), (5, "ok"), (20, "deaf"), (25, "ok"), (35, "")):
            now = start + 60 * minutes
            monkeypatch.setattr(time, "time", lambda now=now: now)
            directory.body, directory.state = encode([parts.listed(far, distance=9000.0)]), state
            assert worker.run() is ExitCode.UNCHANGED
        assert worker.value == before
        monkeypatch.setattr(time, "time", lambda: start + 60 * 40)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{far}"


def test_a_squid_is_left_at_once_for_a_full_list_of_others_from_a_server_that_is_well(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.set(squids=1)
    with parts.squid() as one, parts.squid() as two:
        directory.list(one)
        worker.run()
        directory.list(two, *(parts.closed() for _ in range(5)))
        directory.state = ""
        assert worker.run() is ExitCode.UNCHANGED
        directory.state = "ok"
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{two}"


def test_a_dead_squid_is_replaced(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as two, parts.squid() as three:
        with parts.squid() as one:
            directory.list(one, two, three)
            worker.run()
            assert worker.value == f"http://{one};http://{two}"
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{two};http://{three}"


def test_a_file_that_was_removed_is_written_again(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        worker.config.unlink()
        worker.run()
    assert worker.value == f"http://{one}"


@pytest.mark.parametrize("squid_lives", [True, False])
def test_with_the_server_away_nothing_is_touched_and_that_is_said(
    worker: Worker, directory: parts.Directory, squid_lives: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run()
        before = snapshot(worker)
        directory.status = 500
        if squid_lives:
            assert worker.run() is ExitCode.KEPT
    if not squid_lives:
        assert worker.run() is ExitCode.FAILED
    assert snapshot(worker) == before
    assert "answered status 500" in caplog.text
    assert f"last good choice, 0 min ago: http://{one}" in caplog.text
    assert "stays as it is" in caplog.text


def test_at_the_first_boot_without_a_server_nothing_is_written(worker: Worker) -> None:
    assert worker.run() is ExitCode.FAILED
    assert not worker.config.exists()


def test_hostile_entries_are_refused_and_the_others_are_used(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        entry = {"hostname": "a.test", "squid_port": one.port, "public_ip": one.host, "private_ip": None}
        directory.list_raw({**entry, "public_ip": '127.0.0.1";touch /tmp/x;"'}, entry)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{one}"


def test_a_squid_heard_on_the_lan_is_used_when_no_server_answers(
    worker: Worker, directory: parts.Directory
) -> None:
    directory.status = 500
    worker.set(lan_wait=10.0, lan_port=free_udp_port(), squids=1)
    with parts.squid() as lan, announcing(lan, worker.settings.lan_port):
        assert worker.run() is ExitCode.CHANGED
        assert worker.value == f"http://{lan}"
        directory.status = 200
        directory.list(parts.closed())
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.value == f"http://{lan}"


@pytest.mark.parametrize("switched_off", ["by a flag", "by a setting"])
def test_a_squid_heard_in_an_earlier_run_is_not_used_when_the_lan_is_switched_off(
    worker: Worker, directory: parts.Directory, switched_off: str
) -> None:
    worker.set(lan_wait=10.0, lan_port=free_udp_port(), squids=1)
    with parts.squid() as one, parts.squid() as lan:
        directory.status = 500
        with announcing(lan, worker.settings.lan_port):
            worker.run()
        directory.status = 200
        directory.list(one)
        assert worker.run() is ExitCode.UNCHANGED
        assert worker.value == f"http://{lan}"
        if switched_off == "by a setting":
            worker.set(lan_wait=0.0)
        assert worker.run(skip_broadcast=switched_off == "by a flag") is ExitCode.CHANGED
    assert worker.value == f"http://{one}"


def test_a_squid_of_the_lan_is_used_while_it_announces_itself_and_left_an_hour_later(
    worker: Worker, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.set(lan_port=free_udp_port(), squids=1, grace=0.0)
    start = time.time()

    def run_after(minutes: int) -> ExitCode:
        monkeypatch.setattr(time, "time", lambda: start + 60 * minutes)
        return worker.run()

    with parts.squid() as one, parts.squid() as lan:
        directory.status = 500
        worker.set(lan_wait=10.0)
        with announcing(lan, worker.settings.lan_port):
            worker.run()
            worker.set(lan_wait=0.1)
            directory.status = 200
            directory.list(one, distance=300.0)
            assert [run_after(minutes) for minutes in (31, 62, 93)] == [ExitCode.UNCHANGED] * 3
        monkeypatch.setattr(discover, "PERIOD_SECONDS", 0.3)
        assert run_after(150) is ExitCode.UNCHANGED
        assert worker.value == f"http://{lan}"
        assert run_after(154) is ExitCode.CHANGED
    assert worker.value == f"http://{one}"


def test_mounted_repositories_are_set_once(worker: Worker, directory: parts.Directory) -> None:
    worker.mount("atlas.cern.ch")
    worker.mount("cms.cern.ch", "http://old.test:3128")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.talk.proxies("atlas.cern.ch") == worker.talk.proxies("cms.cern.ch") == f"http://{one}"
    assert [call[1] for call in worker.talk.calls if "set" in call] == ["atlas.cern.ch", "cms.cern.ch"]


def test_a_repository_that_does_not_take_the_proxies_is_told_by_the_exit_code(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.mount("atlas.cern.ch")
    worker.mount("gone.cern.ch")
    worker.talk.unmount("gone.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
    assert worker.talk.proxies("atlas.cern.ch") == f"http://{one}"
    assert "gone.cern.ch did not take the proxies" in caplog.text


def test_a_chain_too_long_for_cvmfs_talk_is_shortened_and_that_is_said(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.mount("atlas.cern.ch")
    worker.set(default_proxy=ProxyList.of([[f"http://default-{n:03}.site.test:3128"] for n in range(30)]))
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    live = worker.talk.proxies("atlas.cern.ch")
    assert worker.value.startswith(live + ";")
    assert live.startswith(f"http://{one};")
    assert "cvmfs_talk takes no longer list" in caplog.text


def test_an_override_is_told_when_the_file_changes(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.local.write_text("CVMFS_HTTP_PROXY=http://site.test:3128\n")
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert "default.local sets CVMFS_HTTP_PROXY after it" in caplog.text


def test_a_file_that_has_a_block_of_ours_overrides_nothing(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.local.write_text("CVMFS_HTTP_PROXY=http://site.test:3128\n")
    worker.set(cvmfs_blocks=(worker.local,))
    with parts.squid() as one:
        directory.list(one)
        worker.run()
    assert "no effect" not in caplog.text


def test_somebody_elses_file_is_left_alone(worker: Worker, directory: parts.Directory) -> None:
    worker.config.write_text("CVMFS_QUOTA_LIMIT=20000\n")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.FAILED
    assert worker.config.read_text() == "CVMFS_QUOTA_LIMIT=20000\n"


def test_a_state_directory_that_cannot_be_used_is_a_warning(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    (worker.root / "file").touch()
    worker.set(state_dir=worker.root / "file")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{one}"
    assert "nothing is remembered" in caplog.text


def test_a_damaged_state_is_a_warning(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.settings.state_dir.mkdir()
    (worker.settings.state_dir / "cvmfs.json").write_text("{")
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
    assert "damaged" in caplog.text


def test_a_run_beside_another_leaves_it_the_work(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.set(probe_deadline=0.1)
    worker.settings.state_dir.mkdir()
    with lock(worker.settings.state_dir, 0.0):
        assert worker.run() is ExitCode.UNCHANGED
    assert directory.paths == []
    assert "another run" in caplog.text


def test_a_run_goes_on_where_the_file_system_has_no_locks(
    worker: Worker,
    directory: parts.Directory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with parts.squid() as one:
        directory.list(one)
        assert worker.run() is ExitCode.CHANGED
    assert "going on without a lock: its file system has none: No locks available" in caplog.text


def test_a_run_that_another_one_holds_up_for_more_than_an_hour_fails_and_says_which(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.set(probe_deadline=0.1)
    worker.settings.state_dir.mkdir()
    with lock(worker.settings.state_dir, 0.0):
        os.utime(worker.settings.state_dir / "lock", (978310861, 978310861))
        assert worker.run() is ExitCode.FAILED
    told = f"another run of shoal-client (process {os.getpid()}) is at work since 2001-01-01 01:01:01 UTC"
    assert told in caplog.text
    assert told in worker.summary


def test_dry_run_shows_a_diff_and_commands_and_touches_nothing(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.mount("atlas.cern.ch")
    with parts.squid() as one, parts.squid() as two:
        directory.list(one)
        worker.run()
        worker.mount("cms.cern.ch")
        before = snapshot(worker)
        directory.list(one, two)
        assert worker.run(dry_run=True) is ExitCode.CHANGED
    assert snapshot(worker) == before
    assert worker.talk.proxies("cms.cern.ch") == "DIRECT"
    assert (
        f'-CVMFS_HTTP_PROXY="http://{one}"\n+CVMFS_HTTP_PROXY="http://{one};http://{two}"\n' in worker.printed
    )
    command = [worker.settings.cvmfs_talk, "-i", "cms.cern.ch", "proxy", "set", f"http://{one};http://{two}"]
    assert shlex.join(command) in worker.printed.splitlines()


def test_dry_run_makes_no_state_directory(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        worker.run(dry_run=True)
    assert not worker.settings.state_dir.exists()
    assert not worker.config.exists()


def test_dump_prints_the_chain_in_double_quotes(worker: Worker, directory: parts.Directory) -> None:
    worker.set(default_proxy=ProxyList.parse("DIRECT"))
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        assert worker.run(dump=True) is ExitCode.UNCHANGED
    assert worker.printed == f'"http://{one};http://{two};DIRECT"\n'
    assert not worker.config.exists()


def test_dump_of_nothing_good_shows_the_defaults(worker: Worker, directory: parts.Directory) -> None:
    worker.set(default_proxy=ProxyList.parse("http://own.test:3128"))
    directory.list(parts.closed())
    assert worker.run(dump=True) is ExitCode.FAILED
    assert worker.printed == '"http://own.test:3128"\n'


def test_frontier_is_tested_with_a_real_query_to_its_own_servers(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.environ["FRONTIER_SERVER"] = f"{SERVERS}(proxyurl=http://site.test:3128)"
    asked: list[str] = []
    with parts.squid(asked=asked) as one:
        directory.list(one)
        assert worker.run(frontier=True) is ExitCode.CHANGED
    assert worker.printed == f"{SERVERS}(proxyurl=http://{one})(proxyurl=http://site.test:3128)\n"
    assert asked[0].startswith("http://frontier.test:8000/atlr/Frontier/type=frontier_request")
    assert not worker.config.exists()


def test_frontier_on_a_pac_first_site_gets_its_proxies_at_the_end(
    worker: Worker, directory: parts.Directory
) -> None:
    site = f"{SERVERS}(proxyconfigurl=http://grid-wpad/wpad.dat)(proxyconfigurl=http://lhchomeproxy.cern.ch/wpad.dat)"
    worker.environ["FRONTIER_SERVER"] = site
    with parts.squid() as one:
        directory.list(one)
        worker.run(frontier=True)
    assert worker.printed == f"{site}(proxyurl=http://{one})\n"


def test_frontier_without_a_server_url_is_tested_with_cvmfs(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.environ["FRONTIER_SERVER"] = "(serverurl=https://frontier.test/atlr)"
    asked: list[str] = []
    with parts.squid(asked=asked) as one:
        directory.list(one)
        worker.run(frontier=True)
    assert asked == [parts.URL]


def test_frontier_dump_prints_the_proxies_alone(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        assert worker.run(frontier=True, dump=True) is ExitCode.UNCHANGED
    assert worker.printed == f'"(proxyurl=http://{one})(proxyurl=http://{two})"\n'


@pytest.mark.parametrize("given", [SERVERS, "(broken", "nonsense", "(serverurl=http://a.test/x)\n(x=y)"])
def test_frontier_in_trouble_prints_what_it_was_given(
    worker: Worker, directory: parts.Directory, given: str
) -> None:
    worker.environ["FRONTIER_SERVER"] = given
    directory.status = 500
    assert worker.run(frontier=True) is ExitCode.UNCHANGED
    assert worker.printed == given + "\n"


@pytest.mark.parametrize("told", ["", "(loadbalance=proxies)"])
def test_frontier_takes_no_far_squid_for_an_equal_of_the_near_ones(
    worker: Worker, directory: parts.Directory, told: str
) -> None:
    worker.environ["FRONTIER_SERVER"] = SERVERS + told
    worker.set(squids=3)
    geneva, lyon = ({"latitude": 46.2, "longitude": 6.1}, {"latitude": 45.8, "longitude": 4.8})
    with parts.squid() as one, parts.squid() as two, parts.squid() as far:
        directory.body = encode(
            [
                parts.listed(one, distance=3.0, geo=geneva),
                parts.listed(two, distance=60.0, geo=geneva),
                parts.listed(far, distance=112.0, geo=lyon),
            ]
        )
        worker.run(frontier=True)
    near = f"{SERVERS}{told}(proxyurl=http://{one})(proxyurl=http://{two})"
    assert worker.printed == near + ("" if told else f"(proxyurl=http://{far})") + "\n"


def test_frontier_in_trouble_gets_the_administrators_own_proxies(
    worker: Worker, directory: parts.Directory
) -> None:
    site = f"{SERVERS}(proxyconfigurl=http://grid-wpad/wpad.dat)"
    worker.environ["FRONTIER_SERVER"] = site
    worker.set(default_proxy=ProxyList.parse("http://own.test:3128;DIRECT"), frontier_pac=PacSite.REPLACE)
    directory.status = 500
    assert worker.run(frontier=True) is ExitCode.CHANGED
    assert worker.printed == f"{site}(proxyurl=http://own.test:3128)\n"


def test_an_invalid_frontier_server_is_printed_as_it_was(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    worker.environ["FRONTIER_SERVER"] = "(serverurl=http://a.test/x"
    with parts.squid() as one:
        directory.list(one)
        assert worker.run(frontier=True) is ExitCode.UNCHANGED
    assert worker.printed == "(serverurl=http://a.test/x\n"
    assert "parentheses are not balanced" in caplog.text


def test_frontier_without_frontier_server_prints_nothing(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        assert worker.run(frontier=True) is ExitCode.FAILED
    assert worker.printed == ""


def test_frontier_uses_what_it_remembers_when_the_server_is_away(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.environ["FRONTIER_SERVER"] = SERVERS
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        worker.run(frontier=True)
        directory.status = 500
        assert worker.run(frontier=True) is ExitCode.CHANGED
    assert worker.printed == f"{SERVERS}(proxyurl=http://{one})(proxyurl=http://{two})\n"


def test_every_candidates_fate_is_logged(
    worker: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    with parts.squid() as one, parts.serve(parts.captive) as bad, caplog.at_level(logging.INFO):
        directory.list(one, bad)
        worker.run()
    assert f"http://{one} taken: listed by the server, good in" in caplog.text
    assert f"http://{bad} not taken: the answer is no .cvmfspublished" in caplog.text
