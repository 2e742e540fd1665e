"""Clocks that are set while servers run: nobody goes for it."""

from dataclasses import replace
from email.utils import parsedate_to_datetime
from time import time

import pytest

from testbed.process import wait_until
from tests.faults.clock import OddClockServer
from tests.faults.scale import Scale
from tests.faults.site import Parts, Site, running
from tests.faults.watch import Watch
from tests.testbed.fetch import fetch

STEPS = (3600, -3600, 0)


def live_by_odd_clocks(site: Site, watch: Watch, count: int) -> None:
    """Set the clocks of so many servers an hour ahead, an hour behind, and right again."""
    odd = [server for server in site.servers[:count] if isinstance(server, OddClockServer)]
    assert len(odd) == count
    watch.live(1.0)
    for step in STEPS:
        for server in odd:
            server.set_clock(step)
            wait_until(lambda: abs(clock_of(server) - time() - step) < 60, 5.0, "its clock is set")  # noqa: B023
        watch.live(site.scale.fault)


def clock_of(server: OddClockServer) -> float:
    return parsedate_to_datetime(fetch(f"{server.url}/healthz").headers["Date"]).timestamp()


@pytest.mark.parametrize("share", ["every", "one"])
def test_the_clock_of_servers_that_share_a_redis_is_set(shared: Parts, scale: Scale, share: str) -> None:
    parts = replace(shared, server=OddClockServer)
    with running(parts, scale) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        live_by_odd_clocks(site, watch, 1 if share == "one" else scale.servers)
        watch.finish(f"clock of {share} server set by +1 h, -1 h, and back", "RabbitMQ, Redis")


def test_the_clock_of_the_only_server_is_set(plain: Parts, scale: Scale) -> None:
    parts = replace(plain, server=OddClockServer)
    with running(parts, replace(scale, servers=1)) as site, Watch(site, counted=True) as watch:
        live_by_odd_clocks(site, watch, 1)
        watch.finish("clock of the only server set by +1 h, -1 h, and back", "listener, memory")
