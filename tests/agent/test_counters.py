"""A cache's own counters: read from real caches, made into rates."""

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_agent.cache import Cache, Wanted
from shoal_agent.counters import Access, Counters, Reading, ask, parse_counters, read_squid
from shoal_agent.detect import detect
from shoal_agent.gauge import Gauge, rates, read
from shoal_agent.proc import processes
from shoal_agent.varnish import parse_report
from shoal_common.heartbeat import CacheType, Metrics, Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Target, probe
from testbed.origin import Origin
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.squid import Squid
from tests.agent.support import SquidOfWorkers
from tests.conftest import StartSquid, StartVarnish, need

PUBLISHED = "/cvmfs/atlas.cern.ch/.cvmfspublished"
EARLIER = Reading(100.0, Access.OPEN, "", Counters(1000, 400, 10, 50_000, 20.0))


def later(counters: Counters | None, seconds: float = 30.0) -> Reading:
    return Reading(100.0 + seconds, Access.OPEN if counters else Access.DOWN, "", counters)


def place_of(squid: Squid) -> HostPort:
    return HostPort("127.0.0.1", squid.port)


def test_rates_are_those_of_the_time_between_two_readings() -> None:
    after = later(Counters(1300, 550, 13, 80_000, 23.0, 4.5, 80, 1024))
    assert rates(EARLIER, after) == Metrics(10.0, 5.0, 0.1, 1000.0, 4.5, 80, 1024, 0.1)


def test_one_reading_alone_has_no_rates() -> None:
    figures = Counters(1300, 550, 13, 80_000, 23.0, 4.5, 80, 1024)
    assert rates(None, later(figures)) == Metrics(median_service_ms=4.5, fds_used=80, fds_max=1024)


@pytest.mark.parametrize("pair", [(EARLIER, later(None)), (later(None), later(None)), (None, None)])
def test_without_counters_there_are_no_metrics(pair: tuple[Reading | None, Reading | None]) -> None:
    assert rates(*pair) == Metrics()


def test_sums_that_fell_tell_no_rates_of_the_time_in_between() -> None:
    """The cache was restarted, or one of its workers, and the sums are those of the others since long ago."""
    fallen = Counters(900, 350, 10, 45_000, 18.0, 4.5, 80, 1024)
    assert rates(EARLIER, later(fallen)) == Metrics(median_service_ms=4.5, fds_used=80, fds_max=1024)


@pytest.mark.parametrize("fallen", [{"requests": 900}, {"kb_out": 45_000}, {"cpu_seconds": 18.0}])
def test_one_sum_that_fell_is_enough_to_tell_no_rates(fallen: dict[str, float]) -> None:
    grown = Counters(1300, 550, 13, 80_000, 23.0)
    assert rates(EARLIER, later(replace(grown, **fallen))) == Metrics()  # type: ignore[arg-type]


@pytest.mark.parametrize("nonsense", ["9" * 30, "9" * 400])
def test_figures_that_nobody_believes_are_not_told(nonsense: str) -> None:
    page = "".join(
        f"client_http.{name} = {nonsense}\n" for name in ("requests", "hits", "errors", "kbytes_out")
    )
    counters = parse_counters(f"{page}cpu_time = {nonsense}\n")
    assert counters is not None
    assert rates(EARLIER, later(replace(counters, median_service_ms=float(nonsense)))) == Metrics()


def test_two_readings_at_one_moment_make_no_rates() -> None:
    assert rates(EARLIER, later(Counters(2000, 400, 10, 50_000, 20.0), 0.0)) == Metrics()


def test_a_page_that_is_not_the_counters_is_not_taken_for_them() -> None:
    assert parse_counters("Squid Cache Manager menu\n menu \tCache Manager Menu\n") is None


