"""Real squids in front of real origins, each with one fault."""

import json
import subprocess
import sys

import pytest

from shoal_client import choice
from shoal_client.actions import ExitCode
from shoal_client.candidates import Candidate, Source
from shoal_client.gather import Plan, gather
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.listing import encode
from shoal_common.probe import Outcome, Target, probe
from testbed.origin import Fault, Origin
from testbed.process import ROOT
from testbed.squid import Squid
from tests.client import parts
from tests.client.conftest import Worker
from tests.conftest import StartSquid

MANIFEST, WHITELIST = ".cvmfspublished", ".cvmfswhitelist"


def at(squid: Squid) -> HostPort:
    return HostPort(squid.address, squid.port)


def url(origin: Origin, name: str = MANIFEST) -> str:
    return f"http://stratum-one.test:{origin.port}/cvmfs/atlas.cern.ch/{name}"


@pytest.mark.parametrize(
    ("fault", "name", "outcome", "reason"),
    [
        (Fault.NONE, MANIFEST, Outcome.GOOD, "served"),
        (Fault.DOWN, MANIFEST, Outcome.UPSTREAM, "could not fetch from the origin: 502 ERR_"),
        (Fault.ERROR, MANIFEST, Outcome.WRONG, "answered status 500"),
        (Fault.FORBIDDEN, MANIFEST, Outcome.DENIED, "refused with 403"),
        (Fault.CAPTIVE, MANIFEST, Outcome.WRONG, "the answer is no .cvmfspublished"),
        (Fault.FOREIGN, MANIFEST, Outcome.WRONG, "the answer is no .cvmfspublished"),
        (Fault.STALE, WHITELIST, Outcome.WRONG, "has expired"),
    ],
)
def test_a_fault_is_found_and_the_worker_left_as_it_was(
    worker: Worker,
    directory: parts.Directory,
    origin: Origin,
    start_squid: StartSquid,
    fault: Fault,
    name: str,
    outcome: Outcome,
    reason: str,
) -> None:
    squid = start_squid(hosts={"stratum-one.test": origin.host})
    origin.set_fault(fault)
    worker.set(probe_urls=(url(origin, name),))
    directory.list(at(squid))
    code = worker.run(explain=True)
    good = outcome is Outcome.GOOD
    assert code is (ExitCode.CHANGED if good else ExitCode.FAILED)
    assert worker.config.exists() is good
    if not good:
        assert f"# {squid.url} not taken: {reason}" in worker.explained or reason in worker.explained


def test_a_squid_that_has_to_fetch_everything_over_a_slow_way_comes_last(
    worker: Worker, directory: parts.Directory, start_squid: StartSquid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "SLUGGISH_SECONDS", 0.5)
    monkeypatch.setattr(choice, "SLUGGISH_TIMES", 1.5)
    with Origin() as slow, Origin() as fast:
        slow.set_fault(Fault.SLOW, rate=250)
        squids = [
            start_squid(
                hosts={"stratum-one.test": host.host},
                extra=["cache deny all", *redirected(slow.port, host.port)],
            )
            for host in (slow, fast)
        ]
        worker.set(probe_urls=(url(slow),))
        directory.list(*map(at, squids))
        assert worker.run(explain=True) is ExitCode.CHANGED
    assert worker.value == f"{squids[1].url};{squids[0].url}"


def test_squids_in_use_whose_manifest_has_just_expired_are_not_left_for_a_far_one_that_has_it(
    worker: Worker,
    directory: parts.Directory,
    origin: Origin,
    start_squid: StartSquid,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "SLUGGISH_SECONDS", 0.5)
    monkeypatch.setattr(choice, "IN_USE_TIMES", 1.0)
    near, nearer, far = (at(start_squid(hosts={"stratum-one.test": origin.host})) for _ in range(3))
    listed = [parts.listed(place, distance=km) for place, km in ((near, 4.0), (nearer, 3.0), (far, 400.0))]
    directory.body = encode(listed)
    worker.set(probe_urls=(url(origin),))
    worker.run()
    before = worker.value
    other = url(origin).replace("atlas", "cms")
    assert probe(far, Target.cvmfs(other), timeout=20.0).good
    origin.set_fault(Fault.SLOW, rate=500)
    worker.set(probe_urls=(other,))
    assert worker.run(explain=True) is ExitCode.UNCHANGED
    assert worker.value == before


def redirected(asked: int, port: int) -> list[str]:
    """Lines of squid.conf that fetch what is asked of one port of the origin's host from another."""
    if asked == port:
        return []
    return [
        f"cache_peer 127.0.0.1 parent {port} 0 no-query originserver name=other",
        "never_direct allow all",
    ]


