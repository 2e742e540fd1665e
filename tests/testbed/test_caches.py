"""Squid, its stand-in from pip, and Varnish, in front of the origin."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from testbed.origin import Origin
from testbed.process import Missing
from testbed.proxycache import PythonCache
from testbed.squid import Squid
from tests.conftest import StartSquid, StartVarnish
from tests.testbed.fetch import fetch
from tests.testbed.leftovers import living

HOSTS = {"s1.example.test": "127.0.0.1"}
OBJECT = "/cvmfs/atlas.cern.ch/.cvmfspublished"


def _shared_memory(name: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{name}*"))


@pytest.fixture(params=["squid", "proxy.py"])
def start_proxy(
    request: pytest.FixtureRequest, new_directory: Callable[[str], Path]
) -> Iterator[Callable[..., Squid | PythonCache]]:
    if request.param == "squid":
        yield request.getfixturevalue("start_squid")
        return
    if not PythonCache.available():
        pytest.skip(str(Missing(PythonCache.program, PythonCache.package)))
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(PythonCache(new_directory("proxy"), **options))


StartProxy = Callable[..., Squid | PythonCache]


def test_a_proxy_serves_the_origins_object_by_a_fake_name_and_says_so(
    start_proxy: StartProxy, origin: Origin
) -> None:
    proxy = start_proxy(hosts=HOSTS)
    reply = fetch(f"http://s1.example.test:{origin.port}{OBJECT}", proxy.url)
    assert reply.status_code == 200
    assert b"\nNatlas.cern.ch\n" in reply.content
    assert reply.headers["Via"].startswith(f"1.1 {proxy.visible_hostname} (")
    assert origin.requests[0].host == f"s1.example.test:{origin.port}"
    assert origin.requests[0].via


def test_a_proxy_passes_a_large_object_unchanged(start_proxy: StartProxy) -> None:
    with Origin(object_bytes=3_000_000) as origin:
        path = f"{origin.url}/cvmfs/atlas.cern.ch/data/ab/cdef"
        assert fetch(path, start_proxy().url).content == fetch(path).content


def test_a_proxy_listens_on_every_address_it_was_given(start_proxy: StartProxy, origin: Origin) -> None:
    proxy = start_proxy(listen=("127.0.0.2", "127.0.0.3"))
    assert proxy.address == "127.0.0.2"
    for address in proxy.listen:
        assert fetch(f"{origin.url}{OBJECT}", f"http://{address}:{proxy.port}").status_code == 200
    with pytest.raises(requests.ConnectionError):
        fetch(f"{origin.url}{OBJECT}", f"http://127.0.0.1:{proxy.port}")


def test_a_paused_proxy_takes_the_connection_and_stays_silent(
    start_proxy: StartProxy, origin: Origin
) -> None:
    proxy = start_proxy()
    proxy.pause()
    with pytest.raises(requests.ReadTimeout):
        fetch(f"{origin.url}{OBJECT}", proxy.url, within=0.3)
    proxy.resume()
    assert fetch(f"{origin.url}{OBJECT}", proxy.url).status_code == 200


def test_a_proxy_refuses_connections_after_its_end_and_serves_again_on_its_port(
    start_proxy: StartProxy, origin: Origin
) -> None:
    proxy = start_proxy()
    for end in (proxy.stop, proxy.kill):
        end()
        with pytest.raises(requests.ConnectionError):
            fetch(f"{origin.url}{OBJECT}", proxy.url)
        proxy.start()
        assert fetch(f"{origin.url}{OBJECT}", proxy.url).status_code == 200


def test_a_proxy_leaves_no_process_and_no_shared_memory(start_proxy: StartProxy) -> None:
    proxy = start_proxy()
    assert living(proxy.name)
    proxy.kill()
    assert living(proxy.name) == []
    assert _shared_memory(proxy.name) == []


def test_a_squid_asks_the_origin_once_for_what_it_has_cached(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid(hosts=HOSTS)
    for _ in range(3):
        fetch(f"http://s1.example.test:{origin.port}{OBJECT}", squid.url)
    assert origin.count(OBJECT) == 1


def test_a_squid_shows_its_counters_to_loopback(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid()
    fetch(f"{origin.url}{OBJECT}", squid.url)
    counters = fetch(f"{squid.url}/squid-internal-mgr/counters").text
    assert "client_http.requests = 1\n" in counters
    assert "client_http.kbytes_out = " in counters


def test_a_squid_with_an_allow_list_refuses_other_origins(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid(hosts=HOSTS | {"other.test": "127.0.0.1"}, origins=[".example.test"])
    assert fetch(f"http://s1.example.test:{origin.port}{OBJECT}", squid.url).status_code == 200
    refused = fetch(f"http://other.test:{origin.port}{OBJECT}", squid.url)
    assert refused.status_code == 403
    assert refused.headers["X-Squid-Error"] == "ERR_ACCESS_DENIED 0"


def test_a_squid_refuses_clients_outside_its_networks(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid(clients=["192.0.2.0/24"])
    assert fetch(f"{origin.url}{OBJECT}", squid.url).status_code == 403
    assert fetch(f"{squid.url}/squid-internal-mgr/info").status_code == 200


def test_two_squids_can_stand_in_line(start_squid: StartSquid, origin: Origin) -> None:
    parent = start_squid(hosts=HOSTS)
    peer = f"cache_peer {parent.address} parent {parent.port} 0 no-query default"
    child = start_squid(extra=[peer, "never_direct allow all"])
    reply = fetch(f"http://s1.example.test:{origin.port}{OBJECT}", child.url)
    assert reply.status_code == 200
    assert parent.visible_hostname in reply.headers["Via"]


def test_a_varnish_answers_absolute_form_requests_from_its_one_backend(
    start_varnish: StartVarnish, origin: Origin
) -> None:
    varnish = start_varnish(f"127.0.0.1:{origin.port}")
    reply = fetch(f"http://anything.example.test{OBJECT}", varnish.url)
    assert reply.status_code == 200
    assert "varnish" in reply.headers["Via"]
    assert fetch(f"{varnish.url}/atlr").status_code == 404


def test_a_frontier_varnish_identifies_its_clients_to_the_servlet(
    start_varnish: StartVarnish, origin: Origin
) -> None:
    varnish = start_varnish(f"127.0.0.1:{origin.port}", "frontier")
    reply = fetch(f"{varnish.url}/atlr/Frontier/type=frontier_request:1:DEFAULT&encoding=BLOBzip&p1=x")
    assert b'<quality error="0"' in reply.content
    assert fetch(f"{varnish.url}{OBJECT}").status_code == 404


def test_a_killed_varnish_leaves_no_process(start_varnish: StartVarnish, origin: Origin) -> None:
    varnish = start_varnish(f"127.0.0.1:{origin.port}")
    assert len(living(str(varnish.workdir))) == 2
    varnish.kill()
    assert living(str(varnish.workdir)) == []
    assert varnish.start().is_ready()