def test_a_real_squids_counters_follow_its_work(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid()
    before = read_squid(place_of(squid), 0.0, 3.0).counters
    for _ in range(5):
        assert probe(place_of(squid), Target.cvmfs(origin.url + PUBLISHED), timeout=3.0).good
    after = read_squid(place_of(squid), 0.0, 3.0).counters
    assert before is not None
    assert after is not None
    assert after.requests - before.requests >= 5
    assert after.kb_out > before.kb_out
    assert after.hits >= 1


def test_a_real_squids_file_descriptors_and_service_time_are_read(start_squid: StartSquid) -> None:
    squid = start_squid()
    gauge = Gauge(3.0)
    gauge.read(cache_of(squid))
    assert gauge.metrics.fds_max == 1024
    assert 0 < (gauge.metrics.fds_used or 0) < 1024
    assert gauge.metrics.median_service_ms == 0.0
    assert gauge.metrics.requests_per_s is None
    gauge.read(cache_of(squid))
    assert (gauge.metrics.requests_per_s or 0) > 0
    assert gauge.metrics.fds_max == 1024


def cache_of(squid: Squid) -> Cache:
    return Cache(place_of(squid), CacheType.SQUID, Upstream.BOTH, "configured")


def test_a_manager_that_denies_is_told_apart_from_a_squid_that_is_down(start_squid: StartSquid) -> None:
    squid = start_squid(extra=["http_access deny manager"])
    reading = read_squid(place_of(squid), 0.0, 3.0)
    assert (reading.access, reading.reason) == (
        Access.DENIED,
        "its cache manager refuses with status 403",
    )
    squid.kill()
    down = read_squid(place_of(squid), 0.0, 3.0)
    assert (down.access, down.reason) == (Access.DOWN, f"{place_of(squid)} refused the connection")


def test_a_hung_squid_is_down(start_squid: StartSquid) -> None:
    squid = start_squid()
    squid.pause()
    reading = read_squid(place_of(squid), 0.0, 0.3)
    squid.resume()
    assert (reading.access, reading.reason) == (Access.DOWN, f"{place_of(squid)} did not answer within 0.3 s")


def test_who_hangs_up_is_alive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            peer, _ = server.accept()
            peer.recv(10_000)
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        access, _ = ask(HostPort("127.0.0.1", server.getsockname()[1]), "counters", 3.0)
        thread.join()
    assert access is Access.DENIED


def test_counters_that_are_denied_are_one_line_in_the_log(
    start_squid: StartSquid, caplog: pytest.LogCaptureFixture
) -> None:
    squid = start_squid(extra=["http_access deny manager"])
    gauge = Gauge(3.0)
    for _ in range(3):
        gauge.read(cache_of(squid))
    assert len(caplog.records) == 1
    assert gauge.metrics == Metrics()


def test_another_cache_than_last_time_starts_anew(start_squid: StartSquid) -> None:
    gauge = Gauge(3.0)
    gauge.read(cache_of(start_squid()))
    gauge.read(cache_of(start_squid()))
    assert gauge.metrics.requests_per_s is None


def test_a_squid_with_several_workers_is_one_cache_with_one_sum(
    new_directory: Callable[[str], Path], origin: Origin
) -> None:
    need(Squid)
    with SquidOfWorkers(new_directory("squid"), extra=["workers 2"]) as squid:
        wait_until(lambda: detect(Wanted(squid.port))[0].cores == min(2, os.cpu_count() or 1), 20, "workers")
        (cache,) = detect(Wanted(squid.port))
        wait_until(lambda: read(cache, 0.0, 5.0).access is Access.OPEN, 20, "the workers")
        before = read(cache, 0.0, 5.0)
        for _ in range(8):
            assert probe(cache.place, Target.cvmfs(origin.url + PUBLISHED), timeout=5.0).good
        after = read(cache, 1.0, 5.0)
        assert len([each for each in processes() if squid.pid in (each.pid, each.parent)]) > 1
        assert (rates(before, after).requests_per_s or 0) >= 8


def varnish_cache(port: int) -> Cache:
    return next(iter(detect(Wanted(port))))


def test_a_real_varnishs_counters_follow_its_work(start_varnish: StartVarnish, origin: Origin) -> None:
    varnish = start_varnish(f"{origin.host}:{origin.port}")
    cache = varnish_cache(varnish.port)
    before = read(cache, 0.0, 5.0)
    for _ in range(5):
        assert probe(cache.place, Target.cvmfs(origin.url + PUBLISHED), timeout=3.0).good

    def seen() -> bool:  # Varnish's threads write their sums now and then
        metrics = rates(before, read(cache, 1.0, 5.0))
        return (metrics.requests_per_s or 0) >= 5 and (metrics.hits_per_s or 0) >= 4

    wait_until(seen, 10, "the counters of five requests")
    assert (rates(before, read(cache, 1.0, 5.0)).cpu_share or 0) >= 0


def test_a_varnish_without_varnishstat_denies(
    start_varnish: StartVarnish, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    varnish = start_varnish(f"{origin.host}:{origin.port}")
    cache = varnish_cache(varnish.port)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert read(cache, 0.0, 5.0).reason == "varnishstat does not tell: it is not installed"
    elsewhere = replace(cache, place=HostPort("127.0.0.1", free_port()))
    assert read(elsewhere, 0.0, 5.0).access is Access.DOWN


@pytest.mark.parametrize("nested", [True, False])
def test_the_reports_of_older_varnishes_are_read_too(nested: bool) -> None:
    names = ["client_req", "cache_hit", "s_resp_hdrbytes", "s_resp_bodybytes", "fetch_failed"]
    flat = ",".join(f'"MAIN.{name}": {{"flag": "c", "value": 2048}}' for name in names)
    report = f'{{"counters": {{{flat}}}}}' if nested else f'{{"timestamp": "x", {flat}}}'
    assert parse_report(report, 1.5) == Counters(2048, 2048, 2048, 4.0, 1.5)
