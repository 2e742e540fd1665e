"""What a run of the client costs a worker."""

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.figure import Figure
from shoal_common.hosts import HostPort
from shoal_common.listing import ListedCache, encode
from shoal_common.probe import Target, probe
from testbed.origin import Origin
from testbed.program import command, environment
from testbed.squid import Squid

SQUIDS = 5
CANDIDATES = 7
BLACK_HOLES = 3
RUNS = 7


def run(directory: Path) -> Iterator[Figure]:
    """Start-up, and whole runs with squids that are healthy, black holes, or both."""
    bare = _median_seconds([sys.executable, "-c", "pass"])
    imported = _median_seconds([sys.executable, "-c", "import shoal_client.client"])
    yield Figure("client: import of shoal_client.client", imported - bare, "s", 0.25)
    yield Figure(
        "client: --version",
        _median_seconds([sys.executable, "-m", "shoal_client.cli", "--version"]),
        "s",
        0.15,
    )
    yield _dry_run(directory)
    yield from _seven(directory)


def _dry_run(directory: Path) -> Figure:
    addresses = [f"127.40.0.{number}" for number in range(1, SQUIDS + 1)]
    with Origin() as origin, Squid(directory / "squid", listen=addresses) as squid:
        places = [HostPort(address, squid.port) for address in addresses]
        with _serving(places) as server:
            whole = _median_seconds(_command(directory, server, origin, SQUIDS), must_say=addresses[0])
        target = Target.cvmfs(_object(origin))
        slowest = max(probe(place, target, timeout=5.0).seconds for place in places)
    print(f"  whole run {whole:.3f} s, slowest probe {slowest:.3f} s")
    return Figure(
        f"client: --dry-run, {SQUIDS} healthy squids, beyond slowest probe", whole - slowest, "s", 1.0
    )


def _seven(directory: Path) -> Iterator[Figure]:
    """Seven candidates, and the same seven the way that deployed clients test them."""
    addresses = [f"127.40.1.{number}" for number in range(1, CANDIDATES + 1)]
    with ExitStack() as stack:
        origin = stack.enter_context(Origin())
        squid = stack.enter_context(Squid(directory / "seven", listen=addresses))
        holes = [stack.enter_context(_black_hole()) for _ in range(CANDIDATES)]
        healthy = [HostPort(address, squid.port) for address in addresses]
        mixed = [*holes[:BLACK_HOLES], *healthy[BLACK_HOLES:]]

        def seconds(places: list[HostPort], says: str, code: int = 0) -> float:
            with _serving(places) as server:
                arguments = _command(directory, server, origin, 2)
                return _median_seconds(arguments, must_say=says, code=code, runs=3 if code else RUNS)

        fast = seconds(mixed, addresses[BLACK_HOLES])
        yield Figure(f"client: {CANDIDATES} candidates, {BLACK_HOLES} black holes, whole run", fast, "s", 0.5)
        slow = _one_after_the_other(mixed, origin)
        print(f"  one after the other: {slow:.1f} s, {slow / fast:.0f} times as long")
        yield Figure("client: the same, as a share of one after the other", fast / slow, "", 1 / 20)
        none = seconds(holes, "stays as it is", code=1)
        yield Figure(f"client: {CANDIDATES} black holes (deadline 3 s), whole run", none, "s", 3.5)
        whole = seconds(healthy, addresses[0])
        yield Figure(f"client: {CANDIDATES} healthy squids, whole run", whole, "s", 0.2)
        with _serving(mixed) as server:
            yield Figure(
                "client: most memory of a run", _peak_mb(_command(directory, server, origin, 2)), "MB", 40
            )


def _one_after_the_other(places: list[HostPort], origin: Origin) -> float:
    """As clients up to 1.0.4 do: squid after squid, four objects each with 2 s for each, then again for
    those that served all four, to measure the time.
    """
    paths = [f"{origin.url}/cvmfs/{name}/.cvmfswhitelist" for name in origin.repositories]
    began = time.monotonic()
    for place in places:
        for _ in range(2):
            verdicts = [probe(place, Target.cvmfs(path), timeout=2.0) for path in paths]
            if not all(verdict.good for verdict in verdicts):
                break
    return time.monotonic() - began


@contextmanager
def _black_hole() -> Iterator[HostPort]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as sock:
        yield HostPort("127.0.0.1", sock.getsockname()[1])


def _object(origin: Origin) -> str:
    return f"{origin.url}/cvmfs/{origin.repositories[0]}/.cvmfspublished"


def _command(directory: Path, server: str, origin: Origin, squids: int) -> list[str]:
    flags = ["--dry-run", "-s", server, "--lan-wait", "0", "-n", str(squids), "--mounts", os.devnull]
    flags += ["--probe-urls", _object(origin), "--state-dir", str(directory / "state")]
    flags += ["--cvmfs-config", str(directory / "60-shoal.conf"), "--cvmfs-directory", str(directory)]
    return command(["shoal_client.cli"], directory, flags)


@contextmanager
def _serving(places: list[HostPort]) -> Iterator[str]:
    """A Shoal server that lists squids at these places."""
    caches = [ListedCache("sq.example.org", p.port, p.host, None, distance=1.0) for p in places]
    server = _Directory(encode(caches))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/nearest"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_PEAK = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
run = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
print(os.wait4(run, 0)[2].ru_maxrss)
"""


def _peak_mb(arguments: list[str]) -> float:
    """The largest resident size of one run, in MB.

    A small process starts it: the size of the one that starts counts too (getrusage(2): until exec it is the
    child's), and this one holds whole benchmarks.
    """
    argv = [sys.executable, "-c", _PEAK, *arguments]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def _median_seconds(arguments: list[str], must_say: str = "", code: int = 0, runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        began = time.monotonic()
        done = subprocess.run(
            arguments, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        times.append(time.monotonic() - began)
        if done.returncode != code or must_say not in done.stdout + done.stderr:
            raise SystemExit(
                f"{json.dumps(arguments)} failed:\nrc {done.returncode}: {done.stdout}{done.stderr}"
            )
    return statistics.median(times)


class _Directory(ThreadingHTTPServer):
    """Answers every request with one listing."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.body = body


class _Answer(BaseHTTPRequestHandler):
    server: _Directory

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Shoal-Distance", "km")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the figures are the output."""
