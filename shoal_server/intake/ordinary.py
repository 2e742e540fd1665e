"""The quick way to read a heartbeat: nearly all are ordinary, and a compiled decoder reads those.

What a heartbeat means is said in `shoal_common.heartbeat.decode` alone. Whatever is not surely ordinary
(a key that we do not know, a number written as a string, a port glued to an address, all that is to be
refused) is left to it, and what is read here comes to the same there.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from shoal_common.heartbeat import (
    DEFAULT_PORT,
    MAX_BYTES,
    MAX_RATE,
    NO_METRICS,
    TOKEN_LENGTH,
    AgentState,
    CacheType,
    Heartbeat,
    Metrics,
    Upstream,
    decode,
    is_token,
)
from shoal_common.hosts import ipv4, ipv6, is_host_name, is_private_network

_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)] | None
_Rate = Annotated[float, msgspec.Meta(ge=0, le=MAX_RATE)]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=int(MAX_RATE))] | None


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Every key that any generation of agents says, in its ordinary form."""

    uuid: str
    hostname: str
    timestamp: float
    load: _Rate
    squid_port: _Port = None
    cache_port: _Port = None
    cache_type: CacheType | None = None
    upstream: Upstream | None = None
    state: AgentState | None = None
    verified: bool | None = None
    global_access: bool | str | None = None
    domain_access: bool | str | None = None
    public_ip: str | None = None
    private_ip: str | None = None
    external_ip: str | None = None
    ipv6: str | None = None
    max_load: Annotated[float, msgspec.Meta(le=MAX_RATE)] | None = None
    interval: Annotated[float, msgspec.Meta(ge=0.1, le=86400.0)] | None = None
    agent: str | None = None
    requests_per_s: _Rate | None = None
    hits_per_s: _Rate | None = None
    errors_per_s: _Rate | None = None
    client_kb_per_s: _Rate | None = None
    median_service_ms: _Rate | None = None
    fds_used: _Whole = None
    fds_max: _Whole = None
    cpu_share: _Rate | None = None
    cpu_cores: _Whole = None


_decode = msgspec.json.Decoder(_Message).decode
_counted: Callable[[_Message], tuple[Any, ...]] = attrgetter(*Metrics.__slots__)
_NOTHING = (None,) * len(Metrics.__slots__)


def read(body: bytes) -> Heartbeat:
    """What `shoal_common.heartbeat.decode` makes of a message; InvalidHeartbeat as there."""
    return ordinary(body) or decode(body)


def ordinary(body: bytes) -> Heartbeat | None:
    """An ordinary heartbeat; None for a message of which `decode` has to say what it is."""
    if len(body) > MAX_BYTES or not body.isascii():
        return None
    try:
        said = _decode(body)
        public = ipv4(said.public_ip) if said.public_ip is not None else None
        private = ipv4(said.private_ip) if said.private_ip is not None else None
        external = ipv4(said.external_ip) if said.external_ip is not None else None
        six = ipv6(said.ipv6) if said.ipv6 is not None else None
    except (msgspec.MsgspecError, ValueError):
        return None
    if public is not None and is_private_network(public):
        private, public = private or public, None
    if external is not None and is_private_network(external):
        private, external = private or external, None
    if not ((public or private or external or six) and _inert(said)):
        return None
    return Heartbeat(
        said.uuid,
        said.hostname,
        said.squid_port or said.cache_port or DEFAULT_PORT,
        said.timestamp,
        said.load,
        public,
        private,
        external,
        six,
        said.max_load if said.max_load and said.max_load > 0 else None,
        said.cache_type or CacheType.SQUID,
        said.upstream or Upstream.BOTH,
        said.state or AgentState.UP,
        said.interval,
        said.agent,
        _metrics(said),
    )


def _inert(said: _Message) -> bool:
    """Whether names and tokens are such as they stand: a host name, and nothing that anybody evaluates."""
    return (
        is_host_name(said.hostname)
        and is_token(said.uuid, TOKEN_LENGTH)
        and (said.agent is None or is_token(said.agent, TOKEN_LENGTH))
    )


def _metrics(said: _Message) -> Metrics:
    counted = _counted(said)
    return Metrics(*counted) if counted != _NOTHING else NO_METRICS
