"""The server's settings. Without any file they make a whole server in one process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shoal_common import kinds
from shoal_common.amqp import compose_broker_url
from shoal_common.hosts import HostPort
from shoal_common.origins import STRATUM_ONES
from shoal_common.program import LogLevel
from shoal_common.settings import Settings, Values, setting
from shoal_server.classic import RankBy

REDIS_SCHEMES = tuple(f"{base}{how}" for base in ("redis", "rediss") for how in ("", "+sentinel", "+cluster"))
_NO_FILE = kinds.optional(kinds.path(), "none")


@dataclass(frozen=True, slots=True)
class ServerSettings(Settings):
    """See the sample file conf/shoal_server.conf, which is made from these declarations."""

    listen: HostPort = setting(
        "http",
        HostPort("0.0.0.0", 8080),  # noqa: S104 - workers everywhere are to reach it
        kinds.host_port(),
        "Where the web server listens: lookups, WPAD, the status page. Port 0 picks a free one.",
    )
    workers: int = setting(
        "http",
        0,
        kinds.whole(0, 64),
        "Processes that answer over HTTP beside this one, for many requests on several cores; they need a "
        "Redis store and shoal[fast]. 0: this process answers itself.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "http",
        (),
        kinds.several(kinds.network()),
        "Reverse proxies whose X-Forwarded-For header is believed. From anyone else the header is ignored: "
        "who could choose his address could choose his squids.",
    )
    open_all: bool = setting(
        "http",
        False,
        kinds.yes_no(),
        "Whether /all and the status page tell everybody of squids and addresses that are private to a site, "
        "as servers before 2.0 did.",
    )
    operator_token: str = setting(
        "http",
        "",
        kinds.text("at least 16 characters without blanks; empty: nothing can be changed", r"[!-~]{16,}|"),
        "The password for changes by HTTP, such as draining a squid. Better given as SHOAL_OPERATOR_TOKEN "
        "than as a flag, which others on the machine can see.",
    )
    amqp: str = setting(
        "amqp",
        "embedded://127.0.0.1:5672",
        kinds.url("embedded", "embedded+tls", "amqp", "amqps"),
        "Where heartbeats come from. embedded://user:password@HOST:PORT is a listener inside this server, "
        "with nothing to install (embedded+tls:// with TLS); "
        "amqp://user:password@host:port,host:port/vhost is RabbitMQ, amqps:// the same with TLS.",
        key="url",
    )
    anonymous: bool = setting(
        "amqp",
        False,
        kinds.yes_no(),
        "Whether the embedded listener lets in publishers with any password or none. Without this, a "
        "listener beyond the loopback address must have a user and a password in its url.",
    )
    exchange: str = setting(
        "amqp",
        "shoal",
        kinds.text("a name without blanks", r"[!-~]{1,127}"),
        "The exchange that agents publish to; deployed agents use shoal.",
        was=("rabbitmq.amqp_exchange",),
    )
    queue: str = setting(
        "amqp",
        "",
        kinds.text("a name without blanks", r"[!-~]{0,127}"),
        "The RabbitMQ queue that several servers share. Empty: shoal-heartbeats with a Redis store, a queue "
        "of this server's own with the memory store.",
    )
    ca_file: Path | None = setting(
        "amqp",
        None,
        _NO_FILE,
        "Certificates (PEM) of the authorities that may vouch for the broker; empty: the system's. With "
        "embedded+tls:// those that must vouch for each publisher; empty: publishers need no certificate.",
    )
    cert_file: Path | None = setting(
        "amqp",
        None,
        _NO_FILE,
        "This server's own certificate (PEM): for embedded+tls://, or if the broker asks for one.",
    )
    key_file: Path | None = setting("amqp", None, _NO_FILE, "The key of cert_file (PEM).")
    store: str = setting(
        "store",
        "memory://",
        kinds.url("memory", "unix", *REDIS_SCHEMES),
        "Where squids are kept. memory:// is this process alone, memory:///path/to/file remembers them over "
        "a restart; redis://host:port/0 joins several servers (also rediss://, unix://, "
        "redis+sentinel://host,host/NAME, redis+cluster://host).",
        key="url",
    )
    suspect_after: float = setting(
        "squids",
        90.0,
        kinds.number(1, 86400, "seconds"),
        "Silence after which a squid is shown as suspect (three missed heartbeats).",
    )
    dead_after: float = setting(
        "squids",
        175.0,
        kinds.number(1, 86400, "seconds"),
        "Silence after which a squid is no longer listed: five missed heartbeats of a deployed agent, and "
        "with the sweep and the snapshot behind it within 180 seconds of the last one.",
        was=("squid.squid_inactive_time", "cache.cache_inactive_time"),
    )
    hold_cap: float = setting(
        "squids",
        900.0,
        kinds.number(0, 86400, "seconds"),
        "When improbably many squids fall silent together, none is unlisted unless a direct check fails; "
        "this is how much longer than dead_after a silent squid can stay for that reason.",
    )
    most_squids: int = setting(
        "squids",
        100_000,
        kinds.whole(1, 10_000_000),
        "Where there are so many, new squids are refused, and counted; those that are known go on, and good "
        "ones that went have a quarter of an hour to come back. Whoever may publish heartbeats could "
        "otherwise invent squids (2 kB each) until memory runs out.",
    )
    verify: bool = setting(
        "verification",
        True,
        kinds.yes_no(),
        "Whether squids are tried before workers are told of them. No: whatever is heard is listed.",
        key="enabled",
        was=("squid.squid_verification", "cache.cache_verification"),
    )
    verify_interval: float = setting(
        "verification",
        300.0,
        kinds.number(1, 86400, "seconds"),
        "Time between two checks of a good squid. After a failure it is tried again sooner.",
        key="interval",
        was=("squid.squid_verify_interval", "cache.cache_verify_interval"),
    )
    verify_timeout: float = setting(
        "verification",
        5.0,
        kinds.number(0.1, 60, "seconds"),
        "How long one fetch through a squid may take.",
        key="timeout",
    )
    cvmfs_urls: tuple[str, ...] = setting(
        "verification",
        STRATUM_ONES,
        kinds.several(kinds.url("http")),
        "CVMFS objects (.cvmfspublished or .cvmfswhitelist) to fetch through squids: several, on several "
        "hosts that sites allow through their squids, since an origin's outage must not look like a squid's.",
    )
    frontier_urls: tuple[str, ...] = setting(
        "verification",
        (),
        kinds.several(kinds.url("http")),
        "Frontier servlets (http://host:port/servlet) to query through caches that serve Frontier alone.",
    )
    geoip: tuple[Path, ...] = setting(
        "geo",
        (),
        kinds.several(kinds.path()),
        "City, ASN, ISP and Domain databases (.mmdb: GeoLite2, GeoIP2, DB-IP); the first of a kind that "
        "knows an address counts. `shoal-server geoip fetch` gets a free one.",
        key="databases",
    )
    locations: Path | None = setting(
        "geo",
        None,
        _NO_FILE,
        "The operator's own location table (CSV: network,site,latitude,longitude and, if wanted, city, "
        "country_code, region, tier, networks); it stands above the databases and places private networks.",
    )
    networks: tuple[Path, ...] = setting(
        "geo",
        (),
        kinds.several(kinds.path()),
        "Lists of networks: what AWS, Google, Azure and Oracle publish of their regions, plain lists, and "
        "tables of the operator's (CSV: network,name,cost with cost free or metered). No metered path is "
        "offered while a free one has room.",
    )
    reverse_dns: bool = setting(
        "geo",
        False,
        kinds.yes_no(),
        "Whether requesters and squids of the same registered domain by reverse DNS belong together. Names "
        "are looked up in the background; needs shoal[domains].",
    )
    name_servers: tuple[HostPort, ...] = setting(
        "geo",
        (),
        kinds.several(kinds.host_port()),
        "Whom to ask for reverse DNS, by address. Empty: the system's.",
    )
    policy: RankBy = setting(
        "lookup",
        RankBy.DISTANCE,
        kinds.one_of(RankBy),
        "How squids are ranked. distance: the nearest first, workers spread over those that are equally "
        "near, fewer where it is crowded. classic: by the formula of servers before 2.0, half distance and "
        "half load (docs/policy.md compares them).",
    )
    log_level: LogLevel = setting(
        "logging",
        LogLevel.INFO,
        kinds.one_of(LogLevel),
        "How much is logged, on stderr.",
        key="level",
        was=("logging.logging_level",),
    )

    DEAD: ClassVar[Mapping[str, str]] = {
        **{
            f"{section}.{prefix}_{key}": reason
            for section, prefix in (("squid", "squid"), ("cache", "cache"))
            for key, reason in {
                "cleanse_interval": "silent squids are found at once",
                "max_load": "each squid's own capacity counts; 1 Gb/s if it does not say",
                "verified_default": "a squid is verified when it has been checked",
                "loadconstant": "squids are ranked by effective kilometres; see [lookup] policy",
                "distloadweight": "squids are ranked by effective kilometres; see [lookup] policy",
            }.items()
        },
        "general.shoal_dir": "the server needs no directory of its own",
        "general.geolitecity_path": "name the file in [geo] databases",
        "general.geolitecity_url": "`shoal-server geoip fetch` gets a database",
        "general.geolitecity_update": "let a timer run `shoal-server geoip fetch`",
        "general.geolitecity_update_time": "let a timer run `shoal-server geoip fetch`",
        "general.geodomain_path": "sites come from [geo] locations",
        "rabbitmq.amqp_virtual_host": "write the virtual host at the end of [amqp] url",
        "rabbitmq.amqp_exchange_type": "agents need a topic exchange",
        "rabbitmq.use_ssl": "write amqps:// in [amqp] url",
        "rabbitmq.amqp_ca_cert": "it is [amqp] ca_file with an amqps:// url",
        "rabbitmq.amqp_client_cert": "it is [amqp] cert_file with an amqps:// url",
        "rabbitmq.amqp_client_key": "it is [amqp] key_file with an amqps:// url",
        "webpy.webpy_cache": "pages are served by Flask",
        "logging.log_file": "logs go to stderr; let the service manager keep them",
        "error.error_reconnect_time": "reconnection backs off by itself",
        "error.error_reconnect_attempts": "reconnection never gives up",
    }

    @classmethod
    def compose(cls, values: Values) -> tuple[Values, list[str]]:
        return compose_broker_url(values)
