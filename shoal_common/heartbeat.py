"""The message with which a squid says "I am here", in every generation that is deployed.

Wire form: a JSON object, UTF-8, at most 64 KiB, published to the exchange `shoal`. What each
generation of agents sends is listed in docs/heartbeat.md; in short: agents before 0.5 glue the port
to the addresses, 0.6 to 1.0.2 say `squid_port`, the newest say `cache_port`, `cache_type` and
`upstream`; numbers set in a configuration file arrive as strings. Our own agents send the newest
form plus `squid_port` and optional keys that older servers ignore.
"""

import functools
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from shoal_common.errors import InvalidHeartbeat
from shoal_common.hosts import REMEMBERED, ipv4, ipv6, is_host_name, is_private_network, port_number

MAX_BYTES = 64 * 1024
DEFAULT_PORT = 3128
"""Where squids of agents 0.1 listen: those messages carry no port at all."""
TOKEN_LENGTH = 64
MAX_RATE = 1e9
"""kB/s; a load or capacity beyond a terabyte a second is a mistake."""


class CacheType(StrEnum):
    """What kind of cache it is."""

    SQUID = "squid"
    VARNISH = "varnish"


class Upstream(StrEnum):
    """Which services the cache can reach."""

    BOTH = "both"
    CVMFS = "cvmfs"
    FRONTIER = "frontier"

    def serves(self, service: "Upstream") -> bool:
        """Whether a cache with this upstream can be used for `service` (BOTH asks for either)."""
        return Upstream.BOTH in (self, service) or self is service


class AgentState(StrEnum):
    """What the agent says of its squid's future: in use, not for new workers, or going now."""

    UP = "up"
    DRAINING = "draining"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the cache's own counters say of the last interval; None where they do not say.

    Rates are per second; `client_kb_per_s` is what went to clients (1 kB = 1024 bytes), a part of `load`.
    `median_service_ms` is the median time to serve a request, `fds_used` and `fds_max` are file
    descriptors, `cpu_share` is in cores (1.0: one core busy all the time), `cpu_cores` how many it can use.
    """

    requests_per_s: float | None = None
    hits_per_s: float | None = None
    errors_per_s: float | None = None
    client_kb_per_s: float | None = None
    median_service_ms: float | None = None
    fds_used: int | None = None
    fds_max: int | None = None
    cpu_share: float | None = None
    cpu_cores: int | None = None


NO_METRICS = Metrics()
_WHOLE = ("fds_used", "fds_max", "cpu_cores")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One message of one squid, validated: every string is inert, every number finite.

    `timestamp` is the agent's clock (seconds since 1970) and may be wrong; `load` is what the
    network interface sends (kB/s, 1 kB = 1024 bytes as deployed agents count); `max_load` what it
    can send (kB/s, None: not stated or not known). `public_ip` is on an interface of the VM,
    `external_ip` is how the outside sees it, `private_ip` is reachable from its own site alone.
    """

    uuid: str
    hostname: str
    port: int
    timestamp: float
    load: float
    public_ip: str | None = None
    private_ip: str | None = None
    external_ip: str | None = None
    ipv6: str | None = None
    max_load: float | None = None
    cache_type: CacheType = CacheType.SQUID
    upstream: Upstream = Upstream.BOTH
    state: AgentState = AgentState.UP
    interval: float | None = None
    agent: str | None = None
    metrics: Metrics = NO_METRICS

    def encode(self) -> bytes:
        """The wire form: absent addresses are left out, as deployed agents do."""
        message: dict[str, object] = {
            "uuid": self.uuid,
            "hostname": self.hostname,
            "squid_port": self.port,
            "cache_port": self.port,
            "cache_type": self.cache_type.value,
            "upstream": self.upstream.value,
            "verified": False,
            "timestamp": self.timestamp,
            "load": self.load,
            "state": self.state.value,
        }
        optional = {
            "public_ip": self.public_ip,
            "private_ip": self.private_ip,
            "external_ip": self.external_ip,
            "ipv6": self.ipv6,
            "max_load": None if self.max_load is None else max(1, round(self.max_load)),
            "interval": self.interval,
            "agent": self.agent,
            **asdict(self.metrics),
        }
        message.update({key: value for key, value in optional.items() if value is not None})
        return json.dumps(message).encode()


def decode(body: bytes) -> Heartbeat:
    """Read a heartbeat of any generation; unknown keys are ignored.

    An address that no outsider can reach counts as private, under whatever key it came; an empty or
    unspecified one is not there. Raises InvalidHeartbeat naming the field. A wrong clock is no reason to
    refuse.
    """
    fields = _Fields(_object(body))
    public, glued_public = fields.address("public_ip")
    private, glued_private = fields.address("private_ip")
    external, glued_external = fields.address("external_ip")
    six = fields.ipv6("ipv6")
    private = private or next((address for address in (public, external) if _is_private(address)), None)
    public, external = (None if _is_private(address) else address for address in (public, external))
    if not (public or private or external or six):
        raise InvalidHeartbeat("public_ip", "missing, as are private_ip, external_ip and ipv6: one is needed")
    port = fields.port("squid_port") or fields.port("cache_port")
    return Heartbeat(
        uuid=fields.token("uuid", TOKEN_LENGTH),
        hostname=fields.host("hostname", public or external or private),
        port=port or glued_public or glued_external or glued_private or DEFAULT_PORT,
        timestamp=fields.number("timestamp"),
        load=fields.number("load", least=0.0, most=MAX_RATE),
        public_ip=public,
        private_ip=private,
        external_ip=external,
        ipv6=six,
        max_load=fields.capacity("max_load"),
        cache_type=fields.cache_type("cache_type"),
        upstream=fields.choice("upstream", Upstream, Upstream.BOTH),
        state=fields.choice("state", AgentState, AgentState.UP),
        interval=fields.number("interval", least=0.1, most=86400.0) if fields.has("interval") else None,
        agent=fields.token("agent", TOKEN_LENGTH) if fields.has("agent") else None,
        metrics=_metrics(fields),
    )


