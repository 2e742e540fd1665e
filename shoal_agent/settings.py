"""The agent's settings; nothing but the broker's name has to be set."""

import ipaddress
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shoal_agent.stun import DEFAULT_PORT as STUN_PORT
from shoal_common import kinds
from shoal_common.amqp import compose_broker_url
from shoal_common.heartbeat import MAX_RATE, CacheType, Upstream
from shoal_common.hosts import HostPort, host_text, ipv4, ipv6
from shoal_common.origins import STRATUM_ONES
from shoal_common.program import LogLevel
from shoal_common.settings import Settings, Values, setting

LONGEST_INTERVAL = 60
"""Seconds. Whatever a squid announces, servers doubt it after 90 s of silence, and give it up after 175 s."""
_INTERVAL = "general.interval"
_HOST = kinds.Kind(host_text, "a host name")
_IPV4 = kinds.Kind(ipv4, "an IPv4 address")
_IPV6 = kinds.Kind(ipv6, "an IPv6 address that others can reach")
_ADDRESS = kinds.Kind(lambda value: str(ipaddress.ip_address(value)), "an IPv4 or IPv6 address")
_STUN = kinds.Kind(
    lambda value: HostPort.parse(value, STUN_PORT), f"HOST or HOST:PORT (default port {STUN_PORT})"
)
_TLS_KEYS = ("use_ssl", "amqp_ca_cert", "amqp_client_cert", "amqp_client_key")


def _command(value: str) -> str:
    shlex.split(value)
    return value


