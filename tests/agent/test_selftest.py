"""One self-test, through real caches: squid where it is installed, else a proxy library."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal_agent.cache import Cache
from shoal_agent.health import Finding
from shoal_agent.selftest import Objects, examine, purpose
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Target
from testbed.origin import Fault, Origin
from testbed.ports import free_port
from testbed.proxycache import PythonCache
from testbed.squid import Squid
from testbed.varnish import Purpose
from tests.conftest import StartSquid, StartVarnish

PUBLISHED = "/cvmfs/atlas.cern.ch/.cvmfspublished"


@pytest.fixture
def cache(new_directory: Callable[[str], Path]) -> Iterator[Squid | PythonCache]:
    kind: type[Squid] | type[PythonCache] = Squid if Squid.available() else PythonCache
    service = kind(new_directory("cache"))
    with service:
        yield service


@pytest.fixture
def place(cache: Squid | PythonCache) -> HostPort:
    return HostPort("127.0.0.1", cache.port)


def cvmfs(*origins: str) -> list[Target]:
    return [Target.cvmfs(origin + PUBLISHED) for origin in origins]


def examined(place: HostPort, *services: list[Target], timeout: float = 3.0) -> Finding:
    objects = Objects(*(tuple(targets) for targets in services))
    return examine(Cache(place, CacheType.SQUID, Upstream.BOTH, "configured"), objects, timeout)


def closed_port() -> HostPort:
    return HostPort("127.0.0.1", free_port())


def test_a_cache_that_serves_the_object_is_good(place: HostPort, origin: Origin) -> None:
    finding = examined(place, cvmfs(origin.url))
    assert finding == Finding(True, f"served {origin.url}{PUBLISHED}")


def test_a_closed_port_is_bad(origin: Origin) -> None:
    finding = examined(closed_port(), cvmfs(origin.url))
    assert not finding.good
    assert "refused" in finding.reason


def test_a_closed_port_is_bad_though_no_origin_can_be_reached() -> None:
    assert not examined(closed_port(), cvmfs(f"http://127.0.0.1:{free_port()}")).good


def test_an_origins_outage_is_not_the_caches_fault(place: HostPort, origin: Origin) -> None:
    origin.set_fault(Fault.DOWN)
    finding = examined(place, cvmfs(origin.url))
    assert finding.good
    assert "no origin" in finding.reason


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.CAPTIVE, Fault.FOREIGN, Fault.FORBIDDEN])
def test_an_origins_nonsense_is_not_the_caches_fault(place: HostPort, origin: Origin, fault: Fault) -> None:
    origin.set_fault(fault)
    assert examined(place, cvmfs(origin.url)).good


def test_a_second_origin_stands_in_for_one_that_is_down(place: HostPort, origin: Origin) -> None:
    finding = examined(place, cvmfs(f"http://127.0.0.1:{free_port()}", origin.url))
    assert finding.reason == f"served {origin.url}{PUBLISHED}"


def test_a_hung_cache_is_bad_when_its_origin_answers(
    cache: Squid | PythonCache, place: HostPort, origin: Origin
) -> None:
    cache.pause()
    finding = examined(place, cvmfs(origin.url), timeout=0.3)
    cache.resume()
    assert not finding.good
    assert "did not answer" in finding.reason


def test_a_web_server_in_place_of_the_cache_is_bad(origin: Origin) -> None:
    finding = examined(HostPort(origin.host, origin.port), cvmfs(origin.url))
    assert not finding.good
    assert "no sign of a cache" in finding.reason


def test_a_squid_that_denies_what_the_origin_gives_is_bad(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid(clients=())
    finding = examined(HostPort("127.0.0.1", squid.port), cvmfs(origin.url))
    assert not finding.good
    assert "refused with 403" in finding.reason


def test_frontier_is_asked_for_too(place: HostPort, origin: Origin) -> None:
    assert examined(place, cvmfs(origin.url), [Target.frontier(f"{origin.url}/atlr")]).good
    assert any("/Frontier/" in request.path for request in origin.requests)


def test_a_cache_that_serves_one_of_two_services_is_bad(start_squid: StartSquid, origin: Origin) -> None:
    with Origin(host="127.0.0.2") as frontier:
        squid = start_squid(origins=["127.0.0.1"])
        services = cvmfs(origin.url), [Target.frontier(f"{frontier.url}/atlr")]
        assert not examined(HostPort("127.0.0.1", squid.port), *services).good


def test_without_anything_to_fetch_an_answer_has_to_do(place: HostPort) -> None:
    assert examined(place).good
    assert not examined(closed_port()).good


def test_a_hung_cache_is_bad_though_no_origin_can_be_reached(
    cache: Squid | PythonCache, place: HostPort
) -> None:
    cache.pause()
    finding = examined(place, cvmfs(f"http://127.0.0.1:{free_port()}"), timeout=0.3)
    cache.resume()
    assert finding == Finding(False, f"{place} did not answer within 0.3 s")


def test_a_squid_that_denies_its_manager_is_alive(start_squid: StartSquid) -> None:
    squid = start_squid(extra=["http_access deny manager"])
    assert examined(HostPort("127.0.0.1", squid.port), cvmfs(f"http://127.0.0.1:{free_port()}")).good


def varnish_at(port: int, upstream: Upstream) -> Cache:
    return Cache(HostPort("127.0.0.1", port), CacheType.VARNISH, upstream, "configured")


def test_a_varnish_is_tested_for_its_own_service_alone(start_varnish: StartVarnish, origin: Origin) -> None:
    varnish = start_varnish(f"{origin.host}:{origin.port}", "cvmfs")
    objects = Objects(tuple(cvmfs(origin.url)), (Target.frontier(f"{origin.url}/atlr"),))
    assert examine(varnish_at(varnish.port, Upstream.CVMFS), objects, 3.0).good
    assert not examine(varnish_at(varnish.port, Upstream.FRONTIER), objects, 3.0).good


@pytest.mark.parametrize("service", ["cvmfs", "frontier"])
def test_a_varnish_says_itself_what_it_is_for(
    start_varnish: StartVarnish, origin: Origin, service: Purpose
) -> None:
    varnish = start_varnish(f"{origin.host}:{origin.port}", service)
    objects = Objects(tuple(cvmfs(origin.url)))
    assert purpose(varnish_at(varnish.port, Upstream.BOTH), objects, 3.0) is Upstream(service)


def test_a_varnish_whose_origin_is_down_does_not_say_what_it_is_for(
    start_varnish: StartVarnish, origin: Origin
) -> None:
    varnish = start_varnish(f"{origin.host}:{origin.port}", "cvmfs")
    origin.set_fault(Fault.DOWN)
    assert purpose(varnish_at(varnish.port, Upstream.BOTH), Objects(tuple(cvmfs(origin.url))), 3.0) is None
    assert examine(varnish_at(varnish.port, Upstream.CVMFS), Objects(tuple(cvmfs(origin.url))), 3.0).good


def test_a_hung_varnish_is_bad(start_varnish: StartVarnish, origin: Origin) -> None:
    varnish = start_varnish(f"{origin.host}:{origin.port}", "cvmfs")
    varnish.pause()
    finding = examine(varnish_at(varnish.port, Upstream.CVMFS), Objects(), 0.3)
    varnish.resume()
    assert not finding.good
