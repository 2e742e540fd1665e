"""Workers and squids that have IPv6 alone, with a real server between them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from shoal_client.actions import ExitCode
from shoal_common.hosts import HostPort
from shoal_server.squid import Squid
from shoal_server.web import application
from shoal_server.web.serving import HttpServer
from tests.client import parts
from tests.client.conftest import Worker
from tests.fakes import squid
from tests.server.site import Site

pytestmark = pytest.mark.skipif(not parts.has_ipv6(), reason="this machine has no IPv6 on loopback")


@contextmanager
def server(squids: Sequence[Squid]) -> Iterator[str]:
    """The URL of a server that listens on ::1 alone and knows these squids."""
    http, stop = HttpServer(application(Site(squids).backend), HostPort("::1", 0)), Event()
    thread = Thread(target=http.serve, args=(stop,))
    thread.start()
    try:
        yield f"http://[::1]:{http.port}"
    finally:
        stop.set()
        thread.join()


def test_a_worker_finds_a_squid_of_ipv6_alone(worker: Worker) -> None:
    with parts.squid(host="::1") as place:
        six = squid(public_ip=None, private_ip=None, ipv6=place.host, port=place.port)
        with server([six]) as url:
            worker.set(servers=(url,))
            assert worker.run() is ExitCode.CHANGED
            assert worker.run() is ExitCode.UNCHANGED
    assert worker.value == f"http://[::1]:{place.port}"


def test_a_worker_finds_the_ipv6_address_of_a_squid_that_it_cannot_reach_otherwise(worker: Worker) -> None:
    with parts.squid(host="::1") as place:
        both = squid(public_ip="127.0.0.1", private_ip=None, ipv6=place.host, port=place.port)
        with server([both]) as url:
            worker.set(servers=(url,))
            assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://[::1]:{place.port}"


def test_a_worker_that_has_a_squid_of_ipv4_is_not_told_of_ipv6(worker: Worker) -> None:
    with parts.squid() as four, parts.squid(host="::1") as place:
        squids = [
            squid(uuid="4", public_ip=four.host, private_ip=None, port=four.port),
            squid(uuid="6", public_ip=None, private_ip=None, ipv6=place.host, port=place.port),
        ]
        with server(squids) as url:
            worker.set(servers=(url,))
            assert worker.run() is ExitCode.CHANGED
    assert worker.value == f"http://{four}"
