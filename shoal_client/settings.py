"""What can be set for the client: one declaration from which flags, variables, file keys and sample come."""

import ipaddress
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from shoal_common.errors import InvalidProxyList
from shoal_common.hosts import is_host_name
from shoal_common.kinds import Kind, number, one_of, optional, several, text, url, whole, yes_no
from shoal_common.origins import STRATUM_ONES
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


def _command(value: str) -> str:
    if value and not (value.isprintable() and shlex.split(value)):
        raise ValueError(value)
    return value


class PacSite(StrEnum):
    """What to do where FRONTIER_SERVER names a PAC file."""

    KEEP = "keep"
    REPLACE = "replace"


_PATH = Kind(_path, "an absolute path")
_FILE = optional(_PATH, "none is written")
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
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
        "The Shoal servers, in order of preference; the next is asked when one fails, is slow, or lists no "
        "squid that works. An address without a path means /nearest.",
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
        "Your own proxies, put behind the squids that were found, untested. Empty: those that your files of "
        "CVMFS give CVMFS_HTTP_PROXY (default.conf, default.d, default.local). DIRECT is used only where it "
        "stands in one of the two.",
        was=("general.default_squid_proxy", "general.default_cache_proxy"),
    )
    farthest: float = setting(
        "general",
        0.0,
        number(0, 20000, "km"),
        "Squids farther away than this, as the server tells it, are not used where you have proxies of your "
        "own (or DIRECT): those alone are then, if no squid is nearer. For sites that reach a content "
        "delivery network sooner than a far squid. 0: there is no limit.",
    )
    server_deadline: float = setting(
        "general",
        5.0,
        number(0.1, 120, "seconds"),
        "How long all servers together may take to answer. What is left of it is for the others where no "
        "squid of the first answer works.",
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
        "without them. They announce themselves once a minute; one in use is listened for once in half an "
        "hour, for up to 65 s. 0: listen for none and use none, since nothing vouches for them.",
    )
    lan_port: int = setting(
        "general", 50000, whole(1, 65535), "The UDP port of these announcements; agents use 50000."
    )
    splay: float = setting(
        "general",
        0.0,
        number(0, 86400, "seconds"),
        "For cron: wait first, for a time that is this node's own and at most this long, so that a "
        "thousand nodes do not ask at once. Not with -f, -d or --dry-run.",
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
    cvmfs_blocks: tuple[Path, ...] = setting(
        "cvmfs",
        (),
        several(_PATH),
        "Files of yours that get a marked block at their end, such as /etc/cvmfs/default.local (which then "
        "also wins), domain.d/cern.ch.local or config.d/atlas.cern.ch.local. All else in them stays, and "
        "the proxies that they set come behind.",
        key="blocks_in",
    )
    external_data: bool = setting(
        "cvmfs", False, yes_no(), "Whether to set the proxies for external data too, in files and mounts."
    )
    reload_command: str = setting(
        "cvmfs",
        "",
        Kind(_command, "a command with its arguments; empty: none"),
        "Run when a file of CVMFS has changed. `cvmfs_config reload` blocks all of /cvmfs for a moment and "
        "is not needed: mounted repositories are set without it.",
    )
    probe_urls: tuple[str, ...] = setting(
        "cvmfs",
        STRATUM_ONES,
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
    frontier_server: str = setting(
        "frontier",
        "",
        text(
            "a connect string of (key=value) without blanks, or a URL", r"[A-Za-z0-9.:/|;_\-~%@\[\]()=,?&+]*"
        ),
        "The string that the proxies are put into for the file below; with -f it is $FRONTIER_SERVER.",
        key="string",
        flags=("--frontier-string",),
    )
    frontier_file: Path | None = setting(
        "frontier",
        None,
        _FILE,
        "A file that sets FRONTIER_SERVER: *.sh and *.csh for /etc/profile.d, any other for the "
        "environment of services and containers.",
        key="file",
    )
    frontier_pac: PacSite = setting(
        "frontier",
        PacSite.KEEP,
        one_of(PacSite),
        "Where the string names a PAC file its proxies come first and those that were found behind them "
        "(keep); or the PAC file is taken out (replace).",
        key="pac",
    )
    site_local_config: Path | None = setting(
        "frontier",
        None,
        _FILE,
        "CMS's site-local-config.xml, which gets the proxies in its calib-data/frontier-connect; every "
        "other byte stays.",
    )
    pac_file: Path | None = setting("files", None, _FILE, "A PAC file with the same proxies as CVMFS.")
    json_file: Path | None = setting("files", None, _FILE, "The same as JSON.")
    http_proxy_file: Path | None = setting(
        "files",
        None,
        _FILE,
        "The first of them as http_proxy, in a file as [frontier] file.",
    )
    configmap_file: Path | None = setting(
        "files", None, _FILE, "A Kubernetes ConfigMap for cvmfs-csi, to be given to kubectl apply -f."
    )
    configmap_name: str = setting("files", "shoal-cvmfs", text("a DNS name", _DNS_LABEL), "Its name.")
    configmap_namespace: str = setting(
        "files",
        "",
        text("a DNS name; empty: kubectl's", rf"(?:{_DNS_LABEL})?"),
        "Its namespace.",
    )
    log_level: LogLevel = setting(
        "logging",
        LogLevel.WARNING,
        one_of(LogLevel),
        "How much is told on stderr: info tells every change, and why each squid was taken or not.",
    )
    syslog: bool = setting(
        "logging",
        True,
        yes_no(),
        "Whether each run leaves one line in syslog or the journal (/dev/log, as shoal-client).",
    )
