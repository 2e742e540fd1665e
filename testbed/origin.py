"""An origin: a small CVMFS Stratum 1 and a Frontier servlet, with faults that can be switched on."""

import argparse
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType
from typing import Self

from testbed import content
from testbed.origin_http import Reply, Request, Server

REPOSITORIES = ("atlas.cern.ch", "cms.cern.ch", "cvmfs-config.cern.ch", "oasis.opensciencegrid.org")
_REMEMBERED = 100_000
_CAPTIVE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in.</body></html>\n"


class Fault(StrEnum):
    """What can be wrong with an origin."""

    NONE = "none"
    DOWN = "down"  # takes the connection and closes it without a word
    ERROR = "error"  # 500
    FORBIDDEN = "forbidden"  # 403
    SLOW = "slow"  # the body at `rate` bytes/s
    CAPTIVE = "captive"  # a log-in page with status 200, whatever was asked
    STALE = "stale"  # an expired whitelist and a manifest of long ago
    FOREIGN = "foreign"  # the files of another repository


class Origin:
    """The origin in threads of this process; runs inside `with`, or between `start` and `stop`.

    Serves `/cvmfs/FQRN/.cvmfspublished`, `/cvmfs/FQRN/.cvmfswhitelist` (valid for 30 days from `now`), any
    `/cvmfs/FQRN/data/…` of `object_bytes` bytes, and `/atlr`, `/atlr/Frontier/…` and `/atlr/Frontier?…` to
    requests with an X-frontier-id. `/testbed/…` is its remote control (see `testbed.origin_process`).
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        repositories: Sequence[str] = REPOSITORIES,
        now: datetime | None = None,
        object_bytes: int = 20480,
    ) -> None:
        self.host = host
        self.port = port
        self.repositories = tuple(repositories)
        self.now = now or datetime.now(UTC)
        self.object_bytes = object_bytes
        self.fault = Fault.NONE
        self.rate = 100
        self.requests: deque[Request] = deque(maxlen=_REMEMBERED)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The root URL by address; requests through a proxy may use any name instead."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> Self:
        """Listen and serve; the port stays the same over `stop` and `start`."""
        self._server = Server((self.host, self.port), self)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="origin", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on, and cut the open ones."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.end()
        self._server = self._thread = None

    def set_fault(self, fault: Fault, *, rate: int = 100) -> None:
        """From the next request on be broken in this way; `rate` (bytes/s) is for `Fault.SLOW`."""
        self.rate = rate
        self.fault = fault

    def count(self, path: str) -> int:
        """How many requests for `path` (with its query) arrived here, faults included."""
        return sum(request.path == path for request in list(self.requests))

    def forget(self) -> None:
        """Count from zero again."""
        self.requests.clear()

    def hear(self, request: Request, frontier_id: str | None) -> Reply | None:
        """Keep the request and answer it in the present state."""
        self.requests.append(request)
        if self.fault is Fault.DOWN:
            return None
        reply = self._answer(request.path, frontier_id)
        return replace(reply, rate=self.rate) if self.fault is Fault.SLOW else reply

    def control(self, action: str, values: Mapping[str, str]) -> object:
        """The remote control: `fault?name=NAME&rate=RATE`, `forget`, `requests`."""
        if action == "fault":
            self.set_fault(Fault(values["name"]), rate=int(values["rate"]))
        elif action == "forget":
            self.forget()
        elif action == "requests":
            return [[seen.method, seen.path, seen.host, seen.via] for seen in list(self.requests)]
        return None

    def _answer(self, path: str, frontier_id: str | None) -> Reply:
        if self.fault is Fault.ERROR:
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.fault is Fault.FORBIDDEN:
            return _text(HTTPStatus.FORBIDDEN)
        if self.fault is Fault.CAPTIVE:
            return Reply(HTTPStatus.OK, "text/html", "no-store", _CAPTIVE)
        if path.startswith("/cvmfs/"):
            return self._cvmfs(path)
        if path.partition("?")[0].rstrip("/") == "/atlr" or path.startswith(("/atlr/", "/atlr?")):
            return _frontier(path, frontier_id)
        return _text(HTTPStatus.NOT_FOUND)

    def _cvmfs(self, path: str) -> Reply:
        fqrn, _, name = path.removeprefix("/cvmfs/").partition("/")
        if fqrn not in self.repositories:
            return _text(HTTPStatus.NOT_FOUND)
        if name.startswith("data/"):
            body = content.data_object(path, self.object_bytes)
            return Reply(HTTPStatus.OK, "application/octet-stream", "max-age=259200", body)
        shown = "other.example.org" if self.fault is Fault.FOREIGN else fqrn
        made = self.now - timedelta(days=90) if self.fault is Fault.STALE else self.now
        if name == ".cvmfspublished":
            body = content.manifest(shown, made)
        elif name == ".cvmfswhitelist":
            body = content.whitelist(shown, made)
        else:
            return _text(HTTPStatus.NOT_FOUND)
        return Reply(HTTPStatus.OK, "application/x-cvmfs", "max-age=61", body)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _frontier(path: str, frontier_id: str | None) -> Reply:
    if frontier_id is None:
        return Reply(
            HTTPStatus.OK, "text/xml", "no-store", content.frontier_error("X-frontier-id header missing")
        )
    query = path.partition("type=")[2]
    if not query:
        return Reply(HTTPStatus.OK, "text/xml", "no-store", content.frontier_error("no query"))
    return Reply(HTTPStatus.OK, "text/xml", "max-age=300", content.frontier_reply(query))


def _text(status: HTTPStatus) -> Reply:
    return Reply(status, "text/plain", "no-store", f"{status.value} {status.phrase}\n".encode())


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="testbed.origin")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--object-bytes", type=int, default=20480)
    parser.add_argument("repositories", nargs="*", default=REPOSITORIES)
    options = parser.parse_args()
    with Origin(
        host=options.host,
        port=options.port,
        repositories=options.repositories,
        object_bytes=options.object_bytes,
    ):
        threading.Event().wait()


if __name__ == "__main__":
    main()
