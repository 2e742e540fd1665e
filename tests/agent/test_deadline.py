"""Who answers drop by drop."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from shoal_agent.counters import Access, ask
from shoal_agent.metadata import Metadata
from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort

DROPS = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"client_http.requests = 1\n" * 20


@pytest.fixture
def dripping() -> Iterator[HostPort]:
    """A server that takes half a minute for its answer, without ever pausing long."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                for drop in DROPS:
                    if stop.wait(0.05):
                        return
                    peer.sendall(bytes([drop]))

        thread = threading.Thread(target=drip)
        thread.start()
        yield HostPort("127.0.0.1", server.getsockname()[1])
        stop.set()
        thread.join()


def test_a_cache_manager_that_drips_is_given_up(dripping: HostPort) -> None:
    began = time.monotonic()
    assert ask(dripping, "counters", 0.5) == (Access.DOWN, f"{dripping} did not answer within 0.5 s")
    assert time.monotonic() - began < 10.0


def test_a_metadata_service_that_drips_is_given_up(
    dripping: HostPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_agent.metadata.REQUEST_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no metadata service answers"):
        Metadata(f"http://{dripping}").public_address()
    assert time.monotonic() - began < 10.0
