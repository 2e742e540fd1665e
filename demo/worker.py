"""A worker: a directory with its configuration of CVMFS, a mounted repository, and runs of the client."""

import http.client
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.sites import Site
from testbed.cvmfs_talk import CvmfsTalk
from testbed.program import command, environment

REPOSITORY = "atlas.cern.ch"
_DEFAULT_LOCAL = (
    f"CVMFS_REPOSITORIES={REPOSITORY}\n"
    "# What Shoal found, or else no proxy at all.\n"
    'CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY:-DIRECT}"\n'
)
# CVMFS too reads these files in this order with the shell (cvmfs/options.cc).
_AS_CVMFS_READS_IT = 'for f in default.d/*.conf default.local; do [ -e "$f" ] && . "./$f"; done; '
_CLIENT_SECONDS = 30


class ClientFailed(Exception):  # noqa: N818
    """A run of shoal-client ended with an error."""


@dataclass(frozen=True, slots=True)
class Told:
    """One squid of the server's answer; `distance` is in effective km."""

    hostname: str
    address: str
    port: int
    distance: float
    local: bool
    verified: bool

    @property
    def proxy(self) -> str:
        """As CVMFS and Frontier write it."""
        return f"http://{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a worker's programs would use: proxies of CVMFS for repositories mounted from now on, those of
    the repository that is mounted already, and FRONTIER_SERVER.
    """

    cvmfs: str
    mounted: str
    frontier: str

    @property
    def all(self) -> tuple[str, str, str]:
        return self.cvmfs, self.mounted, self.frontier


class Worker:
    """The worker of a site, which knows the Shoal server `host`:`port` and an origin."""

    def __init__(self, directory: Path, site: Site, server: tuple[str, int], origin_url: str) -> None:
        self.site = site
        self._server = server
        self._directory = directory
        self._cvmfs = directory / "etc" / "cvmfs"
        self._cvmfs_url = f"{origin_url}/cvmfs/{REPOSITORY}/.cvmfspublished"
        self._frontier = self._frontier_at_start = f"(serverurl={origin_url}/atlr)"
        self._cvmfs.joinpath("default.d").mkdir(parents=True)
        self._cvmfs.joinpath("default.local").write_text(_DEFAULT_LOCAL)
        self._talk = CvmfsTalk(directory / "bin")
        self._talk.mount(REPOSITORY, "DIRECT")
        self._mounts = directory / "mounts"
        self._mounts.write_text(f"cvmfs2 /cvmfs/{REPOSITORY} fuse ro,nosuid,nodev 0 0\n")

    @property
    def file(self) -> Path:
        """The file that belongs to shoal-client."""
        return self._cvmfs / "default.d" / "60-shoal.conf"

    @property
    def configuration(self) -> Configuration:
        """What its programs would use now."""
        return Configuration(self._cvmfs_http_proxy(), self._talk.proxies(REPOSITORY), self._frontier)

    def nearest(self) -> tuple[Told, ...]:
        """The server's answer to /nearest, asked from this worker's address."""
        return tuple(_told(entry) for entry in ask(self._server, "/nearest", self.site.worker_address))

    def run_client(self) -> None:
        """Configure CVMFS and Frontier as cron and a job's wrapper do; raises ClientFailed."""
        self._client()
        self._frontier = self._client("-f").strip()

    def _client(self, *flags: str) -> str:
        own = [
            *(*flags, "--skip-broadcast", "--server", f"http://{self._server[0]}:{self._server[1]}"),
            *("--state-dir", str(self._directory / "state"), "--probe-urls", self._cvmfs_url),
            *("--cvmfs-config", str(self.file), "--cvmfs-directory", str(self._cvmfs)),
            *("--cvmfs-talk", str(self._talk.path), "--mounts", str(self._mounts)),
        ]
        modules = ["demo.vm", self.site.worker_address, "shoal_client.cli"]
        try:
            done = subprocess.run(
                command(modules, self._directory, own),
                env=environment(FRONTIER_SERVER=self._frontier_at_start),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_CLIENT_SECONDS,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClientFailed(f"shoal-client did not end within {_CLIENT_SECONDS} s") from None
        if done.returncode != 0:
            raise ClientFailed(f"shoal-client ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _cvmfs_http_proxy(self) -> str:
        shown = subprocess.run(
            ["/bin/sh", "-c", _AS_CVMFS_READS_IT + 'echo "$CVMFS_HTTP_PROXY"'],
            cwd=self._cvmfs,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CLIENT_SECONDS,
            check=True,
        )
        return shown.stdout.strip()


def ask(server: tuple[str, int], path: str, source: str) -> list[dict[str, Any]]:
    """The entries of a listing, in the server's order, asked from the address `source`; raises OSError."""
    connection = http.client.HTTPConnection(*server, timeout=5, source_address=(source, 0))
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        if reply.status != http.client.OK:
            raise ConnectionError(f"{path} answered status {reply.status}")
        answer = json.load(reply)
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{path} was not answered: {error!r}") from None
    finally:
        connection.close()
    return list((answer or {}).values())


def _told(entry: dict[str, Any]) -> Told:
    return Told(
        hostname=entry["hostname"],
        address=entry["external_ip"],
        port=entry["squid_port"],
        distance=entry["distance"],
        local=entry["local"] is True,
        verified=entry["verified"],
    )
