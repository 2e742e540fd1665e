"""Clocks that are set while servers run: nobody goes for it."""

import socket
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time

import pytest

from testbed.process import wait_until
from tests.faults.clock import OddClockServer
from tests.faults.looks import ask
from tests.faults.scale import Scale
from tests.faults.site import LOCATIONS, Parts, Site, running
from tests.faults.watch import Watch
from tests.testbed.fetch import fetch

STEPS = (3600, 0, -3600, 0)
"""Seconds ahead of the true time, one after the other; the short form takes the first two."""


def live_by_odd_clocks(site: Site, watch: Watch, count: int) -> None:
    """Set the clocks of so many servers an hour ahead and right again, and an hour behind and right again."""
    odd = [server for server in site.servers[:count] if isinstance(server, OddClockServer)]
    assert len(odd) == count
    watch.live(1.0)
    for step in STEPS if site.scale.name == "full" else STEPS[:2]:
        for server in odd:
            server.set_clock(step)
            wait_until(lambda: abs(clock_of(server) - time() - step) < 60, 5.0, "its clock is set")  # noqa: B023
        watch.live(site.scale.fault)


def test_a_request_that_is_on_its_way_while_the_clock_is_set_is_answered(
    new_directory: Callable[[str], Path],
) -> None:
    with (
        OddClockServer(
            new_directory("server"), cvmfs_url="http://127.0.0.1:1/x", locations=LOCATIONS
        ) as server,
        socket.create_connection((server.host, server.port), timeout=5.0) as asker,
    ):
        asker.sendall(b"GET /nearest HTTP/1.1\r\n")
        ask(server, "/healthz")  # answered later, so the beginning above has been read
        server.set_clock(3600)
        wait_until(lambda: clock_of(server) > time() + 3000, 5.0, "its clock is set")
        asker.sendall(b"Host: x\r\n\r\n")
        assert asker.recv(100).startswith(b"HTTP/1.1 200 OK")


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
