"""A site that would rather use what it has, or go direct, than use a far squid: `farthest`."""

import time

import pytest

from shoal_client.actions import ExitCode
from shoal_client.candidates import TWO_RUNS
from shoal_common.hosts import HostPort
from shoal_common.listing import encode
from shoal_common.proxylist import ProxyList
from tests.client import parts
from tests.client.conftest import Worker
from tests.client.test_discover import free_udp_port
from tests.client.test_doctor import examine
from tests.client.test_gather import announcing

CDN = "DIRECT"
SITE = "http://site.test:3128;DIRECT"
REPOSITORY = "atlas.cern.ch"


@pytest.fixture
def limited(worker: Worker) -> Worker:
    worker.set(farthest=1000.0, default_proxy=ProxyList.parse(CDN))
    return worker


def test_a_far_squid_is_used_where_nothing_limits_it(worker: Worker, directory: parts.Directory) -> None:
    worker.set(default_proxy=ProxyList.parse(CDN))
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        worker.run()
    assert worker.value == f"http://{far};DIRECT"


def test_direct_comes_in_the_place_of_a_far_squid(limited: Worker, directory: parts.Directory) -> None:
    limited.mount(REPOSITORY, "http://old.test:3128")
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        assert limited.run(explain=True) is ExitCode.CHANGED
        assert limited.value == CDN
        assert limited.talk.proxies(REPOSITORY) == CDN
        assert "good, but farther away than 1000 km: your own proxies are used" in limited.explained
        assert limited.summary == "cvmfs changed: DIRECT (1 of 1 candidates good)"
        assert limited.run() is ExitCode.UNCHANGED


def test_near_squids_come_first_and_no_far_one_is_the_second_failure_domain(
    limited: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as near, parts.squid() as far:
        directory.body = encode([parts.listed(near, distance=900.0), parts.listed(far, distance=1100.0)])
        limited.run()
    assert limited.value == f"http://{near};DIRECT"


def test_fees_are_no_way(limited: Worker, directory: parts.Directory) -> None:
    with parts.squid() as full:
        directory.list(full, distance=200_300.0)
        limited.run()
    assert limited.value == f"http://{full};DIRECT"


def test_whoever_has_no_proxies_of_his_own_uses_a_far_squid(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.set(farthest=1000.0)
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{far}"


def test_a_far_squid_in_use_is_left_when_a_limit_is_set(worker: Worker, directory: parts.Directory) -> None:
    worker.set(default_proxy=ProxyList.parse(CDN))
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        worker.run()
        worker.set(farthest=1000.0)
        assert worker.run() is ExitCode.CHANGED
    assert worker.value == CDN


def test_a_near_squid_that_a_server_no_longer_lists_is_left_when_that_has_lasted(
    limited: Worker, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parts.squid() as near, parts.squid() as far:
        directory.list(near, distance=3.0)
        limited.run()
        directory.list(far, distance=5000.0)
        assert limited.run() is ExitCode.UNCHANGED
        assert limited.value == f"http://{near};DIRECT"
        later = time.time() + TWO_RUNS
        monkeypatch.setattr(time, "time", lambda: later)
        assert limited.run() is ExitCode.CHANGED
    assert limited.value == CDN


def test_a_far_squid_in_use_stays_while_no_server_answers(worker: Worker, directory: parts.Directory) -> None:
    worker.set(default_proxy=ProxyList.parse(CDN))
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        worker.run()
        worker.set(farthest=1000.0)
        directory.status = 503
        assert worker.run() is ExitCode.FAILED
    assert worker.value == f"http://{far};DIRECT"


def test_a_near_squid_is_left_when_it_is_dead_and_taken_again_when_it_is_back(
    limited: Worker, directory: parts.Directory
) -> None:
    def told(place: HostPort) -> str:
        directory.body = encode([parts.listed(place, distance=3.0), parts.listed(far, distance=5000.0)])
        limited.run()
        return limited.value

    with parts.squid() as far:
        with parts.squid() as near:
            assert told(near) == f"http://{near};DIRECT"
        assert told(near) == CDN
        with parts.squid() as near:
            assert told(near) == f"http://{near};DIRECT"


def test_what_default_local_puts_behind_ours_is_not_left_behind_nothing(
    worker: Worker, directory: parts.Directory
) -> None:
    """CVMFS would take the empty group of `;DIRECT` for a dead proxy."""
    worker.local.write_text('CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY};DIRECT"\n')
    worker.set(farthest=1000.0)
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        worker.run()
    assert worker.value == CDN


def test_every_output_gets_the_administrators_own_alone(worker: Worker, directory: parts.Directory) -> None:
    root = worker.root
    worker.set(
        farthest=1000.0,
        default_proxy=ProxyList.parse(SITE),
        pac_file=root / "proxy.pac",
        json_file=root / "proxies.json",
        http_proxy_file=root / "proxy.sh",
        configmap_file=root / "configmap.json",
        frontier_file=root / "frontier.sh",
        frontier_server="(serverurl=http://frontier.test:8000/atlr)",
    )
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        assert worker.run() is ExitCode.CHANGED
        outputs = "".join(path.read_text() for path in root.iterdir() if path.is_file())
        assert str(far) not in outputs
    assert "PROXY http://site.test:3128; DIRECT" in (root / "proxy.pac").read_text()
    assert "(proxyurl=http://site.test:3128)" in (root / "frontier.sh").read_text()
    assert 'http_proxy="http://site.test:3128"' in (root / "proxy.sh").read_text()


def test_direct_alone_is_no_http_proxy(limited: Worker, directory: parts.Directory) -> None:
    limited.set(http_proxy_file=limited.root / "proxy.sh")
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        assert limited.run() is ExitCode.CHANGED
    assert 'export http_proxy=""' in (limited.root / "proxy.sh").read_text()


def test_frontier_keeps_its_string_where_no_squid_is_near(
    limited: Worker, directory: parts.Directory, caplog: pytest.LogCaptureFixture
) -> None:
    server = limited.environ["FRONTIER_SERVER"] = "(serverurl=http://frontier.test:8000/atlr)"
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        assert limited.run(frontier=True) is ExitCode.UNCHANGED
    assert limited.printed == server + "\n"
    assert "no squid was found good" not in caplog.text


def test_the_lan_is_listened_to_where_all_that_servers_list_is_far(
    limited: Worker, directory: parts.Directory
) -> None:
    port = free_udp_port()
    limited.set(lan_wait=20.0, lan_port=port, squids=1)
    with parts.squid() as far, parts.squid() as lan, announcing(lan, port, after=0.3):
        directory.list(far, distance=5000.0)
        limited.run()
    assert limited.value == f"http://{lan};DIRECT"


def test_the_doctor_says_what_a_run_would_do(limited: Worker, directory: parts.Directory) -> None:
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        _, told = examine(limited)
    assert f"http://{far} not taken: good, but farther away than 1000 km: your own proxies are used" in told
    assert "a run would set: DIRECT\n" in told


def test_a_repository_that_goes_direct_since_no_squid_is_near_is_no_patient(
    limited: Worker, directory: parts.Directory
) -> None:
    limited.mount(REPOSITORY, "http://old.test:3128")
    with parts.squid() as far:
        directory.list(far, distance=5000.0)
        assert examine(limited)[0] is ExitCode.FAILED
        limited.run()
        code, told = examine(limited)
    assert code is ExitCode.UNCHANGED, told
    assert "  a run would leave it so\n" in told
    assert "trouble: no proxy" not in told