def _is_private(address: str | None) -> bool:
    """Agents take carrier-grade NAT's addresses, and some clouds' own, for public ones."""
    return address is not None and is_private_network(address)


def _metrics(fields: "_Fields") -> Metrics:
    said: dict[str, Any] = {}
    for name in Metrics.__slots__:
        if fields.has(name):
            number = fields.number(name, least=0.0, most=MAX_RATE)
            said[name] = int(number) if name in _WHOLE else number
    return Metrics(**said) if said else NO_METRICS


def _object(body: bytes) -> Mapping[str, Any]:
    if len(body) > MAX_BYTES:
        raise InvalidHeartbeat("message", f"{len(body)} bytes long; at most {MAX_BYTES} are taken")
    try:
        message = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise InvalidHeartbeat("message", "nested too deeply") from None
    except ValueError as error:
        raise InvalidHeartbeat("message", f"not JSON in UTF-8: {error}"[:200]) from None
    if not isinstance(message, dict):
        raise InvalidHeartbeat("message", f"a JSON {type(message).__name__}; an object is needed")
    return message


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_Choice = TypeVar("_Choice", bound=StrEnum)
_UNSPECIFIED = "0.0.0.0"  # noqa: S104 - compared, not bound
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@functools.lru_cache(REMEMBERED)
def is_token(text: str, longest: int) -> bool:
    """Whether a text is one word that nobody takes for anything else: letters, digits, `.`, `_`, `+`, `-`."""
    return len(text) <= longest and _TOKEN.fullmatch(text) is not None


class _Fields:
    """Typed access to the keys of one message; each refusal names the key."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._message = message

    def has(self, key: str) -> bool:
        return self._message.get(key) is not None

    def number(self, key: str, least: float = -math.inf, most: float = math.inf) -> float:
        value = self._message.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidHeartbeat(key, f"{_shown(value)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            raise InvalidHeartbeat(key, "too large a number") from None
        if not math.isfinite(number) or not least <= number <= most:
            raise InvalidHeartbeat(key, f"{_shown(value)} is out of range ({least:g} to {most:g})")
        return number

    def text(self, key: str) -> str:
        value = self._message.get(key)
        if not isinstance(value, str):
            raise InvalidHeartbeat(key, f"{_shown(value)} is not a string")
        return value

    def token(self, key: str, longest: int) -> str:
        value = self.text(key)
        if not is_token(value, longest):
            raise InvalidHeartbeat(key, f"{_shown(value)} is not 1 to {longest} letters, digits, . _ + or -")
        return value

    def host(self, key: str, address: str | None) -> str:
        """`address` for a name of digits alone, as containers and numbered VMs have: agents before 2.0 send
        it, and whoever looked it up would take it for the number of an address.
        """
        value = self.text(key).removesuffix(".")
        if is_host_name(value):
            return value
        if address and re.fullmatch("[0-9]{1,63}", value):
            return address
        try:
            return ipv4(value)
        except ValueError:
            raise InvalidHeartbeat(key, f"{_shown(value)} is no host name") from None

    def address(self, key: str) -> tuple[str | None, int | None]:
        """An IPv4 address and the port that agents before 0.6 glued to it; neither if it is left blank."""
        if not self.has(key) or self._message[key] == "":
            return None, None
        address, colon, port = self.text(key).partition(":")
        try:
            number = port_number(port) if colon else None
            return None if address == _UNSPECIFIED else ipv4(address), number
        except ValueError:
            problem = f"{_shown(self._message[key])} is not an IPv4 address (an IPv6 one goes into ipv6)"
            raise InvalidHeartbeat(key, problem) from None

    def ipv6(self, key: str) -> str | None:
        if not self.has(key) or self._message[key] in ("", "::"):
            return None
        try:
            return ipv6(self.text(key))
        except ValueError:
            raise InvalidHeartbeat(
                key, f"{_shown(self._message[key])} is no reachable IPv6 address"
            ) from None

    def port(self, key: str) -> int | None:
        if not self.has(key):
            return None
        value = self._message[key]
        if isinstance(value, str | int) and not isinstance(value, bool):
            with suppress(ValueError):
                return port_number(value)
        raise InvalidHeartbeat(key, f"{_shown(value)} is not a port (1 to 65535)")

    def capacity(self, key: str) -> float | None:
        """Out of all bounds it is not known: -112 and 483183820687 come from interfaces that say speed -1 or
        4294967295. Strings are what somebody wrote into a configuration file: one that is no number, be it
        for a comment behind it, is not known either.
        """
        value = self._message.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            number = re.fullmatch(r"\s*[+-]?[0-9]{1,15}(\.[0-9]{0,9})?\s*", value)
            value = float(value) if number else 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidHeartbeat(key, f"{_shown(value)} is not a number")
        return float(value) if 0 < value <= MAX_RATE else None

    def choice(self, key: str, allowed: type[_Choice], default: _Choice) -> _Choice:
        if not self.has(key):
            return default
        value = self.text(key)
        try:
            return allowed(value)
        except ValueError:
            raise InvalidHeartbeat(key, f"{_shown(value)} is none of {', '.join(allowed)}") from None

    def cache_type(self, key: str) -> CacheType:
        """For some days in 2025 agents called a squid `cache`."""
        if self._message.get(key) == "cache":
            return CacheType.SQUID
        return self.choice(key, CacheType, CacheType.SQUID)


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
