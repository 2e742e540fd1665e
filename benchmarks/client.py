"""What a run of the client costs a worker."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
RUNS = 7


def run(directory: Path) -> Iterator[Figure]:
    """Import and start-up, and a dry run with five healthy squids beyond its slowest probe."""
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


def _dry_run(directory: Path) -> Figure:
    addresses = [f"127.40.0.{number}" for number in range(1, SQUIDS + 1)]
    with Origin() as origin, Squid(directory / "squid", listen=addresses) as squid:
        caches = [
            ListedCache("sq.example.org", squid.port, address, None, distance=1.0) for address in addresses
        ]
        server = _Directory(encode(caches))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        object_url = f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"
        flags = ["--dry-run", "-s", f"http://127.0.0.1:{server.server_port}/nearest", "--lan-wait", "0"]
        flags += ["--probe-urls", object_url, "--state-dir", str(directory / "state"), "-n", str(SQUIDS)]
        flags += ["--cvmfs-config", str(directory / "60-shoal.conf"), "--cvmfs-directory", str(directory)]
        arguments = command(["shoal_client.cli"], directory, flags)
        whole = _median_seconds(arguments, must_say=addresses[0])
        target = Target.cvmfs(object_url)
        slowest = max(probe(HostPort(a, squid.port), target, timeout=5.0).seconds for a in addresses)
        server.shutdown()
        server.server_close()
    print(f"  whole run {whole:.3f} s, slowest probe {slowest:.3f} s")
    return Figure(
        f"client: --dry-run, {SQUIDS} healthy squids, beyond slowest probe", whole - slowest, "s", 1.0
    )


def _median_seconds(arguments: list[str], must_say: str = "") -> float:
    times = []
    for _ in range(RUNS):
        began = time.monotonic()
        done = subprocess.run(
            arguments, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        times.append(time.monotonic() - began)
        if done.returncode or must_say not in done.stdout + done.stderr:
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
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the figures are the output."""
