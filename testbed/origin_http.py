"""The HTTP server under the origin: threads, connections that end with it, and slow bodies."""

import json
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from testbed.process import wait_until

_CONTROL = "/testbed/"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the origin saw it; `via` is the Via header, empty when no proxy was between."""

    method: str
    path: str
    host: str
    via: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; with a `rate` (bytes/s) its body comes slowly."""

    status: HTTPStatus
    kind: str
    cache_control: str
    body: bytes
    rate: int | None = None


class Site(Protocol):
    """What the server asks for its replies."""

    def hear(self, request: Request, frontier_id: str | None) -> Reply | None:
        """The reply, or None to hang up without one."""

    def control(self, action: str, values: Mapping[str, str]) -> object:
        """Carry out `/testbed/ACTION?VALUES` and return what JSON shall say."""


class Server(ThreadingHTTPServer):
    """One thread a connection; `end` leaves none of them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        super().__init__(address, _Handler)
        self.site = site
        self.stopping = threading.Event()
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up in the middle, or whose connection `end` cuts, is no fault of this server.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Close the listening socket and every connection that a client keeps alive."""
        self.stopping.set()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._open, 5.0, "the origin's connections end")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        # A proxy that takes this for another proxy asks in absolute form.
        parts = urlsplit(self.path)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if path.startswith(_CONTROL):
            values = {key: value[0] for key, value in parse_qs(parts.query).items()}
            answer = self.server.site.control(parts.path.removeprefix(_CONTROL), values)
            body = json.dumps(answer).encode()
            self._send(Reply(HTTPStatus.OK, "application/json", "no-store", body))
            return
        headers = self.headers
        request = Request(self.command, path, headers.get("Host", ""), headers.get("Via", ""))
        reply = self.server.site.hear(request, headers.get("X-frontier-id"))
        if reply is None:
            self.close_connection = True
        else:
            self._send(reply)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", reply.cache_control)
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.rate is None:
            self.wfile.write(reply.body)
        else:
            self._drip(reply.body, reply.rate)

    def _drip(self, body: bytes, rate: int) -> None:
        step = max(1, rate // 10)
        for start in range(0, len(body), step):
            if self.server.stopping.wait(step / rate):
                self.close_connection = True
                return
            self.wfile.write(body[start : start + step])

    def version_string(self) -> str:
        return "origin"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
        """Requests are kept, not printed."""
