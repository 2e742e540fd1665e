"""What can be set for the client: one declaration from which flags, variables, file keys and sample come."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from shoal_common.errors import InvalidProxyList
from shoal_common.hosts import is_host_name
from shoal_common.kinds import Kind, number, one_of, several, text, url, whole, yes_no
from shoal_common.program import LogLevel
from shoal_common.proxylist import ProxyList
from shoal_common.settings import Settings, setting


def _path(value: str) -> Path:
    if not value.startswith("/") or not value.isprintable():
        raise ValueError(value)
    return Path(value)


def _chain(value: str) -> ProxyList:
    """Old files put the value in quotes now and then."""
    try:
        return ProxyList.parse(value.strip().strip("\"'"))
    except InvalidProxyList as error:
        raise ValueError(str(error)) from None


def _reachable(kind: Kind) -> Kind:
    """A URL that also has a host, and a port that is one."""

    def parse(value: str) -> str:
        parts = urlsplit(kind.parse(value))
        host = parts.hostname or ""
        if parts.port == 0 or not (is_host_name(host) or ipaddress.ip_address(host)):
            raise ValueError(value)
        return value

    return Kind(parse, f"{kind.allowed} with a host", kind.show)


_PATH = Kind(_path, "an absolute path")
_CHAIN = Kind(
    _chain,
    "proxies as in CVMFS_HTTP_PROXY: http://host:port or DIRECT, joined by ; (then) or | (either)",
    ProxyList.to_cvmfs,
)
_SERVERS = several(_reachable(url("http", "https")))


@dataclass(frozen=True, slots=True)
class ClientSettings(Settings):
    """The settings of one run."""

    DEAD: ClassVar = {
        "general.cvmfs_config": "no file of yours is edited any more; see [cvmfs] cvmfs_config",
    }

    servers: tuple[str, ...] = setting(
        "general",
        ("http://localhost:8080/nearest",),
        _SERVERS,
        "The Shoal servers, in order of preference; the next is asked when one fails or is slow. An "
        "address without a path means /nearest.",
        flags=("-s", "--server"),
        was=("general.shoal_server_url", "general.cvmfs_url"),
    )
    squids: int = setting(
        "general",
        2,
        whole(1, 20, "squids"),
        "How many squids to configure. Five more are asked for and tested, so that some may be bad.",
        flags=("-n", "--caches", "--squids"),
    )
    default_proxy: ProxyList = setting(
        "general",
        ProxyList(),
        _CHAIN,
        "Your own proxies, put behind the squids that were found, untested. Empty: those that "
        "CVMFS_HTTP_PROXY names in default.local. DIRECT is used only where it stands in one of the two.",
        was=("general.default_squid_proxy", "general.default_cache_proxy"),
    )
    server_deadline: float = setting(
        "general",
        5.0,
        number(0.1, 120, "seconds"),
        "How long all servers together may take to answer.",
    )
    probe_deadline: float = setting(
        "general",
        3.0,
        number(0.1, 60, "seconds"),
        "How long the tests of the squids may take. All are tested at once, so dead ones cost this once.",
    )
    grace: float = setting(
        "general",
        0.15,
        number(0, 10, "seconds"),
        "How long to wait for further answers once enough squids were found good.",
    )
    lan_wait: float = setting(
        "general",
        2.0,
        number(0, 120, "seconds"),
        "How long to listen for squids that announce themselves on the LAN, as long as too few are good "
        "without them. 0: do not listen. They announce themselves once a minute.",
    )
    lan_port: int = setting(
        "general", 50000, whole(1, 65535), "The UDP port of these announcements; agents use 50000."
    )
    state_dir: Path = setting(
        "general",
        Path("/var/lib/shoal"),
        _PATH,
        "Where the last good choice is remembered. Users who may not write to the default directory get "
        "one of their own in $XDG_CACHE_HOME, or else in the directory for temporary files.",
    )
    write_cvmfs: bool = setting(
        "cvmfs", True, yes_no(), "Whether to write CVMFS_HTTP_PROXY for repositories that are mounted later."
    )
    cvmfs_config: Path = setting(
        "cvmfs",
        Path("/etc/cvmfs/default.d/60-shoal.conf"),
        _PATH,
        "The file to write, which belongs to the client alone: a file that it has not written itself is "
        "left as it is. CVMFS reads default.local after it, so a CVMFS_HTTP_PROXY there wins.",
    )
    cvmfs_directory: Path = setting(
        "cvmfs", Path("/etc/cvmfs"), _PATH, "Where the configuration of CVMFS is, default.local among it."
    )
    probe_urls: tuple[str, ...] = setting(
        "cvmfs",
        (
            "http://cvmfs-stratum-one.cern.ch/cvmfs/atlas.cern.ch/.cvmfspublished",
            "http://cernvmfs.gridpp.rl.ac.uk/cvmfs/atlas.cern.ch/.cvmfspublished",
            "http://cvmfs-s1bnl.opensciencegrid.org/cvmfs/atlas.cern.ch/.cvmfspublished",
            "http://cvmfs-s1fnal.opensciencegrid.org/cvmfs/atlas.cern.ch/.cvmfspublished",
        ),
        several(_reachable(url("http"))),
        "A squid is good if it serves one of these, each a repository's .cvmfspublished or .cvmfswhitelist.",
    )
    set_live: bool = setting(
        "cvmfs", True, yes_no(), "Whether to set the proxies of repositories that are mounted already."
    )
    cvmfs_talk: str = setting(
        "cvmfs",
        "cvmfs_talk",
        text("a program's name or path", r"[!-~]+"),
        "The program that sets them.",
    )
    mounts: Path = setting(
        "cvmfs", Path("/proc/self/mounts"), _PATH, "The table of mounts, which tells the repositories."
    )
    frontier_servers: tuple[str, ...] = setting(
        "frontier",
        (),
        _SERVERS,
        "Shoal servers to ask for Frontier (-f), where these differ. Empty: the same servers.",
        was=("general.conditions_url",),
    )
    log_level: LogLevel = setting(
        "logging",
        LogLevel.WARNING,
        one_of(LogLevel),
        "How much is told on stderr: info tells every change, and why each squid was taken or not.",
    )
    syslog: bool = setting(
        "logging", False, yes_no(), "Whether to log to syslog (/dev/log, as shoal-client) too."
    )
