"""The HTTP server: how it ends, and whom it lets in."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests
from flask import Flask

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort
from shoal_server.web.serving import HttpServer

LONG = 20_000_000


class Pages:
    """`/` answers at once, `/long` with many bytes, `/slow` when `released` is set."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self.app = Flask(__name__)
        self.app.add_url_rule("/", view_func=lambda: "here", endpoint="here")
        self.app.add_url_rule("/long", view_func=lambda: b"x" * LONG, endpoint="long")
        self.app.add_url_rule("/slow", view_func=self._slow, endpoint="slow")

    def _slow(self) -> str:
        self.entered.set()
        self.released.wait(20.0)
        return "at last"


class Running:
    """A server in a thread."""

    def __init__(self, pages: Pages) -> None:
        self.server = HttpServer(pages.app, HostPort("127.0.0.1", 0))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.server.serve, args=[self.stop])
        self.thread.start()

    @property
    def place(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port

    def get(self, path: str = "/") -> str:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://127.0.0.1:{self.server.port}{path}", timeout=10).text

    def ended(self, within: float) -> bool:
        self.thread.join(within)
        return not self.thread.is_alive()


@contextmanager
def asked(place: tuple[str, int], path: str) -> Iterator[socket.socket]:
    """A connection with a small window on which that page was asked for."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(10)
        peer.connect(place)
        peer.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        yield peer


def body(peer: socket.socket, begun: bytes = b"") -> bytes:
    return (begun + b"".join(iter(lambda: peer.recv(1 << 20), b""))).partition(b"\r\n\r\n")[2]


@pytest.fixture
def pages() -> Iterator[Pages]:
    it = Pages()
    yield it
    it.released.set()


@pytest.fixture
def running(pages: Pages) -> Iterator[Running]:
    it = Running(pages)
    yield it
    pages.released.set()
    it.stop.set()
    assert it.ended(10.0)


def test_it_answers(running: Running) -> None:
    assert running.get() == "here"


def test_a_request_in_hand_is_answered_before_the_end(running: Running, pages: Pages) -> None:
    with asked(running.place, "/slow") as peer:
        assert pages.entered.wait(10.0)
        running.stop.set()
        assert not running.ended(0.3)
        pages.released.set()
        assert body(peer) == b"at last"
    assert running.ended(2.0)


def test_a_long_answer_on_its_way_is_sent_to_its_end(running: Running) -> None:
    with asked(running.place, "/long") as peer:
        begun = peer.recv(100)
        running.stop.set()
        assert len(body(peer, begun)) == LONG


def test_a_request_that_never_ends_does_not_hold_up_the_end(running: Running, pages: Pages) -> None:
    with asked(running.place, "/slow"):
        assert pages.entered.wait(10.0)
        running.stop.set()
        assert running.ended(2.0)


def test_a_reader_that_takes_nothing_does_not_hold_up_the_end(running: Running) -> None:
    with asked(running.place, "/long") as peer:
        peer.recv(1)
        running.stop.set()
        assert running.ended(2.0)


def test_an_idle_connection_does_not_hold_up_the_end(running: Running) -> None:
    with socket.create_connection(running.place, timeout=10):
        running.get()
        running.stop.set()
        assert running.ended(1.0)


def test_after_the_end_nobody_is_let_in(running: Running) -> None:
    running.stop.set()
    assert running.ended(5.0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(running.place, timeout=10)


def test_silent_connections_shut_out_nobody(running: Running) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(running.place, timeout=10))
        assert running.get() == "here"


def test_a_taken_port_is_told_at_once(running: Running, pages: Pages) -> None:
    with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{running.server.port} for HTTP"):
        HttpServer(pages.app, HostPort("127.0.0.1", running.server.port))
