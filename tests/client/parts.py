"""Small real servers: a directory that answers what it is told to, and proxies good and bad."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from shoal_client.directory import DISTANCE_HEADER, STATE_HEADER
from shoal_common.hosts import HostPort
from shoal_common.listing import ListedCache, encode
from testbed import content

URL = "http://stratum-one.test/cvmfs/atlas.cern.ch/.cvmfspublished"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has heard enough hangs up; that is no fault."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


def has_ipv6() -> bool:
    """Whether ::1 can be listened on."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@contextmanager
def serve(answer: Callable[[BaseHTTPRequestHandler], None], host: str = "127.0.0.1") -> Iterator[HostPort]:
    """An HTTP server on loopback that answers every GET with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
            """Nothing is printed."""

    server = (_ServerV6 if ":" in host else _Server)((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield HostPort(host, server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Send one answer."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _object(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.path.startswith("/cvmfs/"):
        return content.manifest(parts.path.split("/")[2], datetime.now(UTC))
    return content.frontier_reply(parts.path.partition("type=")[2])


@contextmanager
def squid(
    delay: float = 0.0,
    asked: list[str] | None = None,
    dead: str = "no such origin",
    host: str = "127.0.0.1",
) -> Iterator[HostPort]:
    """A proxy that serves every CVMFS and Frontier object, but 503 for origins named `dead`."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        if asked is not None:
            asked.append(request.path)
        time.sleep(delay)
        if urlsplit(request.path).hostname == dead:
            reply(request, b"", 503, X_Squid_Error="ERR_CONNECT_FAIL 111", Via="1.1 squid.test")
        else:
            reply(request, _object(request.path), Via="1.1 squid.test (squid)")

    with serve(answer, host) as place:
        yield place


def denying(request: BaseHTTPRequestHandler) -> None:
    reply(request, b"no", 403, X_Squid_Error="ERR_ACCESS_DENIED 0", Via="1.1 squid.test")


def captive(request: BaseHTTPRequestHandler) -> None:
    reply(request, b"<html>Please log in</html>", Via="1.1 portal.test")


def foreign(request: BaseHTTPRequestHandler) -> None:
    reply(request, content.manifest("other.test", datetime.now(UTC)), Via="1.1 squid.test")


@contextmanager
def black_hole() -> Iterator[HostPort]:
    """Takes connections into its backlog and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        yield HostPort("127.0.0.1", sock.getsockname()[1])


def closed() -> HostPort:
    """Where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return HostPort("127.0.0.1", sock.getsockname()[1])


def listed(place: HostPort, **keys: Any) -> ListedCache:
    """The entry of a squid at `place`."""
    return ListedCache(
        f"squid{place.port}.test", place.port, **{"public_ip": place.host, "private_ip": None, **keys}
    )


@dataclass
class Directory:
    """A Shoal server whose answer can be changed; `paths` are the requests so far."""

    body: bytes = b"null"
    status: int = 200
    url: str = ""
    distance: str = "km"
    state: str = "ok"
    paths: list[str] = field(default_factory=list)

    def list(self, *places: HostPort, **keys: Any) -> None:
        """Answer with squids at these places, each 60 km farther than the one before."""
        self.body = encode(
            [listed(place, **{"distance": 60.0 * index, **keys}) for index, place in enumerate(places)]
        )

    def list_raw(self, *entries: dict[str, Any]) -> None:
        """Answer with these entries, whatever they hold."""
        self.body = json.dumps({str(index): entry for index, entry in enumerate(entries)}).encode()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        headers = {DISTANCE_HEADER: self.distance, STATE_HEADER: self.state}
        headers = {name: value for name, value in headers.items() if value}
        reply(request, self.body, self.status, **headers)


@contextmanager
def directory() -> Iterator[Directory]:
    """A running `Directory`; its `url` has no path."""
    result = Directory()
    with serve(result.answer) as place:
        result.url = f"http://{place}"
        yield result