def test_a_squid_that_serves_what_others_have_long_replaced_comes_last(
    worker: Worker, directory: parts.Directory, start_squid: StartSquid
) -> None:
    with Origin() as stale, Origin() as fresh:
        stale.set_fault(Fault.STALE)
        fresh.now = fresh.now.replace(year=fresh.now.year - 1)
        stale.now = fresh.now
        squids = [
            start_squid(hosts={"stratum-one.test": host.host}, extra=redirected(stale.port, host.port))
            for host in (stale, fresh)
        ]
        worker.set(probe_urls=(url(stale),))
        directory.list(*map(at, squids))
        worker.run(explain=True)
    assert worker.value == f"{squids[1].url};{squids[0].url}"


def test_a_dead_squid_and_a_frozen_one_are_left_out(
    worker: Worker, directory: parts.Directory, origin: Origin, start_squid: StartSquid
) -> None:
    squids = [start_squid(hosts={"stratum-one.test": origin.host}) for _ in range(3)]
    dead, frozen, good = squids
    worker.set(probe_urls=(url(origin),), squids=1, grace=0.0)
    directory.list(*map(at, squids))
    dead.kill()
    frozen.pause()
    assert worker.run(explain=True) is ExitCode.CHANGED
    assert worker.value == good.url
    assert "refused the connection" in worker.explained


def test_a_frontier_servlet_in_trouble_is_found(origin: Origin, start_squid: StartSquid) -> None:
    squid = start_squid(hosts={"frontier.test": origin.host})
    target = Target.frontier(f"http://frontier.test:{origin.port}/atlr")
    with parts.directory() as directory:
        directory.list(at(squid))
        plan = Plan(
            (directory.url,), Upstream.FRONTIER, (target,), 1, now=0.0, server_deadline=20.0, lan_wait=0.0
        )
        assert gather(plan).verdicts[at(squid)].outcome is Outcome.GOOD
        origin.set_fault(Fault.CAPTIVE)
        other = Target.frontier(f"http://frontier.test:{origin.port}/atlr/other")
        plan = Plan(
            (directory.url,), Upstream.FRONTIER, (other,), 1, now=0.0, server_deadline=20.0, lan_wait=0.0
        )
        assert gather(plan).verdicts[at(squid)].outcome is Outcome.WRONG


NAMESPACE = """
import json, sys, time
from contextlib import ExitStack
from shoal_client.gather import Plan, gather
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Target
from tests.client import parts

with ExitStack() as stack:
    directory = stack.enter_context(parts.directory())
    good = [stack.enter_context(parts.squid()) for _ in range(int(sys.argv[1]))]
    lost = [HostPort(f"10.99.0.{number}", 3128) for number in range(2, 5)]
    directory.list(*lost, *good)
    target, deadline = Target.cvmfs(parts.URL), float(sys.argv[2])
    plan = Plan((directory.url,), Upstream.CVMFS, (target,), 2, now=0, probe_deadline=deadline, lan_wait=0)
    import requests
    began = time.monotonic()
    findings = gather(plan)
    took = time.monotonic() - began
    verdicts = findings.verdicts.values()
    print(json.dumps([took, sum(verdict.good for verdict in verdicts), len(verdicts)]))
"""
DROPPING = (
    "ip link set lo up && ip link add drop0 type veth peer name drop1 && ip link set drop0 arp off up "
    "&& ip link set drop1 up && ip address add 10.99.0.1/24 dev drop0"
)


def in_a_namespace_that_drops_packets(good: int, deadline: float) -> tuple[float, int, int]:
    """Seconds, good ones and all: three candidates are behind an interface that drops every packet."""
    script = f'{DROPPING} || exit 77; exec "$@"'
    try:
        done = subprocess.run(
            [
                "unshare",
                "--net",
                "sh",
                "-c",
                script,
                "sh",
                sys.executable,
                "-c",
                NAMESPACE,
                str(good),
                str(deadline),
            ],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("needs unshare (util-linux)")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("may not make a network namespace here")
    assert done.returncode == 0, done.stderr
    took, found, tested = json.loads(done.stdout)
    return took, found, tested


def test_dropped_packets_cost_nothing_where_enough_squids_are_good() -> None:
    took, found, tested = in_a_namespace_that_drops_packets(good=2, deadline=20.0)
    assert (found, tested) == (2, 5)
    assert took < 10.0


def test_dropped_packets_cost_one_deadline_where_no_squid_is_good() -> None:
    took, found, tested = in_a_namespace_that_drops_packets(good=0, deadline=1.5)
    assert (found, tested) == (0, 3)
    assert 1.4 < took < 2 * 1.5


def test_a_squid_in_use_that_is_a_black_hole_is_given_up(directory: parts.Directory) -> None:
    with parts.squid() as one, parts.black_hole() as hole:
        used = Candidate(hole, Source.REMEMBERED, str(hole), 0.0)
        directory.list(hole, one)
        plan = Plan(
            (directory.url,),
            Upstream.CVMFS,
            (Target.cvmfs(parts.URL),),
            1,
            now=0.0,
            remembered=(used,),
            probe_deadline=0.5,
            lan_wait=0.0,
        )
        findings = gather(plan)
    assert findings.verdicts[one].good
    assert findings.verdicts[hole].outcome is Outcome.UNREACHABLE