@dataclass(frozen=True)
class AgentSettings(Settings):
    """What an operator may set for an agent."""

    amqp: str = setting(
        "amqp",
        "amqp://localhost:5672/",
        kinds.url("amqp", "amqps"),
        "The broker that the Shoal servers listen to: amqp://user:password@host:port/vhost, or amqps:// for "
        "TLS. The hosts of a cluster are separated by commas and tried in turn. Ports default to 5672 and "
        "5671, the user to guest.",
        key="url",
    )
    exchange: str = setting(
        "amqp",
        "shoal",
        kinds.text("letters, digits, and . _ : -", r"[A-Za-z0-9._:-]{1,127}"),
        "The exchange to publish to; a Shoal server declares it.",
        was=("rabbitmq.amqp_exchange",),
    )
    ca_file: Path | None = setting(
        "amqp",
        None,
        kinds.optional(kinds.path(), "the authorities that this system trusts"),
        "For amqps: the certificates of the authorities that may have signed the broker's certificate.",
    )
    cert_file: Path | None = setting(
        "amqp",
        None,
        kinds.optional(kinds.path(), "none is shown"),
        "For amqps: the certificate to show to the broker.",
    )
    key_file: Path | None = setting(
        "amqp",
        None,
        kinds.optional(kinds.path(), "it is in cert_file"),
        "For amqps: the private key of that certificate.",
    )
    interval: float = setting(
        "general",
        30.0,
        kinds.number(0.2, LONGEST_INTERVAL, "seconds"),
        "Time between two heartbeats. Servers take a squid for gone when they hear nothing for 175 s.",
    )
    external_ip: str | None = setting(
        "general",
        None,
        kinds.optional(_IPV4, "a public address of this VM, else what the cloud or a STUN server says"),
        "The address under which the outside reaches this VM, where a NAT or a floating IP hides it. It wins "
        "over a public address that the VM has itself.",
    )
    private_ip: str | None = setting(
        "general",
        None,
        kinds.optional(_IPV4, "the first private one of the interface"),
        "The address by which machines of its own site reach this VM.",
    )
    ipv6: str | None = setting(
        "general",
        None,
        kinds.optional(_IPV6, "the first one of the interface"),
        "The IPv6 address by which others reach this VM.",
    )
    cache_port: int | None = setting(
        "general",
        None,
        kinds.optional(
            kinds.whole(1, 65535), "where squids and varnishds of this VM are found to listen, else 3128"
        ),
        "The port of the one cache to announce. Without it every cache of this VM is announced.",
        was=("general.squid_port",),
    )
    cache_address: str | None = setting(
        "general",
        None,
        kinds.optional(_ADDRESS, "all"),
        "Only caches that listen at this address are announced; it tells apart those that share a port.",
    )
    cache_type: CacheType | None = setting(
        "general",
        None,
        kinds.optional(kinds.one_of(CacheType), "what is found, else squid"),
        "Only caches of this sort are announced.",
    )
    upstream: Upstream | None = setting(
        "general",
        None,
        kinds.optional(
            kinds.one_of(Upstream),
            "both for a squid; for a Varnish cvmfs at port 6081, frontier at 6082, else what it serves",
        ),
        "Which services the caches may be used for.",
    )
    interface: str | None = setting(
        "general",
        None,
        kinds.optional(
            kinds.text("its name", r"[^\s/\x00]{1,15}"), "the one that the route to the outside takes"
        ),
        "The network interface that carries the cache's traffic: its addresses come first, its bytes are the "
        "load.",
    )
    hostname: str | None = setting(
        "general",
        None,
        kinds.optional(_HOST, "the name that this system has"),
        "The name to show for this VM.",
        was=("general.dnsname",),
    )
    max_load: float | None = setting(
        "general",
        None,
        kinds.optional(
            kinds.number(1, MAX_RATE, "kB/s"), "90 % of the interface's speed, unknown if it does not say"
        ),
        "What this VM can send. Virtual interfaces seldom say; 122000 is a link of 1 Gb/s.",
    )
    announce: bool = setting(
        "general",
        True,
        kinds.yes_no(),
        "Tell the local networks of a good cache: a UDP broadcast a minute (port 50000), which clients hear.",
    )
    metadata_url: str | None = setting(
        "cloud",
        "http://169.254.169.254",
        kinds.optional(kinds.url("http"), "it is not asked"),
        "The cloud's metadata service (OpenStack, EC2, Google), asked for the floating IP and for the notice "
        "that this VM will be taken away; never through a proxy, and for 1 s at most.",
    )
    stun_server: HostPort | None = setting(
        "cloud",
        None,
        kinds.optional(_STUN, "none is asked"),
        "A STUN server to ask for the address behind a NAT when the cloud does not tell it.",
    )
    check_urls: tuple[str, ...] = setting(
        "check",
        STRATUM_ONES,
        kinds.several(kinds.url("http")),
        "CVMFS objects (.cvmfspublished or .cvmfswhitelist) fetched through the cache to test it: the first "
        "that comes proves it good. Take them from origins that the cache is allowed to ask.",
        key="urls",
    )
    check_frontier_urls: tuple[str, ...] = setting(
        "check",
        (),
        kinds.several(kinds.url("http")),
        "Frontier servlets (http://host:port/servlet), one of which the cache must also be able to ask; "
        "empty: Frontier is not tested.",
        key="frontier_urls",
    )
    check_interval: float = setting(
        "check",
        60.0,
        kinds.number(0.1, 86400, "seconds"),
        "Time between two tests of the cache. That its port opened or closed is seen within 5 s, that it "
        "hangs within half of [general] interval.",
        key="interval",
    )
    check_retry: float = setting(
        "check",
        10.0,
        kinds.number(0.1, 3600, "seconds"),
        "Time until the next test when one contradicted the state; a sixth of [general] interval at most.",
        key="retry",
    )
    check_timeout: float = setting(
        "check",
        5.0,
        kinds.number(0.1, 60, "seconds"),
        "How long one fetch may take.",
        key="timeout",
    )
    check_rise: int = setting(
        "check",
        2,
        kinds.whole(1, 100),
        "After so many good tests in a row a bad cache is good again.",
        key="rise",
    )
    check_fall: int = setting(
        "check",
        3,
        kinds.whole(1, 100),
        "After so many bad tests in a row a good cache is bad, and no longer announced.",
        key="fall",
    )
    on_unhealthy: str = setting(
        "trouble",
        "",
        kinds.Kind(_command, "a command line (no shell reads it); empty: none"),
        "A command to run when a good cache turned bad, or was bad for ten minutes from the start; once a "
        "day at most. Its environment says SHOAL_CACHE, SHOAL_CACHE_TYPE and SHOAL_REASON.",
    )
    mail_to: tuple[str, ...] = setting(
        "trouble",
        (),
        kinds.several(kinds.text("a mail address", r"[^\s@,]+@[^\s@,]+")),
        "Who gets a mail then; empty: nobody.",
        was=("general.admin_email",),
    )
    smtp: HostPort = setting(
        "trouble",
        HostPort("localhost", 25),
        kinds.host_port(),
        "The server that takes the mail.",
    )
    state_directory: Path | None = setting(
        "trouble",
        None,
        kinds.optional(
            kinds.path(), "the one that systemd names in STATE_DIRECTORY; without one, until the agent's end"
        ),
        "Where it is remembered when somebody was last called, so that a restart does not call again.",
    )
    log_level: LogLevel = setting(
        "logging",
        LogLevel.INFO,
        kinds.one_of(LogLevel),
        "How much is logged, to stderr. At info: one line when a state changes.",
        key="level",
        was=("logging.logging_level",),
    )

    DEAD: ClassVar[Mapping[str, str]] = {
        "general.cloud": "it has not been part of a heartbeat since 0.6",
        "general.access_level": "servers find out by themselves who can reach the squid",
        "general.global_access": "servers find out by themselves who can reach the squid",
        "general.domain_access": "servers find out by themselves who can reach the squid",
        "general.tx_bytes_path": "the counter belongs to the interface; [general] interface sets that one",
        "general.external_ip_service": "set [cloud] stun_server, or [general] external_ip, behind a NAT",
        "logging.log_file": "logs go to stderr, to be kept by journald or whatever runs the agent",
        "rabbitmq.amqp_virtual_host": "agents before 2.0 used / whatever it said; it is a part of [amqp] url",
        **{
            f"rabbitmq.{key}": "TLS is set by amqps:// in [amqp] url and the files there" for key in _TLS_KEYS
        },
    }

    @classmethod
    def compose(cls, values: Values) -> tuple[Values, list[str]]:
        """Join the broker's keys of older files into one URL, and shorten the interval that some have."""
        values, warnings = compose_broker_url(values)
        said = values.get(_INTERVAL, "")
        if not re.fullmatch(r"[0-9]{1,15}", said) or int(said) <= LONGEST_INTERVAL:
            return values, warnings
        told = f"[general] interval: {said} s is too long for the servers, {LONGEST_INTERVAL} s are used"
        return values | {_INTERVAL: str(LONGEST_INTERVAL)}, [*warnings, told]
